"""Columns of a table as what they stand for: counts, real numbers, models, logarithms.

Nothing is repaired by guesswork: a column comes out with the values that it spells, or
is refused by its name.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["as_float", "is_log_norm", "with_kinds", "with_natural_logs"]

COUNTS = ("train_size", "seed", "step", "n_test")
ERRORS = ("test_error", "train_error")
FLOATS = (*ERRORS, "epoch", "test_loss", "train_loss", "relative_test_error")
_LARGEST_COUNT = 2**63 - 1
_TEXT_INTEGER = re.compile(r"\s*[+-]?\d{1,40}\s*")


def is_log_norm(name: str) -> bool:
    return name.startswith("log_") and name != "log_norm_opt"


def with_natural_logs(
    columns: dict[str, pd.Series], logs: dict[str, tuple[str, bool]], said: list[str]
) -> dict[str, Any]:
    """Put natural logarithms in the place of plain and base-10 norms."""
    converted: dict[str, Any] = {}
    for name, column in columns.items():
        if name not in logs:
            converted[name] = column
            continue
        log, base_10 = logs[name]
        if not base_10 and not _holds_numbers(column):
            converted[name] = column  # a path of a file, say
            continue
        values = as_float(column, name)
        if base_10:
            converted[log] = values * np.log(10)
            said.append(f"{log} is ln(10) times {name}")
            continue
        if (values < 0).any():
            raise ValueError(
                f"{name} must not be negative, got {values[values < 0][0]:g}: a column "
                "of that name is taken for the plain norm. If it is its natural "
                f"logarithm, call it {log}; if it is something else, rename it."
            )
        with np.errstate(divide="ignore"):
            converted[log] = np.log(values)
        said.append(f"{log} is the natural logarithm of {name}")
    return converted


def with_kinds(
    columns: dict[str, Any], metric: str | None, said: list[str]
) -> dict[str, Any]:
    """Bring keys and counts to int64, real columns to float64, and models to text."""
    # Keys come first: the messages about other columns name runs.
    kinds = dict(columns)
    if "model" in columns:
        kinds["model"] = _as_model(columns["model"])
    if "seed" in columns:
        kinds["seed"] = _as_seed(columns["seed"], said)
    for name in COUNTS:
        if name in columns:
            kinds[name] = _as_counts(kinds[name], name, said)
    for name in columns:
        if name in (*FLOATS, "log_norm_opt", metric) or is_log_norm(name):
            kinds[name] = as_float(columns[name], name)
    return kinds


def _plain(column: Any) -> pd.Series:
    """Return a column without its categories."""
    plain: pd.Series = pd.Series(column)
    if isinstance(plain.dtype, pd.CategoricalDtype):
        plain = plain.astype(plain.cat.categories.dtype)
    return plain


def _holds_numbers(column: pd.Series) -> bool:
    kinds = pd.api.types.infer_dtype(_plain(column), skipna=True)
    return kinds in ("integer", "floating", "mixed-integer-float", "decimal", "empty")


def _as_model(column: pd.Series) -> pd.Series:
    missing = column.isna().to_numpy()
    if missing.any():
        raise ValueError(
            "model must name every run, got a missing value in row "
            f"{int(np.argmax(missing))}."
        )
    return column.astype(str)


def as_float(column: Any, name: str) -> np.ndarray:
    """Return a column as float64; a missing value is NaN."""
    plain = _plain(column)
    kind = getattr(plain.dtype, "kind", "O")
    if kind in "mMc":
        # numpy would count nanoseconds, and drop what is imaginary.
        what = "complex numbers" if kind == "c" else "dates or durations"
        raise ValueError(f"{name} must hold numbers, got {what} ({plain.dtype}).")
    try:
        return plain.to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{name} must hold numbers, got dtype {plain.dtype}: {error}"
        ) from error


def _as_seed(column: pd.Series, said: list[str]) -> Any:
    """Return seeds that are numbers; those that are text are numbered as they come."""
    column = _plain(column)
    if not _is_text(column) or _text_integers(column) is not None:
        return column
    missing = column.isna().to_numpy()
    if missing.any():
        raise ValueError(
            "seed must name every run, got a missing value in row "
            f"{int(np.argmax(missing))}."
        )
    numbers, texts = pd.factorize(column)
    shown = ", ".join(f"{text!r} is {i}" for i, text in enumerate(texts[:3]))
    more = "" if len(texts) <= 3 else ", ..."
    said.append(f"seed holds text, which is numbered as it comes ({shown}{more})")
    return pd.Series(numbers)


def _is_text(column: pd.Series) -> bool:
    return pd.api.types.infer_dtype(column, skipna=True) == "string"


def _text_integers(column: pd.Series) -> list[int] | None:
    """Return the integers that a column of text spells, or None where it does not."""
    values = column.tolist()
    if all(isinstance(v, str) and _TEXT_INTEGER.fullmatch(v) for v in values):
        return [int(value) for value in values]
    return None


def _as_counts(column: Any, name: str, said: list[str]) -> np.ndarray:
    """Return a column as int64, without a wrap around or a rounded digit."""
    column = _plain(column)
    integers = _text_integers(column) if _is_text(column) else None
    if integers is not None:
        said.append(f"{name} holds text, which is read as integers")
        values: np.ndarray = np.array(integers, dtype=object)
    elif pd.api.types.infer_dtype(column, skipna=False) == "integer":
        # Of any width and sign, and Python's own: compared before they are cast.
        values = column.to_numpy()
    else:
        values = as_float(column, name)
        whole = np.isfinite(values)
        whole[whole] = values[whole] == np.round(values[whole])
        _refuse_counts(~whole, values, name, "hold whole numbers")
    minimum = 1 if name in ("train_size", "n_test") else 0
    _refuse_counts(values < minimum, values, name, f"be at least {minimum}")
    # The largest count is no float: the next one is 2**63 itself.
    largest = np.nextafter(2.0**63, 0) if values.dtype == float else _LARGEST_COUNT
    _refuse_counts(values > largest, values, name, "be below 2**63")
    return values.astype(np.int64)


def _refuse_counts(bad: np.ndarray, values: np.ndarray, name: str, need: str) -> None:
    # The run cannot be named when its own key is what is wrong.
    if bad.any():
        row = int(np.argmax(bad))
        shown = f"{values[row]:.17g}" if values.dtype == float else values[row]
        raise ValueError(f"{name} must {need}, got {shown} in row {row}.")
