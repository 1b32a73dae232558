"""Rows of logs as checkpoints: one row a run and step, with all that is known there."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .._validation import plural

__all__ = ["align", "merge_rows", "with_epochs"]

# Two values at more of the steps than this are those of two runs.
_MANY_REPEATED = 0.1
_ASK = (
    "Name the column that tells them apart, as in "
    'columns={"their name": "seed"} (or "run", "model").'
)
# A file in which the step falls more often than this has its rows in another order.
_MANY_RESTARTS = 0.05


def merge_rows(
    rows: pd.DataFrame, keys: list[str], axis: str, said: list[str]
) -> pd.DataFrame:
    """Return one row for each run and step.

    Programs write the metrics of training and of validation in rows of their own,
    log a step twice, or go back to a checkpoint and train on from there.

    Parameters
    ----------
    rows : DataFrame
        Rows in the order of their files, with ``label``, ``log`` and ``file``.
    keys : list of str
        Columns that name a run.
    axis : str
        ``step`` or ``epoch``.
    said : list of str
        Takes what was decided.

    Returns
    -------
    DataFrame
        Sorted by run and step.

    Raises
    ------
    ValueError
        If two sources say different things of one step of one run.
    """
    rows = rows[rows[axis].notna()]
    columns = [
        n for n in map(str, rows) if n not in (*keys, axis, "label", "log", "file")
    ]
    in_order = not (rows.groupby(keys)[axis].diff() < 0).any()
    if in_order and not rows.duplicated([*keys, axis]).any():
        return rows.sort_values([*keys, axis], kind="stable", ignore_index=True)
    rows = rows.assign(_run=rows.groupby(keys, sort=True).ngroup())
    rows["_source"] = rows.groupby(["label", "file"], sort=False).ngroup()
    merged, repeated, restarts = [], 0, 0
    for name in columns:
        part = rows.loc[rows[name].notna(), ["_run", "_source", axis, name]]
        _refuse_two_sources(part, rows, keys, axis, name)
        kept, n_restarts = _without_restarts(part, axis)
        last = kept.drop_duplicates(["_run", axis], keep="last")
        first = kept.drop_duplicates(["_run", axis], keep="first")
        last, first = (t.sort_values(["_run", axis]) for t in (last, first))
        differ = last[name].to_numpy() != first[name].to_numpy()
        if differ.sum() > max(2, _MANY_REPEATED * len(last)):
            row = last.index[int(np.argmax(differ))]
            raise ValueError(
                f"{name} has two values at {int(differ.sum())} of {len(last)} {axis}s, "
                f"first in {rows.loc[row, 'label']!r}: are several runs in one? {_ASK}"
            )
        repeated += int(differ.sum())
        restarts = max(restarts, n_restarts)
        merged.append(last.set_index(["_run", axis])[name])
    table = pd.concat(merged, axis=1).sort_index().reset_index()
    if restarts:
        said.append(
            f"training went back to an earlier step {plural(restarts, 'time')}: what "
            "had been recorded beyond it is left out"
        )
    if repeated:
        said.append(f"of {plural(repeated, 'value')} logged twice at a step, the last")
    names = rows.drop_duplicates("_run").set_index("_run")[[*keys, "label"]]
    return table.join(names, on="_run").drop(columns="_run")


def _refuse_two_sources(
    part: pd.DataFrame, rows: pd.DataFrame, keys: list[str], axis: str, name: str
) -> None:
    if part["_source"].nunique() < 2:
        return
    groups = part.groupby(["_run", axis])
    differ = (groups[name].transform("nunique") > 1) & (
        groups["_source"].transform("nunique") > 1
    )
    if differ.any():
        first = part.index[differ][0]
        same = part[(part["_run"] == part.loc[first, "_run"]) & differ]
        sources = rows.loc[same.index, "label"].unique()
        if len(sources) < 2:
            sources = rows.loc[same.index, "log"].unique()
        run = ", ".join(f"{key}={rows.loc[first, key]}" for key in keys)
        raise ValueError(
            f"{' and '.join(map(repr, sources[:2]))} hold different values of {name} "
            f"at {axis} {part.loc[first, axis]:g} for one run ({run}). Tell them apart "
            'by seed or model, in a column or by pattern="..._s{seed}", or leave one '
            "out."
        )


def _without_restarts(part: pd.DataFrame, axis: str) -> tuple[pd.DataFrame, int]:
    """Leave out what a run recorded beyond the step to which it went back later."""
    source = ["_run", "_source"]
    falls = part.groupby(source)[axis].diff() < 0
    n_falls = int(falls.sum())
    many = falls.groupby([part[name] for name in source]).transform("sum")
    length = falls.groupby([part[name] for name in source]).transform("size")
    # One fall is a restart even in a short log; many are another order of rows.
    restarted = (many > 0) & (many <= np.maximum(1, _MANY_RESTARTS * length))
    if not n_falls or not restarted.any():
        return part, 0
    begins = part.groupby(source)[axis].transform("first")
    anew = falls & restarted & (part[axis] <= begins)
    if anew.any():
        raise ValueError(
            f"the {axis} of a run falls back to its first, {begins[anew].iloc[0]:g}, "
            f"{plural(int(anew.sum()), 'time')}: are several runs in one, or was "
            f"training begun anew? {_ASK} Or leave the abandoned rows out."
        )
    backwards = part[::-1].groupby(source)[axis]
    # The lowest step of all later rows.
    later = backwards.cummin().groupby([part[n] for n in source]).shift(1)
    superseded = restarted & (later.reindex(part.index) < part[axis])
    return part[~superseded], int((falls & restarted).sum())


def align(
    table: pd.DataFrame,
    keys: list[str],
    axis: str,
    metric: str,
    norm: str | None,
    said: list[str],
) -> pd.DataFrame:
    """Return the checkpoints: rows in which the metric, and norms if any, are known.

    Parameters
    ----------
    table : DataFrame
        From :func:`merge_rows`.
    keys, axis, said : list of str, str, list of str
        As in :func:`merge_rows`.
    metric : str
        ``test_error`` or ``test_loss``.
    norm : str or None
        The norm that matters; by default the one known in most rows.

    Returns
    -------
    DataFrame
        Checkpoints, without columns that most of them lack.
    """
    here = table[metric].notna()
    logs = [n for n in map(str, table) if n.startswith("log_") and n != "log_norm_opt"]
    asked = f"log_{norm}"
    if logs:
        main = asked if asked in logs else max(logs, key=lambda n: table[n].count())
        both = here & table[main].notna()
        if both.sum() < 0.5 * min(here.sum(), table[main].notna().sum()):
            table = _interpolated(table, keys, axis, logs)
            both = here & table[main].notna()
            said.append(
                f"norms are recorded at other {axis}s than {metric}, and interpolated "
                f"to its {axis}s"
            )
        table = table[both]
    else:
        table = table[here]
    count = table.groupby(keys)[metric].transform("size")
    if (count < 2).any() and not (count < 2).all():
        n_short = table[count < 2].drop_duplicates(keys).shape[0]
        said.append(f"{plural(n_short, 'run')} with a single checkpoint left out")
        table = table[count >= 2]
    needed = ("test_error", "test_loss", "train_error", "train_loss", *logs)
    for name in needed:
        if name in table and table[name].isna().any() and len(table):
            known = int(table[name].notna().sum())
            if known:
                said.append(
                    f"{name} is left out: it is known at {known} of {len(table)} "
                    "checkpoints"
                )
            table = table.drop(columns=name)
    return table.reset_index(drop=True)


def _interpolated(
    table: pd.DataFrame, keys: list[str], axis: str, logs: list[str]
) -> pd.DataFrame:
    """Fill norms between the steps at which they are known, and not beyond."""
    table = table.copy()
    for _, rows in table.groupby(keys):
        place = rows[axis].to_numpy(dtype=float)
        for name in logs:
            known = rows[name].notna().to_numpy()
            if known.sum() < 2:
                continue
            values = np.interp(
                place,
                place[known],
                rows[name].to_numpy()[known],
                left=np.nan,
                right=np.nan,
            )
            table.loc[rows.index, name] = values
    return table


def with_epochs(
    table: pd.DataFrame,
    keys: list[str],
    kind: str,
    steps_per_epoch: float | None,
    batch_size: float | None,
    said: list[str],
) -> pd.DataFrame:
    """Return the checkpoints with the column ``epoch``, in passes over the data.

    Parameters
    ----------
    table : DataFrame
        From :func:`align`, with ``step`` or ``epoch`` or both.
    keys, said : list of str
        As in :func:`merge_rows`.
    kind : str
        Format of the logs.
    steps_per_epoch, batch_size : float or None
        What the user says; a column ``batch_size`` says as much.

    Returns
    -------
    DataFrame
        With ``epoch``.
    """
    if "step" not in table:
        if kind == "keras":
            said.append("epoch is that of Keras and 1: it logs the end of epoch 0 as 0")
            return table.assign(epoch=table["epoch"] + 1)
        return table
    step = table["step"]
    size: float | pd.Series | None = batch_size
    if size is None and "batch_size" in table and table["batch_size"].notna().all():
        size = table["batch_size"]
    if steps_per_epoch is not None:
        return table.assign(epoch=step / steps_per_epoch)
    if "epoch" in table and table["epoch"].notna().all():
        calibrated = _calibrated(table, keys)
        if calibrated is not None:
            per_epoch, first = calibrated
            if first:
                said.append("step is one more than logged: the first was logged as 0")
            step = step + first
            return table.assign(step=step, epoch=step / per_epoch)
        if (table.groupby(keys)["epoch"].diff().fillna(1.0) > 0).all():
            return table
    if size is not None:
        return table.assign(epoch=step * size / table["train_size"])
    said.append(
        "epoch is the step: give batch_size or steps_per_epoch for passes over the data"
    )
    return table.assign(epoch=step.astype(float))


def _calibrated(table: pd.DataFrame, keys: list[str]) -> tuple[pd.Series, float] | None:
    """Return steps per epoch of each row, and what step 0 stands for, if exact.

    Lightning numbers epochs and steps from 0 and records at the end of an epoch, so
    that the last step of epoch e is n (e + 1) - 1 for n steps per epoch.
    """
    epoch = table["epoch"]
    if (epoch != epoch.round()).any():
        return None
    ends = table.groupby([*keys, "epoch"], sort=True)["step"].max().reset_index()
    runs = ends.groupby(keys, sort=True)
    steps, epochs = runs["step"].diff(), runs["epoch"].diff()
    slope = steps / epochs
    if not (slope.groupby([ends[k] for k in keys]).nunique() == 1).all():
        return None
    ends["per_epoch"] = slope.groupby([ends[k] for k in keys]).transform("first")
    last = ends["step"] - ends["per_epoch"] * (ends["epoch"] + 1)
    if not last.isin([0, -1]).all() or last.nunique() > 1:
        return None
    per_epoch = table.merge(ends[[*keys, "epoch", "per_epoch"]], how="left")[
        "per_epoch"
    ]
    return per_epoch, float(-last.iloc[0])
