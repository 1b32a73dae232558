"""Every check on user input, each message phrased once.

A message names the argument, what it must be, what came, and a way out.
This module imports neither torch nor scikit-learn: ``norms`` and ``laws``
both use it, and must stay importable without the other's stack.
"""

from __future__ import annotations

import numbers
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

__all__ = [
    "check_choices",
    "check_columns",
    "check_fraction",
    "check_integer",
    "check_number",
    "check_option",
    "check_positive",
    "check_same_length",
    "check_seed",
    "plural",
]


def plural(count: int, noun: str) -> str:
    """Return ``"1 run"``, ``"2 runs"`` and so on."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def check_option(value: Any, name: str, options: Collection[Any]) -> Any:
    """Return `value` if it is one of `options`."""
    if not any(value is option or value == option for option in options):
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, options))}, got {value!r}."
        )
    return value


def check_choices(values: Iterable[str], name: str, options: Collection[str]) -> tuple:
    """Return `values` as a tuple of names that are all among `options`."""
    if isinstance(values, str):
        raise TypeError(
            f"{name} must be a sequence of names, got the string {values!r}. "
            f"Write {name}=({values!r},)."
        )
    values = tuple(values)
    unknown = [value for value in values if value not in options]
    if unknown:
        raise ValueError(
            f"{name} must be among {', '.join(map(repr, options))}, got "
            f"{', '.join(map(repr, unknown))}."
        )
    if not values:
        raise ValueError(f"{name} must name at least one of {list(options)}, got none.")
    return values


def check_number(
    value: Any,
    name: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    strict: bool = True,
) -> float:
    """Return `value` as a finite float within bounds (exclusive when `strict`)."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    value = float(value)
    low, high = ("above", "below") if strict else ("at least", "at most")
    bounds = []
    if minimum is not None:
        bounds.append(f"{low} {minimum:g}")
    if maximum is not None:
        bounds.append(f"{high} {maximum:g}")
    inside = np.isfinite(value)
    if strict:
        inside &= minimum is None or value > minimum
        inside &= maximum is None or value < maximum
    else:
        inside &= minimum is None or value >= minimum
        inside &= maximum is None or value <= maximum
    if not inside:
        need = " and ".join(bounds) if bounds else "finite"
        raise ValueError(f"{name} must be {need}, got {value:g}.")
    return value


def check_fraction(value: Any, name: str) -> float:
    """Return `value` as a float strictly between 0 and 1."""
    return check_number(value, name, minimum=0.0, maximum=1.0)


def check_integer(value: Any, name: str, *, minimum: int = 1) -> int:
    """Return `value` as an int of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}.")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}.")
    return int(value)


def check_seed(value: Any, name: str = "random_state") -> int | None:
    """Return a seed as int or None; generators are refused where runs repeat."""
    if value is None:
        return None
    return check_integer(value, name, minimum=0)


def check_positive(values: Any, name: str) -> np.ndarray:
    """Return `values` as a 1-D float array, finite and above zero.

    Raises
    ------
    ValueError
        If an entry is not a positive, finite number; the message gives the
        first offender and how many there are.
    """
    array = np.asarray(values, dtype=float)
    if array.ndim != 1:
        raise ValueError(
            f"{name} must be one-dimensional, got shape {array.shape}. "
            "Flatten it, or fit one column at a time."
        )
    if array.size == 0:
        raise ValueError(f"{name} is empty: at least one value is needed.")
    bad = ~(np.isfinite(array) & (array > 0))
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(
            f"{name} must be positive and finite, got {name}[{first}]="
            f"{array[first]:g} ({bad.sum()} of {array.size} values). "
            "A logarithm is taken: drop these values or say why they are there."
        )
    return array


def check_same_length(**arrays: Any) -> None:
    """Raise unless all `arrays` have the same number of entries."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        raise ValueError(f"{' and '.join(lengths)} must have the same length: {shown}.")


def check_columns(columns: Iterable[str], required: Iterable[str], what: str) -> None:
    """Raise unless every one of `required` is among `columns`."""
    present = [str(column) for column in columns]
    missing = [column for column in required if column not in present]
    if missing:
        raise ValueError(
            f"{what} lacks the column{'s' if len(missing) > 1 else ''} "
            f"{', '.join(missing)}; it has {', '.join(present) or 'none'}."
        )
