"""The one check of a trajectory table, made where the table enters the package.

Three stages: the names of the columns, the kinds of their values (which are brought
to int64, float64 and text), and the values themselves. Whatever comes out of
:func:`check_rows` is passed on as it is, and not checked again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import pandas as pd

from ._kinds import (
    COUNTS,
    ERRORS,
    FLOATS,
    is_log_norm,
    with_kinds,
    with_natural_logs,
)
from ._validation import check_columns, plural, warn_user
from .exceptions import TrajectoryWarning

__all__ = [
    "KNOWN_NORMS",
    "Trajectories",
    "check_names",
    "check_rows",
    "join_runs",
    "norm_columns",
    "run_columns",
]

#: Norms whose plain or base-10 columns are known for what they are.
KNOWN_NORMS = (
    "spectral_complexity",
    "spectral_complexity_columns",
    "spectral_product",
    "frobenius",
    "l1",
    "group_21",
    "path",
    "fisher_rao",
    "rms",
)


class HasTrajectory(Protocol):
    """A fitted classifier, which holds the table of its run."""

    trajectory_: pd.DataFrame


class HasTrajectories(Protocol):
    """A fitted sweep, which holds the table of its runs."""

    trajectories_: pd.DataFrame


#: What every estimator of laws takes.
Trajectories: TypeAlias = (
    "pd.DataFrame | HasTrajectory | HasTrajectories | Sequence[Trajectories]"
)
REQUIRED = ("train_size", "seed", "epoch")
TABLE = "the trajectory table"
# Columns with a meaning of their own, which no error and no norm can have too.
_NO_METRIC = ("model", *COUNTS, "epoch", "log_norm_opt")
# The logarithm of the largest norm that a real network is known to reach is
# near 180. Users rescale logs to check invariances, so leave ample room.
_LARGEST_LOG = 2e4


def run_columns(trajectories: pd.DataFrame) -> list[str]:
    """Return the columns that together name a run.

    Parameters
    ----------
    trajectories : DataFrame
        A trajectory table.

    Returns
    -------
    list of str
        ``["train_size", "seed"]``, with ``"model"`` first where present.
    """
    names = ["train_size", "seed"]
    return ["model", *names] if "model" in trajectories.columns else names


def norm_columns(trajectories: pd.DataFrame) -> list[str]:
    """Return the ``log_<norm>`` columns, without ``log_norm_opt``.

    Parameters
    ----------
    trajectories : DataFrame
        A trajectory table.

    Returns
    -------
    list of str
        Column names, in the order of the table.
    """
    return [name for name in map(str, trajectories.columns) if is_log_norm(name)]


def check_rows(
    table: pd.DataFrame,
    *,
    norm: str | None = None,
    metric: str | None = None,
    for_laws: bool = False,
) -> pd.DataFrame:
    """Return a table in canonical form, or say what is wrong with it.

    Parameters
    ----------
    table : DataFrame
        The table as a user has it. Its rows are numbered from 0 in messages.
    norm, metric : str, optional
        Require the column ``log_<norm>``, and the column `metric`.
    for_laws : bool, default=False
        Take rows in any order and with gaps: they are sorted, each run is cut to its
        longest stretch without a gap, and only the columns that a law reads are
        looked at and returned. Needs `norm` and `metric`.

    Returns
    -------
    DataFrame
        A copy with a fresh index.

    Raises
    ------
    TypeError, ValueError
        If it is no table, or a rule is broken.

    Warns
    -----
    TrajectoryWarning
        If norms or text were converted, or checkpoints with gaps left out.
    """
    if not isinstance(table, pd.DataFrame):
        raise TypeError(
            "trajectories must be a pandas DataFrame, got "
            f"{type(table).__name__}. Read a file with read_trajectories."
        )
    names = [str(name) for name in table.columns]
    logs = check_names(names, norm, metric)
    if table.empty:
        raise ValueError("trajectories holds no runs: the table has no rows.")
    columns = {
        name: table.iloc[:, position].reset_index(drop=True)
        for position, name in enumerate(names)
    }
    remarks: list[str] = []
    if for_laws:
        used = {"model", *REQUIRED, f"log_{norm}", metric, "n_test", "log_norm_opt"}
        logs = {name: log for name, log in logs.items() if log[0] in used}
        columns = {n: values for n, values in columns.items() if n in used or n in logs}
    columns = with_natural_logs(columns, logs, remarks)
    checked = pd.DataFrame(with_kinds(columns, metric, remarks))
    checked.attrs = dict(table.attrs)
    if remarks:
        warn_user("; ".join(remarks) + ".", TrajectoryWarning)
    if for_laws:
        order = [*run_columns(checked), "epoch"]
        # The index keeps the numbers of the rows, for messages.
        checked = checked.sort_values(order, kind="stable")
        checked = _longest_stretches(checked, [f"log_{norm}", str(metric)])
    _check_values(checked, metric)
    return checked.reset_index(drop=True)


def join_runs(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Put tables one below the other; no run may be in two of them.

    Parameters
    ----------
    tables : iterable of DataFrame
        Trajectory tables; beyond the names of runs nothing is checked.

    Returns
    -------
    DataFrame
        The rows of all tables, in the order given.

    Raises
    ------
    ValueError
        If there is no table, only some have a model, or two hold the same run.
    """
    tables = list(tables)
    if not tables:
        raise ValueError("concat_trajectories needs at least one table, got none.")
    for table in tables:
        if isinstance(table, pd.DataFrame):
            check_names(map(str, table.columns))
        else:
            raise TypeError(
                "every one of the tables must be a pandas DataFrame, got "
                f"{type(table).__name__}. Read a file with read_trajectories."
            )
    with_model = sum("model" in table.columns for table in tables)
    if 0 < with_model < len(tables):
        raise ValueError(
            f"only {with_model} of {len(tables)} tables have a model column. "
            "Give them all one: pass a dict of name to table."
        )
    names = run_columns(tables[0])
    seen: set[tuple[Hashable, ...]] = set()
    for table in tables:
        try:
            rows = table[names].drop_duplicates()
        except TypeError as error:
            raise TypeError(
                f"{', '.join(names)} must hold numbers or text: {error}."
            ) from error
        runs = set(rows.itertuples(index=False, name=None))
        if seen & runs:
            run = dict(zip(names, min(seen & runs, key=str), strict=True))
            raise ValueError(
                f"the run {_name_run(run)} is in more than one table. "
                "Pass a dict of name to table to keep models apart, or use "
                "other seeds."
            )
        seen |= runs
    return pd.concat(tables, ignore_index=True)


def check_names(
    names: Iterable[str], norm: str | None = None, metric: str | None = None
) -> dict[str, tuple[str, bool]]:
    """Check the names of columns, and find norms that are not natural logarithms.

    Parameters
    ----------
    names : iterable of str
        Names of all columns.
    norm, metric : str, optional
        As in :func:`check_rows`.

    Returns
    -------
    dict of str to (str, bool)
        For columns to convert, the name that the logarithm gets and whether they are
        logarithms to base 10.

    Raises
    ------
    ValueError
        If a column is there twice, or one is missing.
    """
    for argument, value in (("norm", norm), ("metric", metric)):
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{argument} must be a name, got {value!r}.")
    names = list(names)
    present = set(names)
    if len(present) < len(names):
        repeated = next(name for name, count in Counter(names).items() if count > 1)
        raise ValueError(f"trajectories has two columns named {repeated!r}.")
    if metric in _NO_METRIC:
        raise ValueError(
            f"metric must be a column of errors or losses, got {metric!r}, which has "
            "another meaning in the trajectory table. Copy it to a column of another "
            "name if it is one."
        )
    logs = {}
    for known in dict.fromkeys([*KNOWN_NORMS, *([norm] if norm else [])]):
        if f"log_{known}" in present:
            continue
        for name, base_10 in ((f"log10_{known}", True), (known, False)):
            if name in present and name not in (metric, *_NO_METRIC, *FLOATS):
                logs[name] = (f"log_{known}", base_10)
                break
    required = list(REQUIRED)
    if norm is not None:
        prefix = re.match("log(10)?_", norm)
        if norm == "norm_opt":
            raise ValueError(
                "norm must be a norm that was recorded, got 'norm_opt': the column "
                "log_norm_opt holds optima that are already known."
            )
        if prefix and f"log_{norm}" not in present:
            raise ValueError(
                f"norm must be given without the prefix {prefix[0]}, got {norm!r}. "
                f"Write norm={norm.removeprefix(prefix[0])!r}."
            )
        required.append(f"log_{norm}")
    if metric is not None:
        required.append(metric)
    check_columns([*names, *(log for log, _ in logs.values())], required, TABLE)
    return logs


def _longest_stretches(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Keep, of each run, the longest stretch of checkpoints without NaN."""
    present = table[columns].notna().all(axis=1).to_numpy()
    if present.all():
        return table
    run = table.groupby(run_columns(table)).ngroup().to_numpy()
    # A stretch ends where the run, or the presence of values, changes.
    change = (np.diff(run, prepend=-1) != 0) | np.diff(present, prepend=False)
    stretch = np.cumsum(change)
    length = np.bincount(stretch, present)[stretch]
    frame = pd.DataFrame({"run": run, "stretch": stretch, "length": length})
    best = frame.sort_values(["run", "length"], kind="stable").groupby("run").tail(1)
    keep = present & np.isin(stretch, best["stretch"])
    if not keep.any():
        raise ValueError(f"{' and '.join(columns)} are nowhere both known.")
    warn_user(
        f"{plural(int((~keep).sum()), 'checkpoint')} of {keep.size} left out: "
        f"{' or '.join(columns)} is missing there, and each run is used on its "
        "longest stretch without a gap.",
        TrajectoryWarning,
    )
    return table[keep]


def _check_values(table: pd.DataFrame, metric: str | None) -> None:
    """Check every value of a table whose columns have their kinds."""
    norms = norm_columns(table)
    for name in dict.fromkeys((*FLOATS, "log_norm_opt", *norms, metric)):
        if name in table.columns:
            _check_real(table, str(name))
    for name in ERRORS:
        if name in table.columns:
            _check_error(table, name)
    _check_order(table)
    for name in norms:
        _check_log(table, name)
    if "log_norm_opt" in table.columns:
        _check_known_optima(table)


def _name_run(run: Mapping[Any, Any]) -> str:
    return "(" + ", ".join(f"{name}={value}" for name, value in run.items()) + ")"


def _offender(table: pd.DataFrame, bad: np.ndarray) -> tuple[int, str]:
    """Return the first bad position and words for its row and run."""
    position = int(np.argmax(bad))
    run = table[run_columns(table)].iloc[position]
    return position, f"row {table.index[position]}, run {_name_run(run.to_dict())}"


def _check_real(table: pd.DataFrame, name: str) -> None:
    values = table[name].to_numpy()
    bad = ~np.isfinite(values)
    if name == "log_norm_opt":
        # NaN says that no optimum is known.
        bad = np.isinf(values)
    elif name.startswith("log_"):
        bad &= ~np.isneginf(values)
    if bad.any():
        row, where = _offender(table, bad)
        raise ValueError(
            f"{name} must be finite, got {values[row]} ({where}; "
            f"{bad.sum()} of {len(values)} values). Drop these checkpoints, or the "
            "runs that diverged."
        )


def _check_error(table: pd.DataFrame, name: str) -> None:
    values = table[name].to_numpy()
    bad = (values < 0) | (values > 1)
    if bad.any():
        row, where = _offender(table, bad)
        above = values > 1
        advice = (
            f"{above.sum()} of {len(values)} values above 1). "
            "Errors are fractions here: divide percentages by 100."
            if above.any()
            else f"{bad.sum()} of {len(values)} values below 0). Is it an accuracy?"
        )
        raise ValueError(
            f"{name} must lie in [0, 1], got {name}[{table.index[row]}]="
            f"{values[row]:g} "
            f"({where}; {advice}"
        )


def _check_order(table: pd.DataFrame) -> None:
    """Each run needs two checkpoints or more, at increasing epochs."""
    epoch = table["epoch"].to_numpy()
    if (epoch < 0).any():
        row, where = _offender(table, epoch < 0)
        raise ValueError(f"epoch must not be negative, got {epoch[row]:g} ({where}).")
    code = table.groupby(run_columns(table), sort=False).ngroup().to_numpy()
    by_run = np.argsort(code, kind="stable")
    same_run = np.diff(code[by_run]) == 0
    gap = np.diff(epoch[by_run])
    later = by_run[1:]
    for broken, problem in (
        (same_run & (gap == 0), "repeats the epoch of the checkpoint before it"),
        (same_run & (gap < 0), "comes after a later epoch"),
    ):
        if broken.any():
            bad = np.zeros(len(table), dtype=bool)
            bad[later[broken]] = True
            row, where = _offender(table, bad)
            raise ValueError(
                f"a checkpoint {problem}: epoch {epoch[row]:g} ({where}; "
                f"{plural(int(bad.sum()), 'row')} in all). Drop duplicates, give "
                "each run its own seed, or sort with sort_trajectories."
            )
    # Two adjacent rows can be in order while a duplicate stands further off,
    # but then the run is not sorted, which the loop above has refused.
    single = np.bincount(code)[code] == 1
    if single.any():
        _, where = _offender(table, single)
        raise ValueError(
            f"a run needs at least two checkpoints, got one ({where}; "
            f"{plural(int(single.sum()), 'run')} in all). Record during training, "
            "or is the seed column numbering checkpoints?"
        )


def _check_log(table: pd.DataFrame, name: str) -> None:
    """Refuse a column that holds plain norms under the name of a logarithm."""
    values = table[name].to_numpy()
    finite = values[np.isfinite(values)]
    if not finite.size:
        return
    low, high = finite.min(), np.abs(finite).max()
    if high > _LARGEST_LOG or (low >= 1 and high > 700 and high / low > 100):
        row, where = _offender(table, np.abs(values) == high)
        raise ValueError(
            f"{name} must be a natural logarithm, got {values[row]:g} ({where}), "
            "which looks like the plain norm: take np.log of it."
        )


def _check_known_optima(table: pd.DataFrame) -> None:
    """Refuse optima that differ within a train size: which one would be meant?"""
    keys = [name for name in run_columns(table) if name != "seed"]
    first = table.groupby(keys)["log_norm_opt"].transform("first").to_numpy()
    values = table["log_norm_opt"].to_numpy()
    bad = ~np.isnan(values) & (values != first)
    if bad.any():
        row, where = _offender(table, bad)
        raise ValueError(
            "log_norm_opt must be one number for each train size, got "
            f"{values[row]:g} ({where}) after {first[row]:g}. Average the optima of "
            "its seeds, or leave the column out."
        )
