"""Which run a row belongs to: train size, seed and model, by columns or names."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from .._kinds import with_kinds
from .._validation import plural

__all__ = ["compile_pattern", "name_runs"]

_FIELD = re.compile(r"\{(\w+)\}")
_WORD = r"\d+|[^/\\_]+?(?=[_./\\]|$)"
_FIELDS = {"train_size": r"\d+(?:\.\d+)?[kKmM]?", "seed": _WORD, "model": _WORD}
_UNITS = {"k": 1e3, "m": 1e6}


def compile_pattern(pattern: Any) -> re.Pattern[str] | None:
    """Return a pattern of names as a regular expression.

    Parameters
    ----------
    pattern : str, re.Pattern or None
        ``"P{train_size}_s{seed}"``, or a regular expression with such groups.

    Returns
    -------
    re.Pattern or None
        With a group for each field.

    Raises
    ------
    TypeError, ValueError
        If it is none of these, or has neither a train size nor a seed.
    """
    if pattern is None or isinstance(pattern, re.Pattern):
        compiled = pattern
    elif isinstance(pattern, str):
        pieces = _FIELD.split(pattern)
        for i, piece in enumerate(pieces):
            text = _FIELDS.get(piece, r"[^/\\]*?")
            pieces[i] = f"(?P<{piece}>{text})" if i % 2 else re.escape(piece)
        try:
            compiled = re.compile("".join(pieces))
        except re.error as error:
            raise ValueError(
                f"pattern must name each field once, got {pattern!r}: {error}."
            ) from error
    else:
        raise TypeError(f"pattern must be text, got {pattern!r}.")
    if compiled is not None and not {"train_size", "seed"} & set(compiled.groupindex):
        raise ValueError(
            "pattern must have the field {train_size} or {seed}, as in "
            f"'P{{train_size}}_s{{seed}}', got {pattern!r}."
        )
    return compiled


def name_runs(
    rows: pd.DataFrame, pattern: re.Pattern[str] | None, said: list[str]
) -> pd.DataFrame:
    """Return rows with the columns that name a run.

    Parameters
    ----------
    rows : DataFrame
        Rows of all logs, with ``log`` (the path) and, as far as known, ``run``,
        ``train_size``, ``seed`` and ``model``.
    pattern : re.Pattern or None
        Searched for in the names of runs, in those of files, and in whole paths.
    said : list of str
        Takes what was guessed.

    Returns
    -------
    DataFrame
        With ``label``, which names a source within the logs, and the columns of a run.

    Raises
    ------
    ValueError
        If a name does not match the pattern, or the train size is known for no run
        or only for some.
    """
    run = rows["run"] if "run" in rows else pd.Series(pd.NA, index=rows.index)
    rows = rows.assign(label=run.astype(object).where(run.notna(), rows["log"]))
    # A setting may be written in one row of its run only.
    for name in ("train_size", "seed", "model"):
        if name in rows:
            known = rows.groupby("label", sort=False)[name]
            rows[name] = rows[name].where(rows[name].notna(), known.transform("first"))
    if pattern is not None:
        rows = _from_pattern(rows, pattern)
    if "train_size" not in rows or rows["train_size"].isna().any():
        without = rows if "train_size" not in rows else rows[rows["train_size"].isna()]
        shown = ", ".join(map(repr, without["label"].unique()[:3]))
        raise ValueError(
            f"train_size is not known for {shown}: name the column that holds it, as "
            'in columns={"their name": "train_size"}, or give the pattern of the names '
            'of files or runs, as in pattern="P{train_size}_s{seed}".'
        )
    if "seed" not in rows or rows["seed"].isna().all():
        rows = _numbered(rows, said)
    elif rows["seed"].isna().any():
        shown = ", ".join(map(repr, rows["label"][rows["seed"].isna()].unique()[:3]))
        raise ValueError(f"seed is known for some runs, but not for {shown}.")
    keys = [name for name in ("model", "train_size", "seed") if name in rows]
    kinds = with_kinds({name: rows[name] for name in keys}, None, said)
    return rows.assign(**kinds)


def _from_pattern(rows: pd.DataFrame, pattern: re.Pattern[str]) -> pd.DataFrame:
    fields = [f for f in pattern.groupindex if f in ("train_size", "seed", "model")]
    pairs = rows[["label", "log"]].drop_duplicates()
    values: dict[tuple[str, str], dict[str, Any]] = {}
    for label, log in pairs.itertuples(index=False, name=None):
        # A whole path has folders that may match by chance: it comes last.
        texts = [str(label), re.split(r"[/\\]", str(log))[-1], str(log)]
        if label == log:
            texts = texts[1:]
        match = next((m for m in map(pattern.search, texts) if m), None)
        if match is None:
            raise ValueError(
                f"pattern {pattern.pattern!r} is nowhere in the name {label!r}."
            )
        found = {f: match[f] for f in fields}
        if "train_size" in found:
            found["train_size"] = _size(found["train_size"])
        values[label, log] = found
    keys = list(zip(rows["label"], rows["log"], strict=True))
    for field in fields:
        column = pd.Series([values[key][field] for key in keys], index=rows.index)
        if field == "seed":
            column = _numbers_if_all(column)
        rows = rows.assign(**{field: column})
    return rows


def _size(text: str) -> int:
    unit = _UNITS.get(text[-1].lower(), 1)
    return round(float(text.rstrip("kKmM")) * unit)


def _numbers_if_all(column: pd.Series) -> pd.Series:
    if all(re.fullmatch(r"\d{1,18}", str(value)) for value in column.unique()):
        return column.astype(np.int64)
    return column


def _numbered(rows: pd.DataFrame, said: list[str]) -> pd.DataFrame:
    """Return rows whose sources are numbered within each train size and model."""
    keys = [name for name in ("model", "train_size") if name in rows]
    sources = rows[[*keys, "label"]].drop_duplicates()
    sources["seed"] = sources.groupby(keys, sort=False).cumcount()
    said.append(
        f"seed numbers the {plural(len(sources), 'run')} within each train size, in "
        f"the order in which they come ({sources['label'].iloc[0]!r} is "
        f"{sources['seed'].iloc[0]})"
    )
    rows = rows.drop(columns=[name for name in ("seed",) if name in rows])
    return rows.merge(sources, on=[*keys, "label"], how="left", sort=False)
