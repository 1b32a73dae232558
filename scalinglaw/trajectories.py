"""The trajectory table: one row per recorded checkpoint of one run.

Every part of the package speaks through this table. ``train_size`` and
``seed`` (and ``model``, where there is one) name a run, ``epoch`` orders its
checkpoints, ``test_error`` and ``train_error`` are fractions, and each
``log_<norm>`` is a natural logarithm, because a norm may exceed 1e300.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ._files import atomic_write, damaged_file_named
from ._rows import (
    REQUIRED,
    Trajectories,
    check_rows,
    join_runs,
    norm_columns,
    run_columns,
)
from ._table_files import parse_csv, parse_parquet, write_csv, write_parquet
from ._validation import check_columns

__all__ = [
    "as_trajectories",
    "check_trajectories",
    "concat_trajectories",
    "norm_columns",
    "read_trajectories",
    "run_columns",
    "sort_trajectories",
    "write_trajectories",
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
    check_columns(trajectories.columns, REQUIRED, "the trajectory table")
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
    return check_rows(trajectories, norm=norm, metric=metric)


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
    return check_rows(join_runs(tables))


def as_trajectories(source: Trajectories) -> pd.DataFrame:
    """Return the table behind a DataFrame, a fitted estimator or a list of them.

    Parameters
    ----------
    source : DataFrame, fitted estimator, or iterable of either
        An estimator must hold ``trajectory_`` (a classifier) or
        ``trajectories_`` (a sweep).

    Returns
    -------
    DataFrame
        The rows of all of them, not yet checked.

    Raises
    ------
    TypeError
        If an entry holds no trajectory.
    """
    if isinstance(source, pd.DataFrame):
        return source
    for name in ("trajectories_", "trajectory_"):
        if hasattr(source, name):
            table: pd.DataFrame = getattr(source, name)
            return table
    if isinstance(source, (list, tuple)):
        return join_runs(as_trajectories(entry) for entry in source)
    raise TypeError(
        "trajectories must be a DataFrame, a fitted classifier or sweep, or a list "
        f"of those, got {type(source).__name__}. A classifier has its trajectory_ "
        "only after fit."
    )


def write_trajectories(
    trajectories: pd.DataFrame, path: str | os.PathLike[str]
) -> None:
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
    suffix = _suffix(path)
    table = check_trajectories(trajectories)
    if suffix == ".csv":
        _check_names_for_csv(table)
    with atomic_write(path) as part:
        part.touch(exist_ok=False)
        (write_csv if suffix == ".csv" else write_parquet)(table, part)
        if path.exists():
            shutil.copymode(path, part)


def read_trajectories(path: str | os.PathLike[str]) -> pd.DataFrame:
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
    parse = parse_csv if _suffix(path) == ".csv" else parse_parquet
    data = path.read_bytes()
    with damaged_file_named(path, f"{path.suffix.lower()} table"):
        table = parse(data)
    return check_trajectories(table)


def _check_names_for_csv(table: pd.DataFrame) -> None:
    if "model" in table.columns and (table["model"] == "").any():
        row = int(np.argmax(table["model"] == ""))
        raise ValueError(
            "model must not be empty in a CSV file, where it could not be told from a "
            f"missing one, got '' in row {row}. Name the model, or write Parquet."
        )
    if "" in table.columns:
        raise ValueError(
            "every column must have a name in a CSV file, got '' among them. Name it, "
            "or drop it."
        )


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in (".parquet", ".csv"):
        raise ValueError(
            f"path must end in .parquet or .csv, got {path.name!r}. "
            "Parquet keeps types and is smaller; CSV can be read anywhere. Logs of "
            "other programs are read by read_runs."
        )
    return suffix
