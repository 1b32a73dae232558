"""Any program's logs as a trajectory table."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import pandas as pd

from .._kinds import as_float
from .._rows import KNOWN_NORMS, check_rows
from .._validation import check_number, plural, warn_user
from ..exceptions import TrajectoryWarning
from ._checkpoints import align, merge_rows, with_epochs
from ._formats import Log, load
from ._measures import errors_and_losses, natural_logs
from ._names import Found, find_columns
from ._runs import compile_pattern, name_runs

__all__ = ["read_runs"]

_KEYS = ("train_size", "seed", "model", "run")
_AXES = ("step", "epoch", "batch_size")
_KEPT = ("n_test", "log_norm_opt", "relative_test_error")
_MEASURES = tuple(
    f"{split}_{what}"
    for split in ("test", "train", "unknown")
    for what in ("error", "accuracy", "loss")
)

Source: TypeAlias = "str | os.PathLike[str] | pd.DataFrame"


def read_runs(
    paths_or_tables: Source | Iterable[Source] | Mapping[str, Any],
    *,
    columns: Mapping[str, str] | None = None,
    pattern: Any = None,
    norm: str | None = None,
    steps_per_epoch: float | None = None,
    batch_size: float | None = None,
) -> pd.DataFrame:
    r"""Read the logs of any training program into one trajectory table.

    Formats are told by names and content: CSV of Keras, Lightning or Weights & Biases
    (charts with a column a run, and histories), the ``trainer_state.json`` of Hugging
    Face, the ``history.json`` of skorch, event files of TensorBoard, and any CSV, TSV,
    JSON lines or Parquet with a row a record. Accuracies and percentages become
    errors, norms natural logarithms, steps epochs. What was guessed is said in one
    warning, and kept in ``.attrs["guesses"]``; what cannot be known is asked for.

    Parameters
    ----------
    paths_or_tables : path-like, DataFrame, list or dict of those
        Files, patterns such as ``"logs/*.csv"``, folders, or tables in memory. The
        keys of a dict become the ``model`` column.
    columns : dict of str to str, optional
        Their names to ours, where it cannot guess: any column of the trajectory table,
        ``test_accuracy``, ``train_accuracy``, ``<norm>``, ``log10_<norm>``, ``run`` (a
        name of each run) or ``batch_size``. Other names are kept as they are.
    pattern : str or re.Pattern, optional
        What names of runs or files say, such as ``"P{train_size}_s{seed}"``; sizes
        may be written 50k or 1.5M. A field ``{model}`` is taken too, and any other
        stands for any word.
    norm : str, optional
        The norm that must be there; a column of that name is taken for it.
    steps_per_epoch : float, optional
        Optimiser steps in a pass over the training set, the same for all runs.
    batch_size : float, optional
        Training samples of a step, from which epochs are counted where no column does.

    Returns
    -------
    DataFrame
        The checked table, sorted by run; ``.attrs["guesses"]`` lists what was guessed.

    Raises
    ------
    TypeError, ValueError
        If a file is damaged or of no known format, or something is missing that no
        column or name tells: the message names it.

    Warns
    -----
    TrajectoryWarning
        If anything was guessed, converted or left out.

    Examples
    --------
    >>> import warnings
    >>> import pandas as pd
    >>> from scalinglaw import read_runs
    >>> log = pd.DataFrame({
    ...     "n_train": 1000, "seed": 0, "epoch": [0, 1, 2],
    ...     "val_acc": [10.0, 70.0, 80.0], "log10_frobenius": [1.0, 1.1, 1.2],
    ... })
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     table = read_runs(log)
    >>> print(*table.attrs["guesses"], sep="\n")
    train_size is n_train
    test_error is 1 - val_acc / 100
    log_frobenius is ln(10) times log10_frobenius
    >>> table["test_error"].round(2).tolist()
    [0.9, 0.3, 0.2]
    """
    given = _check_given(columns)
    compiled = compile_pattern(pattern)
    for name, value in (
        ("steps_per_epoch", steps_per_epoch),
        ("batch_size", batch_size),
    ):
        if value is not None:
            check_number(value, name, minimum=0.0)
    logs = _load_all(paths_or_tables)
    said = [log.frame.attrs["remark"] for log in logs if "remark" in log.frame.attrs]
    names = list(dict.fromkeys(str(n) for log in logs for n in log.frame.columns))
    missing = [name for name in given if name not in names]
    if missing:
        raise ValueError(
            f"columns names {', '.join(map(repr, missing))}, which no log has; they "
            f"have {', '.join(names[:40])}."
        )
    found = find_columns(names, given, norm)
    raw = _stacked(logs, found)
    rows = name_runs(_settings(raw, found, said), compiled, said)
    if compiled is not None:  # what a pattern says, no column had to
        told = tuple(f"{field} is " for field in compiled.groupindex)
        said = [text for text in said if not text.startswith(told)]
    keys = ["model"] * ("model" in rows) + ["train_size", "seed"]
    runs = rows.groupby(keys, sort=False).ngroup()
    rows = _with_values(rows, raw, found, runs, norm, said)
    metric = _metric(rows, found, names)
    axis = "step" if _covers(rows, "step", metric) else "epoch"
    if not _covers(rows, axis, metric):
        raise ValueError(
            "epoch is not known: name the column that counts epochs or steps, as in "
            f'columns={{"their name": "step"}}; the logs have {", ".join(names[:40])}.'
        )
    lost = int((rows[metric].notna() & rows[axis].isna()).sum())
    if lost:
        said.append(f"{plural(lost, 'row')} without {axis} left out")
    table = merge_rows(rows, keys, axis, said)
    table = align(table, keys, axis, metric, norm, said)
    kinds = {log.kind for log in logs}
    kind = kinds.pop() if len(kinds) == 1 else "table"
    table = with_epochs(table, keys, kind, steps_per_epoch, batch_size, said)
    return _finished(table, keys, norm, said)


def _check_given(columns: Any) -> dict[str, str]:
    if columns is None:
        return {}
    if not isinstance(columns, Mapping):
        raise TypeError(
            'columns must be a dict of their names to ours, as in {"acc": '
            f'"test_accuracy"}}, got {columns!r}.'
        )
    return {str(theirs): str(ours) for theirs, ours in columns.items()}


def _load_all(source: Any) -> list[Log]:
    if isinstance(source, Mapping):
        logs = []
        for model, part in source.items():
            for log in load(list(part) if _is_collection(part) else part):
                # The model is part of the name: two may have a log of the same name.
                frame = log.frame.assign(model=str(model))
                frame.attrs = log.frame.attrs
                logs.append(Log(frame, f"{model}: {log.name}", log.kind))
    else:
        logs = load(list(source) if _is_collection(source) else source)
    if not logs:
        raise ValueError("paths_or_tables holds no log.")
    return logs


def _is_collection(source: Any) -> bool:
    return isinstance(source, Iterable) and not isinstance(
        source, (str, os.PathLike, pd.DataFrame)
    )


def _stacked(logs: list[Log], found: list[Found]) -> pd.DataFrame:
    """Return the known columns of all logs, under the positions in `found`."""
    parts = []
    for number, log in enumerate(logs):
        frame = log.frame.rename(columns=str)
        known = {i: frame[f.theirs] for i, f in enumerate(found) if f.theirs in frame}
        part = pd.DataFrame(known, index=frame.index)
        part["log"], part["file"] = log.name, number
        parts.append(part)
    raw = pd.concat(parts, ignore_index=True)
    return raw.reindex(columns=[*range(len(found)), "log", "file"])


def _settings(raw: pd.DataFrame, found: list[Found], said: list[str]) -> pd.DataFrame:
    """Return the columns that name runs and order rows, the best candidate of each."""
    rows = raw[["log", "file"]].copy()
    for ours in (*_KEYS, *_AXES):
        candidates = sorted(
            (i for i, f in enumerate(found) if f.ours == ours and raw[i].notna().any()),
            key=lambda i: (not found[i].sure, found[i].rank),
        )
        if ours == "run":
            # A name that no two rows share is not that of a run.
            texts = [raw[i].astype(str).where(raw[i].notna()) for i in candidates]
            texts = [text for text in texts if text.duplicated().any()]
            if texts:
                rows["run"] = texts[0]
                for text in texts[1:]:
                    rows["run"] = rows["run"] + "/" + text
            continue
        if not candidates:
            continue
        count = raw[candidates].notna().sum()
        candidates.sort(key=lambda i: count[i] < 0.5 * count.max())
        best, *others = candidates
        rows[ours] = raw[best]
        for other in others:
            # In files that lack the best, the next one serves; within a file two
            # counters of steps are not mixed.
            lacking = ~rows[ours].notna().groupby(rows["log"]).transform("any")
            rows[ours] = rows[ours].where(~lacking, raw[other])
        if not found[best].sure:
            said.append(f"{ours} is {found[best].theirs}")
    return rows


def _with_values(
    rows: pd.DataFrame,
    raw: pd.DataFrame,
    found: list[Found],
    runs: pd.Series,
    norm: str | None,
    said: list[str],
) -> pd.DataFrame:
    """Return rows with errors, losses and norms, and what the user wants kept."""
    values: dict[str, Any] = dict(errors_and_losses(raw, found, runs, said))
    norms = []
    for i, column in enumerate(found):
        if column.ours in (*_KEYS, *_AXES, *_MEASURES):
            continue
        plain = column.ours.removeprefix("log10_").removeprefix("log_")
        known = column.ours != plain or plain in (*KNOWN_NORMS, norm)
        if known and column.ours not in _KEPT:
            norms.append(i)
        else:
            values[column.ours] = raw[i]
    chosen = raw[norms].set_axis(range(len(norms)), axis=1)
    values.update(natural_logs(chosen, [found[i] for i in norms], said))
    rows = rows.drop(columns="run", errors="ignore").assign(**values)
    for name in ("step", "epoch", "batch_size"):
        if name in rows:
            rows[name] = as_float(rows[name], name)
    return rows


def _metric(rows: pd.DataFrame, found: list[Found], names: list[str]) -> str:
    for metric in ("test_error", "test_loss", "relative_test_error"):
        if metric in rows and rows[metric].notna().any():
            return metric
    unknown = [f.theirs for f in found if f.ours.startswith("unknown_")]
    what = (
        f"whether {', '.join(map(repr, unknown))} is of the test or the training set"
        if unknown
        else "which column is the error on the test set"
    )
    raise ValueError(
        f"test_error is not known, nor {what}: name it, as in "
        f'columns={{"their name": "test_error"}} (or "test_accuracy", "test_loss"); '
        f"the logs have {', '.join(names[:40])}."
    )


def _covers(rows: pd.DataFrame, axis: str, metric: str) -> bool:
    """Return whether the rows of all runs have a step, or an epoch."""
    if axis not in rows:
        return False
    known = rows[axis].notna().groupby(rows["log"]).any()
    return bool(known.all()) and bool(
        rows.loc[rows[metric].notna(), axis].notna().any()
    )


def _finished(
    table: pd.DataFrame, keys: list[str], norm: str | None, said: list[str]
) -> pd.DataFrame:
    """Return the checked table with its columns in order, and say what was guessed."""
    first = table.groupby(keys)["epoch"].min()
    late = int((first > 0).sum())
    if late:
        said.append(
            f"there is no record before the first step in {late} of "
            f"{plural(len(first), 'run')}"
        )
    table = table.drop(columns=["log", "file", "batch_size"], errors="ignore")
    numbered = any(text.startswith("seed numbers") for text in said)
    label = table.pop("label").astype(str)
    if "step" in table and (table["step"] != table["step"].round()).any():
        table = table.drop(columns="step")
    head = [*keys, "epoch", *(["step"] if "step" in table else []), *_MEASURES]
    order = [name for name in head if name in table]
    table = table[[*order, *(name for name in table if name not in order)]]
    if numbered:
        table["run"] = label.to_numpy()
    guesses = list(dict.fromkeys(said))
    if guesses:
        warn_user(
            f"read_runs took it that {'; '.join(guesses)}. (The same list is in the "
            'table\'s attrs["guesses"]; columns= and pattern= say otherwise.)',
            TrajectoryWarning,
        )
    checked = check_rows(table, norm=norm)
    checked.attrs["guesses"] = guesses
    return checked
