"""Every check on user input, each message phrased once.

A message names the argument, what it must be, what came, and a way out.
This module imports neither torch nor scikit-learn: ``norms`` and ``laws``
both use it, and must stay importable without the other's stack.
"""

from __future__ import annotations

import numbers
import os
import sys
import warnings
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "as_floats",
    "check_choices",
    "check_columns",
    "check_fraction",
    "check_integer",
    "check_integers",
    "check_jobs",
    "check_number",
    "check_option",
    "check_path",
    "check_positive",
    "check_range",
    "check_same_length",
    "check_seed",
    "check_split",
    "check_train_sizes",
    "check_window",
    "plural",
    "warn_user",
]

# A warning passes over the frames of these: an estimator may be called by a pipeline
# or a worker, and the line to mend is neither theirs nor ours.
_NOT_THE_USER = (
    "scalinglaw",
    "sklearn",
    "joblib",
    "skorch",
    "lightning",
    "pytorch_lightning",
    "transformers",
)


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


def check_choices(
    values: Iterable[str], name: str, options: Collection[str]
) -> tuple[str, ...]:
    """Return `values` as a tuple of names that are all among `options`."""
    if isinstance(values, str):
        raise TypeError(
            f"{name} must be a sequence of names, got the string {values!r}. "
            f"Write {name}=({values!r},)."
        )
    if not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence of names, got {values!r}.")
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
    found = _as_float(value)
    low, high = ("above", "below") if strict else ("at least", "at most")
    bounds = []
    if minimum is not None:
        bounds.append(f"{low} {minimum:g}")
    if maximum is not None:
        bounds.append(f"{high} {maximum:g}")
    inside = np.isfinite(found)
    if strict:
        inside &= minimum is None or found > minimum
        inside &= maximum is None or found < maximum
    else:
        inside &= minimum is None or found >= minimum
        inside &= maximum is None or found <= maximum
    if not inside:
        need = " and ".join(bounds) if bounds else "finite"
        raise ValueError(f"{name} must be {need}, got {found:g}.")
    return found


def _as_float(value: Any) -> float:
    """Return the nearest float, which is infinite for a number beyond all floats."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def check_fraction(value: Any, name: str) -> float:
    """Return `value` as a float strictly between 0 and 1."""
    return check_number(value, name, minimum=0.0, maximum=1.0)


def check_integer(
    value: Any, name: str, *, minimum: int = 1, maximum: int | None = None
) -> int:
    """Return `value` as an int of at least `minimum` and at most `maximum`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}.")
    found = int(value)
    if found < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {found}.")
    if maximum is not None and found > maximum:
        raise ValueError(f"{name} must be at most {maximum}, got {found}.")
    return found


def check_integers(values: Any, name: str) -> tuple[int, ...]:
    """Return `values` as a tuple of positive ints."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence of integers, got {values!r}.")
    return tuple(check_integer(value, f"{name}[{i}]") for i, value in enumerate(values))


def check_seed(value: Any, name: str = "random_state") -> int | None:
    """Return a seed as int or None; generators are refused where runs repeat."""
    if value is None:
        return None
    seed = check_integer(value, name, minimum=0)
    if seed >= 2**63:
        raise ValueError(
            f"{name} must be below 2**63, so that tables can hold it, got {seed}."
        )
    return seed


def check_positive(values: Any, name: str) -> np.ndarray:
    """Return `values` as a 1-D float array, finite and above zero.

    Raises
    ------
    ValueError
        If an entry is not a positive, finite number; the message gives the
        first offender and how many there are.
    """
    array = as_floats(values, name)
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


def check_range(values: Any, name: str, low: float, high: float) -> np.ndarray:
    """Return `values` as a float array of any shape, all from `low` to `high`.

    Raises
    ------
    ValueError
        If a value lies outside, or is not a number. With a `low` of 0 and an
        infinite `high`, what is asked for is positive and finite.
    """
    array = as_floats(values, name)
    inside = (array >= low) & (array <= high) & (array > 0) & np.isfinite(array)
    if not inside.all():
        bounded = f"from {low:g} to {high:g}"
        need = bounded if np.isfinite(high) else "positive and finite"
        raise ValueError(
            f"{name} must be {need}, got {array[~inside].flat[0]:g} "
            f"({(~inside).sum()} of {array.size} values)."
        )
    return array


def as_floats(values: Any, name: str) -> np.ndarray:
    """Return `values` as a float array, numbers beyond all floats as infinities.

    Raises
    ------
    TypeError
        If a value is not a real number: text, a date, None, a truth or a complex one.
    ValueError
        If the values do not form an array.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must be a number or an array: {error}") from error
    if array.dtype == object:
        for value in array.flat:
            if isinstance(value, bool) or not isinstance(value, numbers.Real):
                raise TypeError(f"{name} must hold numbers, got {value!r}.")
        floats = [_as_float(value) for value in array.flat]
        return np.array(floats, dtype=float).reshape(array.shape)
    if array.dtype.kind not in "iuf":
        raise TypeError(
            f"{name} must hold real numbers, got an array of dtype {array.dtype}."
        )
    with np.errstate(over="ignore"):
        return array.astype(float)


def check_path(value: Any, name: str) -> Path:
    """Return `value` as a path.

    Raises
    ------
    TypeError
        If it is neither text nor a path.
    ValueError
        If it holds a character that no path can have.
    """
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} must be a path, got {value!r}.")
    path = Path(value)
    if "\0" in str(path):
        raise ValueError(f"{name} must be a path, got {str(path)!r}.")
    return path


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


def check_train_sizes(train_sizes: Any, name: str = "train_sizes") -> list[int]:
    """Return distinct train sizes in increasing order.

    Raises
    ------
    TypeError
        If it is no sequence of integers.
    ValueError
        If it is empty, repeats a size, or holds one below 1.
    """
    sizes = check_integers(train_sizes, name)
    if not sizes:
        raise ValueError(f"{name} must hold at least one size, got none.")
    if len(set(sizes)) < len(sizes):
        repeated = next(size for size in sizes if sizes.count(size) > 1)
        raise ValueError(
            f"{name} must not repeat a size, got {repeated} more than once. "
            "More runs of one size are more seeds."
        )
    return sorted(sizes)


def check_split(test_size: Any, class_counts: np.ndarray) -> int:
    """Return the number of test samples that `test_size` asks for.

    Raises
    ------
    TypeError, ValueError
        If it is neither a fraction nor a count, or leaves a class without a
        sample on either side.
    """
    n_samples, n_classes = int(np.sum(class_counts)), len(class_counts)
    if isinstance(test_size, numbers.Integral) and not isinstance(test_size, bool):
        n_test = check_integer(test_size, "test_size")
    else:
        n_test = int(np.ceil(check_fraction(test_size, "test_size") * n_samples))
    if not n_classes <= n_test <= n_samples - n_classes:
        raise ValueError(
            f"test_size must leave each of {n_classes} classes a sample for "
            f"training and one for testing, got {test_size} of {n_samples} samples."
        )
    if np.min(class_counts) < 2:
        raise ValueError(
            f"every class needs at least 2 samples to be held out from, got one with "
            f"{int(np.min(class_counts))}. Drop that class, or add samples of it."
        )
    return n_test


def check_window(window: Any) -> Any:
    """Return `window` if it is "auto" or two bounds in increasing order.

    Raises
    ------
    TypeError, ValueError
        If it is neither, or its bounds are not positive and increasing.
    """
    if isinstance(window, str):
        return check_option(window, "window", ("auto",))
    try:
        low, high = window
    except (TypeError, ValueError):
        raise TypeError(
            'window must be "auto" or a pair (low, high) in units of the norm at the '
            f"landmark, got {window!r}."
        ) from None
    for name, bound in (("window[0]", low), ("window[1]", high)):
        if bound is not None and bound != float("inf"):
            check_number(bound, name, minimum=0.0, strict=False)
    if low is not None and high is not None and not low < high:
        raise ValueError(f"window must have low < high, got ({low:g}, {high:g}).")
    return window


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line outside the package that led here, however deep it was called.

    Parameters
    ----------
    message : str
        Text of the warning.
    category : type of Warning, default=UserWarning
        Class of the warning.
    """
    folders = tuple(
        os.path.dirname(str(sys.modules[name].__file__)) + os.sep
        for name in _NOT_THE_USER
        if getattr(sys.modules.get(name), "__file__", None)
    )
    frame, depth = sys._getframe(1), 2
    # Python has `skip_file_prefixes` from 3.12 on; a walk serves every version.
    while frame.f_back is not None and frame.f_code.co_filename.startswith(folders):
        frame, depth = frame.f_back, depth + 1
    warnings.warn(message, category, stacklevel=depth)


def check_jobs(value: Any, name: str = "n_jobs") -> int | None:
    """Return a number of jobs as joblib takes it: None, or an int that is not 0."""
    if value is None:
        return None
    jobs = check_integer(value, name, minimum=-(2**31))
    if jobs == 0:
        raise ValueError(
            f"{name} must not be 0: take 1 for one run at a time, -1 for as many as "
            "there are processors."
        )
    return jobs
