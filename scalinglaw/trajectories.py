"""The trajectory table: one row per recorded checkpoint of one run.

Every part of the package speaks through this table. ``train_size`` and
``seed`` (and ``model``, where there is one) name a run, ``epoch`` orders its
checkpoints, ``test_error`` and ``train_error`` are fractions, and each
``log_<norm>`` is a natural logarithm, because a norm may exceed 1e300.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ._files import atomic_write
from ._validation import check_columns, plural

__all__ = [
    "as_trajectories",
    "check_names",
    "check_rows",
    "check_trajectories",
    "concat_trajectories",
    "norm_columns",
    "read_trajectories",
    "run_columns",
    "sort_trajectories",
    "write_trajectories",
]

_REQUIRED = ("train_size", "seed", "epoch")
_COUNTS = ("train_size", "seed", "step", "n_test")
_ERRORS = ("test_error", "train_error")
_FLOATS = (*_ERRORS, "epoch", "test_loss", "train_loss", "relative_test_error")
# The logarithm of the largest norm that a real network is known to reach is
# near 180. Users rescale logs to check invariances, so leave ample room.
_LARGEST_LOG = 2e4
# From pandas 3.1 on, the default parser gives back every bit.
_CSV_OPTIONS: dict[str, Any] = (
    {}
    if tuple(map(int, pd.__version__.split(".")[:2])) >= (3, 1)
    else {"float_precision": "round_trip"}
)


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
    return [
        name
        for name in map(str, trajectories.columns)
        if name.startswith("log_") and name != "log_norm_opt"
    ]


def sort_trajectories(trajectories: pd.DataFrame) -> pd.DataFrame:
    """Sort a table by run and, within a run, by epoch.

    Parameters
    ----------
    trajectories : DataFrame
        A trajectory table, its rows in any order.

    Returns
    -------
    DataFrame
        A sorted copy with a fresh index.
    """
    check_columns(trajectories.columns, _REQUIRED, "the trajectory table")
    order = [*run_columns(trajectories), "epoch"]
    return trajectories.sort_values(order, kind="stable", ignore_index=True)


def check_trajectories(
    trajectories: pd.DataFrame, *, norm: str | None = None, metric: str | None = None
) -> pd.DataFrame:
    """Validate a trajectory table and return it in canonical form.

    Parameters
    ----------
    trajectories : DataFrame
        One row per checkpoint. ``train_size``, ``seed`` and ``epoch`` are
        required; errors are fractions in [0, 1]; ``log_<norm>`` columns are
        natural logarithms, where minus infinity stands for a layer of zeros;
        ``log_norm_opt`` is one number for each train size, or NaN where no optimum
        is known. Columns unknown to the package are kept as they are.
    norm : str, optional
        Require the column ``log_<norm>``.
    metric : str, optional
        Require this column.

    Returns
    -------
    DataFrame
        A copy with integer columns as int64, real ones as float64, ``model``
        as strings, and a fresh index. The order of the rows is kept.

    Raises
    ------
    TypeError
        If `trajectories` is not a DataFrame.
    ValueError
        If a column is missing or a value breaks a rule; the message names the
        run, the row, and how to mend it.
    """
    if not isinstance(trajectories, pd.DataFrame):
        raise TypeError(
            "trajectories must be a pandas DataFrame, got "
            f"{type(trajectories).__name__}. Read a file with read_trajectories."
        )
    return check_rows(trajectories.reset_index(drop=True), norm=norm, metric=metric)


def check_rows(
    table: pd.DataFrame, *, norm: str | None = None, metric: str | None = None
) -> pd.DataFrame:
    """Validate a table whose index numbers its rows, as messages shall name them.

    Parameters
    ----------
    table : DataFrame
        Of any order; rows that were sorted or left out keep their numbers.
    norm, metric : str, optional
        As in :func:`check_trajectories`.

    Returns
    -------
    DataFrame
        As from :func:`check_trajectories`.
    """
    check_names(table, norm, metric)
    if table.empty:
        raise ValueError("trajectories holds no runs: the table has no rows.")
    table = table.copy(deep=False)  # columns are replaced, and none is changed
    if "model" in table.columns:
        _check_model(table)
        table["model"] = table["model"].astype(str)
    for name in _COUNTS:
        if name in table.columns:
            table[name] = _check_counts(table, name)
    for name in (*_FLOATS, "log_norm_opt", *norm_columns(table)):
        if name in table.columns:
            table[name] = _check_real(table, name)
    if metric is not None and metric not in _FLOATS:
        table[metric] = _check_real(table, metric)
    for name in _ERRORS:
        if name in table.columns:
            _check_error(table, name)
    _check_order(table)
    for name in norm_columns(table):
        _check_log(table, name)
    if "log_norm_opt" in table.columns:
        _check_known_optima(table)
    return table.reset_index(drop=True)


def concat_trajectories(
    tables: Iterable[pd.DataFrame] | Mapping[str, pd.DataFrame],
) -> pd.DataFrame:
    """Put several tables one below the other, and check the result.

    Parameters
    ----------
    tables : iterable of DataFrame, or dict of str to DataFrame
        Trajectory tables. The keys of a dict become the ``model`` column.

    Returns
    -------
    DataFrame
        The rows of all tables, in the order given.

    Raises
    ------
    TypeError
        If `tables` is a table and no collection of them.
    ValueError
        If there is no table, or two tables hold the same run.
    """
    if isinstance(tables, pd.DataFrame | str) or not isinstance(tables, Iterable):
        raise TypeError(
            "tables must be a list of tables, or a dict of name to table, got a single "
            f"{type(tables).__name__}. Put one table into a list."
        )
    if isinstance(tables, Mapping):
        tables = [table.assign(model=str(name)) for name, table in tables.items()]
    checked = [check_trajectories(table) for table in tables]
    if not checked:
        raise ValueError("concat_trajectories needs at least one table, got none.")
    with_model = sum("model" in table.columns for table in checked)
    if 0 < with_model < len(checked):
        raise ValueError(
            f"only {with_model} of {len(checked)} tables have a model column. "
            "Give them all one: pass a dict of name to table."
        )
    keys = [
        set(table[run_columns(table)].itertuples(index=False, name=None))
        for table in checked
    ]
    seen: set[tuple] = set()
    for position, runs in enumerate(keys):
        if seen & runs:
            run = dict(
                zip(run_columns(checked[position]), min(seen & runs), strict=True)
            )
            raise ValueError(
                f"the run {_name_run(run)} is in more than one table. "
                "Pass a dict of name to table to keep models apart, or use "
                "other seeds."
            )
        seen |= runs
    return check_trajectories(pd.concat(checked, ignore_index=True))


def as_trajectories(source: Any) -> pd.DataFrame:
    """Return the table behind a DataFrame, a fitted estimator or a list of them.

    Parameters
    ----------
    source : DataFrame, fitted estimator, or iterable of either
        An estimator must hold ``trajectory_`` (a classifier) or
        ``trajectories_`` (a sweep).

    Returns
    -------
    DataFrame
        The rows of all of them; not yet checked when `source` is a DataFrame.

    Raises
    ------
    TypeError
        If an entry holds no trajectory.
    """
    if isinstance(source, pd.DataFrame):
        return source
    for name in ("trajectories_", "trajectory_"):
        if hasattr(source, name):
            return getattr(source, name)
    if isinstance(source, (list, tuple)):
        return concat_trajectories([as_trajectories(entry) for entry in source])
    raise TypeError(
        "trajectories must be a DataFrame, a fitted classifier or sweep, or a list "
        f"of those, got {type(source).__name__}. A classifier has its trajectory_ "
        "only after fit."
    )


def write_trajectories(trajectories: pd.DataFrame, path: str | os.PathLike) -> None:
    """Write a table to Parquet or CSV without loss, all of it or nothing.

    Of columns unknown to the package, CSV keeps the text and not the type.

    Parameters
    ----------
    trajectories : DataFrame
        A trajectory table; it is checked first.
    path : path-like
        Ends in ``.parquet`` or ``.csv``.

    Raises
    ------
    ValueError
        If the table breaks a rule, the ending is neither of the two, or a model has
        an empty name, which CSV cannot tell from a missing one.
    """
    path = Path(path)
    table = check_trajectories(trajectories)
    if _suffix(path) == ".csv":
        _check_names_for_csv(table)
    # to_csv writes the shortest decimal that reads back as the same float64.
    writers: dict[str, Callable[[str], Any]] = {
        ".parquet": lambda part: table.to_parquet(part, index=False),
        ".csv": lambda part: table.to_csv(part, index=False),
    }
    write = writers[_suffix(path)]
    with atomic_write(path) as part:
        part.touch(exist_ok=False)
        write(str(part))
        if path.exists():
            shutil.copymode(path, part)


def read_trajectories(path: str | os.PathLike) -> pd.DataFrame:
    """Read a table that :func:`write_trajectories` wrote, or a log of your own.

    Parameters
    ----------
    path : path-like
        A ``.parquet`` or ``.csv`` file with the columns of the table.

    Returns
    -------
    DataFrame
        The checked table.

    Raises
    ------
    ValueError
        If the file cannot be parsed or a row breaks a rule of the table.
    FileNotFoundError
        If there is no such file.
    """
    path = Path(path)
    suffix = _suffix(path)
    try:
        table = pd.read_parquet(path) if suffix == ".parquet" else _read_csv(path)
    except ValueError as error:
        # The parse errors of pandas and pyarrow are ValueErrors, and so are
        # bytes that are no text.
        raise ValueError(f"{path} is not a readable {suffix} table: {error}") from error
    return check_trajectories(table)


def _read_csv(path: Path) -> pd.DataFrame:
    """Read a table in which only an empty cell is a missing name of a model."""
    # pandas takes "NA", "None" and the like for missing even where a dtype or a
    # converter says that they are text; with a mark in front they are not.
    table = pd.read_csv(path, converters={"model": "={}".format}, **_CSV_OPTIONS)
    if "model" in table.columns:
        names = table["model"].str.removeprefix("=")
        table["model"] = names.where(names != "")
    return table


def _check_names_for_csv(table: pd.DataFrame) -> None:
    if "model" in table.columns and (table["model"] == "").any():
        row = int(np.argmax(table["model"] == ""))
        raise ValueError(
            "model must not be empty in a CSV file, where it could not be told from a "
            f"missing one, got '' in row {row}. Name the model, or write Parquet."
        )


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in (".parquet", ".csv"):
        raise ValueError(
            f"path must end in .parquet or .csv, got {path.name!r}. "
            "Parquet keeps types and is smaller; CSV can be read anywhere."
        )
    return suffix


def check_names(table: pd.DataFrame, norm: str | None, metric: str | None) -> None:
    """Raise unless each column is there once, as :func:`check_trajectories` wants."""
    columns = [str(name) for name in table.columns]
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise ValueError(f"trajectories has two columns named {repeated[0]!r}.")
    if norm is not None and f"log_{norm}" not in columns and norm in columns:
        raise ValueError(
            f"trajectories has the plain norm {norm!r}, but its natural logarithm "
            f"is needed: add log_{norm} = np.log({norm})."
        )
    required = list(_REQUIRED)
    if norm is not None:
        required.append(f"log_{norm}")
    if metric is not None:
        required.append(metric)
    check_columns(columns, required, "the trajectory table")


def _name_run(run: Mapping[Any, Any]) -> str:
    return "(" + ", ".join(f"{name}={value}" for name, value in run.items()) + ")"


def _offender(table: pd.DataFrame, bad: np.ndarray) -> tuple[int, str]:
    """Return the first bad position and words for its row and run."""
    position = int(np.argmax(bad))
    run = table[run_columns(table)].iloc[position]
    return position, f"row {table.index[position]}, run {_name_run(run.to_dict())}"


def _check_model(table: pd.DataFrame) -> None:
    if table["model"].isna().any():
        row = table.index[int(np.argmax(table["model"].isna()))]
        raise ValueError(
            f"model must name every run, got a missing value in row {row}."
        )


def _as_float(table: pd.DataFrame, name: str) -> np.ndarray:
    try:
        return table[name].to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must hold numbers, got dtype {table[name].dtype}: {error}"
        ) from error


def _check_counts(table: pd.DataFrame, name: str) -> np.ndarray:
    if pd.api.types.is_integer_dtype(table[name]) and not table[name].isna().any():
        values = table[name].to_numpy(dtype=np.int64)
    else:
        numbers = _as_float(table, name)
        whole = np.isfinite(numbers)
        whole[whole] = numbers[whole] == np.round(numbers[whole])
        if not whole.all():
            # The run cannot be named when its own key is what is wrong.
            row = int(np.argmin(whole))
            raise ValueError(
                f"{name} must hold whole numbers, got {numbers[row]} in row "
                f"{table.index[row]}."
            )
        values = numbers.astype(np.int64)
    minimum = 1 if name in ("train_size", "n_test") else 0
    if (values < minimum).any():
        row = int(np.argmax(values < minimum))
        raise ValueError(
            f"{name} must be at least {minimum}, got {values[row]} in row "
            f"{table.index[row]}."
        )
    return values


def _check_real(table: pd.DataFrame, name: str) -> np.ndarray:
    values = _as_float(table, name)
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
    return values


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
