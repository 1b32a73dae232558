"""Errors, losses and norms in the table's units, from the columns that hold them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .._kinds import as_float, with_natural_logs
from ._names import Found

__all__ = ["errors_and_losses", "natural_logs"]

# Beyond rounding, a share is at most 1 and a percentage at most 100.
_ROUNDING = 1e-6


def errors_and_losses(
    raw: pd.DataFrame, found: list[Found], runs: pd.Series, said: list[str]
) -> dict[str, np.ndarray]:
    """Return the columns of errors and losses of a table.

    Parameters
    ----------
    raw : DataFrame
        Columns of all logs, one for each entry of `found`, under its position.
    found : list of Found
        What the columns are taken for.
    runs : Series
        The run of each row.
    said : list of str
        Takes what was guessed.

    Returns
    -------
    dict of str to array
        ``test_error``, ``train_error``, ``test_loss`` and ``train_loss``, as far as
        known; NaN in rows without a value.
    """
    measures = {}
    for split in ("test", "train"):
        for ours, kinds in (
            (f"{split}_error", (f"{split}_error", f"{split}_accuracy")),
            (f"{split}_loss", (f"{split}_loss",)),
        ):
            candidates = [i for i, f in enumerate(found) if f.ours in kinds]
            if not candidates:
                continue
            values = {i: as_float(raw[i], found[i].theirs) for i in candidates}
            best, *others = _in_order(values, found, runs)
            column, how = _in_units(values[best], found[best], ours)
            used, unused = [how], []
            for other in others:
                # Another name of the same thing in other files is a second source.
                theirs = raw["log"][np.isfinite(values[other])].unique()
                if np.isfinite(column[raw["log"].isin(theirs)]).any():
                    unused.append(found[other].theirs)
                    continue
                more, how = _in_units(values[other], found[other], ours)
                column = np.where(np.isnan(column), more, column)
                used.append(how)
            measures[ours] = column
            if used != [ours] or unused:
                without = f" (and not {', '.join(unused)})" if unused else ""
                said.append(f"{ours} is {' or '.join(used)}{without}")
    return measures


def _in_order(
    values: dict[int, np.ndarray], found: list[Found], runs: pd.Series
) -> list[int]:
    """Return candidates, best first: of those with most values a run, the best rank."""
    codes = runs.to_numpy()
    n_runs = codes.max() + 1
    counts = {}
    for i, column in values.items():
        count = np.bincount(codes[np.isfinite(column)], minlength=n_runs)
        counts[i] = float(np.median(count[count > 0])) if count.any() else 0.0
    # A value at the end of training is no trajectory; nor are a few beside many.
    tested = found[next(iter(values))].ours.startswith("test")
    enough = max(2.0, 0.1 * max(counts.values())) if tested else 2.0
    return sorted(
        values,
        key=lambda i: (
            not found[i].sure,
            counts[i] < enough,
            found[i].rank,
            found[i].ours.endswith("accuracy"),
        ),
    )


def _in_units(values: np.ndarray, found: Found, ours: str) -> tuple[np.ndarray, str]:
    """Return a share of errors, and how it comes from their column."""
    if ours.endswith("loss"):
        return values, found.theirs
    how = found.theirs
    finite = values[np.isfinite(values)]
    named = any(word in how.lower() for word in ("percent", "pct", "%"))
    largest = finite.max(initial=0.0)
    if named or 1 + _ROUNDING < largest <= 100 * (1 + _ROUNDING):
        values, how = values / 100, f"{how} / 100"
    if found.ours.endswith("accuracy"):
        # Single precision leaves an accuracy of 1 a little above it.
        error = 1 - values
        error = np.where(np.abs(error) < _ROUNDING, 0.0, error)
        return error, f"1 - {how}"
    return values, how


def natural_logs(
    raw: pd.DataFrame, found: list[Found], said: list[str]
) -> dict[str, np.ndarray]:
    """Return the ``log_<norm>`` columns of a table.

    Parameters
    ----------
    raw, found, said : DataFrame, list of Found, list of str
        As in :func:`errors_and_losses`.

    Returns
    -------
    dict of str to array
        Natural logarithms by name; NaN in rows without a value.
    """
    logs: dict[str, np.ndarray] = {}
    for i, column in sorted(enumerate(found), key=lambda pair: pair[1].rank):
        name = column.ours
        log = "log_" + name.removeprefix("log10_").removeprefix("log_")
        if log in logs or not raw[i].notna().any():
            continue
        base_10 = name.startswith("log10_")
        plain = not name.startswith(("log_", "log10_"))
        if plain or base_10:
            made = with_natural_logs({name: raw[i]}, {name: (log, base_10)}, [])
            if log not in made:
                continue  # text under the name of a norm
            logs[log] = np.asarray(made[log])
            how = "ln(10) times" if base_10 else "the natural logarithm of"
            said.append(f"{log} is {how} {column.theirs}")
        else:
            logs[log] = as_float(raw[i], column.theirs)
            if not column.sure:
                said.append(f"{log} is {column.theirs}, taken for a natural logarithm")
    return logs
