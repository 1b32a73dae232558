"""Files of other programs as tables in their own words.

What a format means beyond its columns is turned into columns here: the batches of a
skorch history into steps, the two folders of Keras in TensorBoard into prefixes, the
runs of a Weights & Biases chart into rows.
"""

from __future__ import annotations

import csv
import glob
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .._files import damaged_file_named
from .._table_files import check_inflation, parse_csv, parse_parquet

__all__ = ["Log", "load"]

_CSV = (".csv", ".tsv", ".txt", ".log")
_JSON_LINES = (".jsonl", ".ndjson")
_ENDINGS = (*_CSV, ".json", *_JSON_LINES, ".parquet")
# What a folder is searched for: names that programs give, not that people choose.
_IN_FOLDERS = ("metrics.csv", "trainer_state.json", "history.json")
_EVENTS = "events.out.tfevents"
_SPLITS = {"train": "train", "validation": "val", "val": "val", "test": "test"}
_SAMPLES = "samples in the batches of an epoch"
_CHECKPOINT = re.compile(r"checkpoint-\d+")


@dataclass
class Log:
    """One file, or one folder of event files, as a table.

    Parameters
    ----------
    frame : DataFrame
        Rows in the order of the file, columns under the names that they have there.
    name : str
        What the run is called where the file holds one: the path.
    kind : str
        ``keras``, ``skorch``, ``trainer``, ``wandb``, ``tensorboard`` or ``table``.
    """

    frame: pd.DataFrame
    name: str
    kind: str = "table"


def load(source: Any) -> list[Log]:
    """Return every log that a path, a pattern of paths, a folder or a table stands for.

    Parameters
    ----------
    source : path-like, DataFrame, or list of those
        As :func:`read_runs` takes it.

    Returns
    -------
    list of Log
        In the order given; files of a folder or pattern in that of their names.

    Raises
    ------
    TypeError
        If an entry is none of these.
    FileNotFoundError
        If a path, pattern or folder leads to no log.
    ValueError
        If a file is damaged, or of no known format.
    """
    if isinstance(source, pd.DataFrame):
        return [Log(source.reset_index(drop=True), "the table")]
    if isinstance(source, (list, tuple)):
        logs = [log for entry in source for log in load(entry)]
        for position, log in enumerate(logs):
            if log.name == "the table":
                log.name = f"table {position}"
        return logs
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            "paths_or_tables must be paths, DataFrames or a list of those, got "
            f"{type(source).__name__}."
        )
    path = Path(source)
    if path.is_dir():
        logs = list(_load_folder(path))
        if not logs:
            raise FileNotFoundError(
                f"{path} holds none of {', '.join(_IN_FOLDERS)} and no event files of "
                "TensorBoard. Give the files themselves, or a pattern such as *.csv."
            )
        return logs
    if not path.exists() and any(sign in str(source) for sign in "*?["):
        paths = sorted(glob.glob(str(source), recursive=True))
        if not paths:
            raise FileNotFoundError(f"no file has a name like {source}.")
        return [log for name in paths for log in load(name)]
    return [_load_file(path)]


def _load_folder(folder: Path) -> Iterator[Log]:
    newest: dict[Path, tuple[int, Path]] = {}
    events: dict[Path, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(_EVENTS):
            parent = path.parent
            run = parent.parent if parent.name in _SPLITS else parent
            if parent not in events.setdefault(run, []):
                events[run].append(parent)
        elif path.name == "trainer_state.json" and _CHECKPOINT.fullmatch(
            path.parent.name
        ):
            # Each checkpoint holds the history from the start: the last one is enough.
            step = int(path.parent.name.removeprefix("checkpoint-"))
            run = path.parent.parent
            newest[run] = max(newest.get(run, (-1, path)), (step, path))
        elif path.name in _IN_FOLDERS:
            yield _load_file(path)
    for _, path in newest.values():
        yield _load_file(path)
    for run, parts in events.items():
        yield _load_events(run, parts)


def _load_file(path: Path) -> Log:
    if path.name.startswith(_EVENTS):
        return _load_events(path.parent, [path])
    suffix = path.suffix.lower()
    if suffix not in _ENDINGS:
        raise ValueError(
            f"paths_or_tables must end in {', '.join(_ENDINGS)}, be event files of "
            f"TensorBoard or a folder of logs, got {path.name!r}."
        )
    data = path.read_bytes()
    with damaged_file_named(path, f"{suffix} log"):
        if suffix == ".parquet":
            log = Log(parse_parquet(data), str(path))
        elif suffix in _CSV:
            log = _from_csv(data, str(path))
        elif suffix in _JSON_LINES:
            lines = data.decode("utf-8-sig").splitlines()
            rows = [json.loads(line) for line in lines if line.strip()]
            log = Log(_from_rows(rows, len(data)), str(path))
        else:
            log = _from_json(json.loads(data), len(data), path)
        if not len(log.frame):
            raise ValueError("it has no rows.")
    return log


def _from_csv(data: bytes, name: str) -> Log:
    header = data[:1_000_000].decode("utf-8-sig", errors="replace").splitlines()
    first = header[0] if header else ""
    delimiter = max(
        ",\t;", key=lambda sign: len(next(csv.reader([first], delimiter=sign), []))
    )
    frame = parse_csv(data, delimiter, index_allowed=True)
    wide = _from_wandb(frame)
    if wide is not None:
        return Log(wide, name, "wandb")
    names = set(frame.columns)
    # CSVLogger writes one row at the end of each epoch, and numbers them from 0.
    keras = {"epoch", "loss"} <= names and not any("step" in n.lower() for n in names)
    if keras and frame["epoch"].tolist()[:1] == [0]:
        return Log(frame, name, "keras")
    return Log(frame, name)


def _from_wandb(frame: pd.DataFrame) -> pd.DataFrame | None:
    """Return the chart of Weights & Biases with one row a run and step, or None."""
    bounds = [n for n in frame.columns if n.endswith(("__MIN", "__MAX"))]
    if not bounds:
        return None
    axis, *metrics = [name for name in frame.columns if name not in bounds]
    runs: dict[str, dict[str, pd.Series]] = {}
    averaged = 0
    for name in metrics:
        # The metric of a run is called "<run> - <metric>"; of a single run, "<metric>".
        run, _, metric = name.rpartition(" - ")
        runs.setdefault(run, {})[metric] = frame[name]
        if {f"{name}__MIN", f"{name}__MAX"} <= set(bounds):
            spread = frame[f"{name}__MAX"] - frame[f"{name}__MIN"]
            averaged += int((spread.abs() > 1e-9 * frame[name].abs()).sum())
    parts = []
    for run, columns in runs.items():
        part = pd.DataFrame(columns).dropna(how="all")
        part.insert(0, axis, frame[axis])
        if run:
            part.insert(0, "run", run)
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    if averaged:
        table.attrs["remark"] = (
            f"{averaged} values of a Weights & Biases chart are averages (of a group "
            "of runs, or of neighbouring steps)"
        )
    return table


def _from_rows(rows: list[Any], n_bytes: int) -> pd.DataFrame:
    """Return records of JSON as a table, with nested names joined by slashes."""
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("its rows must be objects of names and values.")
    flat = [dict(_flatten(row)) for row in rows]
    names = {name for row in flat for name in row}
    check_inflation(8 * len(flat) * len(names), n_bytes)
    return pd.DataFrame(flat)


def _flatten(row: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}/")
        elif not isinstance(value, list):
            yield f"{prefix}{name}", value


def _from_json(content: Any, n_bytes: int, path: Path) -> Log:
    if isinstance(content, dict) and isinstance(content.get("log_history"), list):
        # The last row sums up: its train_loss is a mean over the whole training.
        rows = [r for r in content["log_history"] if "train_runtime" not in r]
        run = path.parent
        run = run.parent if _CHECKPOINT.fullmatch(run.name) else run
        return Log(_from_rows(rows, n_bytes), str(run), "trainer")
    if isinstance(content, list) and content and "batches" in content[0]:
        return Log(_from_skorch(content, n_bytes), str(path), "skorch")
    if isinstance(content, list):
        return Log(_from_rows(content, n_bytes), str(path))
    if isinstance(content, dict) and all(isinstance(v, list) for v in content.values()):
        # The `history` of Keras: a list a metric, and no column of epochs.
        frame = pd.DataFrame(content)
        if "epoch" not in frame:
            frame.insert(0, "epoch", np.arange(len(frame)))
        return Log(frame, str(path), "keras")
    raise ValueError(
        "it is none of a trainer_state of Hugging Face, a history of skorch or Keras, "
        "or a list of rows."
    )


def _from_skorch(epochs: list[dict[str, Any]], n_bytes: int) -> pd.DataFrame:
    """Return a history with the steps and samples that its batches tell of."""
    rows, step = [], 0
    for epoch in epochs:
        sizes = [b["train_batch_size"] for b in epoch["batches"] if "train_loss" in b]
        step += len(sizes)
        row = {name: v for name, v in epoch.items() if not name.endswith("_best")}
        rows.append({**row, "step": step, _SAMPLES: sum(sizes)})
    frame = _from_rows(rows, n_bytes)
    frame[_SAMPLES] = frame[_SAMPLES].max()  # an epoch may have been cut short
    return frame if frame[_SAMPLES].all() else frame.drop(columns=[_SAMPLES, "step"])


def _load_events(run: Path, parts: list[Path]) -> Log:
    try:
        from tensorboard.backend.event_processing.event_accumulator import (
            EventAccumulator,
        )
        from tensorboard.util.tensor_util import make_ndarray
    except ImportError as error:
        raise ImportError(
            "event files are read by TensorBoard's own library: pip install "
            "'scalinglaw[tensorboard]'."
        ) from error
    columns: dict[str, pd.Series] = {}
    for part in parts:
        with damaged_file_named(part, "event file"):
            events = EventAccumulator(
                str(part), size_guidance={"scalars": 0, "tensors": 0}
            )
            events.Reload()
            points = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
            values = {
                tag: {point.step: point.value for point in series}
                for tag, series in points.items()
            }
            for tag in events.Tags()["tensors"]:
                points = events.Tensors(tag)
                arrays = {p.step: make_ndarray(p.tensor_proto) for p in points}
                if all(a.ndim == 0 and a.dtype.kind in "fiu" for a in arrays.values()):
                    values[tag] = {step: float(a) for step, a in arrays.items()}
        folder = part if part.is_dir() else part.parent
        split = f"{_SPLITS[folder.name]}_" if folder.name in _SPLITS else ""
        for tag, found in values.items():
            columns[split + tag] = pd.Series(found, dtype=float)
    if not columns:
        raise ValueError(
            f"{run} is not a readable log: its event files hold no scalars."
        )
    # Keras numbers epochs from 0 where others have steps.
    keras = all(re.fullmatch(r"\w+_epoch_\w+|.*learning_rate", tag) for tag in columns)
    axis = "epoch" if keras else "step"
    columns.pop(axis, None)  # a scalar of that name, beside the steps of the file
    frame = pd.DataFrame(columns).sort_index().rename_axis(axis).reset_index()
    return Log(frame, str(run), "keras" if keras else "tensorboard")
