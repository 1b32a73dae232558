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
    "Json",
    "Landmark",
    "Metric",
    "MinTrainSize",
    "ModelName",
    "Norm",
    "Offset",
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
    typer.Argument(help="Parquet or CSV tables, cache folders, or the paper's .npy."),
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


def read_table(paths: list[Path], model: str | None = None) -> pd.DataFrame:
    """Read tables, cache folders, or data files of the paper."""
    from ..trajectories import concat_trajectories

    parts = [_read(path) for path in paths]
    table = parts[0] if len(parts) == 1 else concat_trajectories(parts)
    if model is None:
        return table
    if "model" not in table or model not in set(table["model"]):
        raise ValueError(f"--model {model} is not in {', '.join(map(str, paths))}.")
    return table[table["model"] == model]


def make_law(
    table: pd.DataFrame,
    *,
    norm: str | None,
    window: str | None = None,
    **parameters: Any,
) -> ScalingLawEstimator:
    """Return the estimator that the options describe, not fitted."""
    from ..laws import ScalingLawEstimator
    from ..trajectories import norm_columns

    if norm is None:
        known = [column.removeprefix("log_") for column in norm_columns(table)]
        norm = known[0] if len(known) == 1 else "spectral_complexity"
    if window is not None:
        parameters["window"] = _bounds(window)
    return ScalingLawEstimator(norm, **parameters)


def save_figure(law: ScalingLawEstimator, kind: str, path: Path) -> None:
    """Write one figure of a law, whole or not at all; the suffix says its format."""
    from .._files import atomic_write
    from ..study._report import draw

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        part.write_bytes(draw(law, kind, path.suffix.removeprefix(".")))


def _read(path: Path) -> pd.DataFrame:
    path.stat()  # raises where there is none, and libraries in words of their own
    try:
        if path.is_dir():
            from ..sweep import read_cache

            return read_cache(path)
        if path.suffix == ".npy":
            from ..datasets import read_published

            return read_published(path)
        from ..trajectories import read_trajectories

        return read_trajectories(path)
    except (ValueError, TypeError, OSError):
        raise
    except Exception as error:
        # Damage shows as any error of the library that reads the format.
        raise ValueError(
            f"{path} is damaged, or holds something else than its name says: "
            f"{type(error).__name__}: {error}"
        ) from error


def _bounds(text: str) -> tuple[float | None, float | None]:
    """Return the bounds of ``LOW,HIGH``; an empty side is open."""
    try:
        low, high = (float(p) if p.strip() else None for p in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"--window must be LOW,HIGH such as 0.01,0.3, got {text!r}."
        ) from None
    return low, high
