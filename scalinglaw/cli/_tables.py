"""Options that commands on tables share, and what they read and fit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd
import typer

if TYPE_CHECKING:
    from ..laws import ScalingLawEstimator

__all__ = [
    "FIGURES",
    "BatchSize",
    "Columns",
    "Json",
    "Landmark",
    "Metric",
    "MinTrainSize",
    "ModelName",
    "Norm",
    "Offset",
    "Pattern",
    "Tables",
    "Window",
    "make_law",
    "read_table",
    "save_figure",
]

FIGURES = ("norm", "optimum", "collapse", "data", "window")
_LANDMARKS = ("auto", "knee", "minimum")

Tables = Annotated[
    list[Path],
    typer.Argument(help="Tables or logs of any program, caches, or the paper's .npy."),
]
Pattern = Annotated[
    str | None,
    typer.Option(help="What file names say, such as 'P{train_size}_s{seed}.csv'."),
]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", help="THEIRS=OURS, where names mean nothing; repeatable."),
]
BatchSize = Annotated[
    float | None,
    typer.Option(help="Samples of a step, where logs have steps and no epochs."),
]
Norm = Annotated[
    str | None,
    typer.Option(help="Norm: the column log_<norm>; spectral_complexity, or the only."),
]
Metric = Annotated[str, typer.Option(help="Column of the error.")]
Window = Annotated[
    str | None,
    typer.Option(help="LOW,HIGH in units of norm / norm at the landmark."),
]
Landmark = Annotated[
    str,
    typer.Option(help="auto, knee or minimum.", autocompletion=lambda: _LANDMARKS),
]
MinTrainSize = Annotated[int | None, typer.Option(help="Smallest train size used.")]
Offset = Annotated[bool, typer.Option(help="Fit an error that no norm removes.")]
ModelName = Annotated[
    str | None,
    typer.Option("--model", help="Which model, if the table holds several."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def read_table(
    paths: list[Path],
    *,
    pattern: str | None = None,
    columns: list[str] | None = None,
    batch_size: float | None = None,
    model: str | None = None,
) -> pd.DataFrame:
    """Read tables, logs, caches of sweeps, or data files of the paper as one table."""
    from ..trajectories import concat_trajectories

    names = {}
    for entry in columns or ():
        theirs, equals, ours = entry.partition("=")
        if not equals:
            raise typer.BadParameter(f"--column must be THEIRS=OURS, got {entry!r}.")
        names[theirs] = ours
    special = [table for table in map(_known_format, paths) if table is not None]
    if special and len(special) < len(paths):
        raise ValueError(
            "cache folders and .npy files cannot be read together with logs: give them "
            "on their own."
        )
    if special:
        table = special[0] if len(special) == 1 else concat_trajectories(special)
    else:
        from ..logs import read_runs

        table = read_runs(
            paths, pattern=pattern, columns=names or None, batch_size=batch_size
        )
    if model is None:
        return table
    if "model" not in table or model not in set(table["model"]):
        raise ValueError(f"--model {model} is not in {', '.join(map(str, paths))}.")
    return table[table["model"] == model]


def make_law(
    table: pd.DataFrame, *, norm: str | None, window: str | None = None, **params: Any
) -> Any:
    """Return the estimator that the options describe, for a table that it will fit."""
    from ..study._description import make_law
    from ..trajectories import norm_columns

    if norm is None:
        known = [column.removeprefix("log_") for column in norm_columns(table)]
        norm = known[0] if len(known) == 1 else "spectral_complexity"
    if window is not None:
        params["window"] = _bounds(window)
    if params.get("method") == "published":
        for option, default in (("landmark", "auto"), ("offset", False)):
            if params.pop(option) != default:
                raise typer.BadParameter(
                    f"--{option} does not go with --method published: the paper takes "
                    "minima, and nothing off the errors."
                )
    return make_law({"norm": norm, **params})


def save_figure(law: ScalingLawEstimator, kind: str, path: Path) -> None:
    """Write one figure of a law, whole or not at all; the suffix says its format."""
    from .._files import atomic_write
    from ..study._report import draw

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        part.write_bytes(draw(law, kind, path.suffix.removeprefix(".")))


def _known_format(path: Path) -> pd.DataFrame | None:
    """Return the table of a sweep's cache or of the paper's files; None of others."""
    if not set("*?[") & set(str(path)):
        path.stat()  # raises where there is none; read_runs takes patterns, too
    if path.is_dir():
        from ..sweep import read_cache, read_records

        return read_cache(path) if len(read_records(path)) else None
    if path.suffix == ".npy":
        from ..datasets import read_published

        return read_published(path)
    return None


def _bounds(text: str) -> tuple[float | None, float | None]:
    """Return the bounds of ``LOW,HIGH``; an empty side is open."""
    try:
        low, high = (float(p) if p.strip() else None for p in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"--window must be LOW,HIGH such as 0.01,0.3, got {text!r}."
        ) from None
    return low, high
