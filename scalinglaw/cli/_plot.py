"""``scalinglaw plot``: one figure of the laws, for a paper or a screen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._output import say, spoken_warnings
from ._tables import (
    FIGURES,
    BatchSize,
    Columns,
    Landmark,
    Metric,
    MinTrainSize,
    ModelName,
    Norm,
    Offset,
    Pattern,
    Tables,
    Window,
    make_law,
    read_table,
    save_figure,
)

__all__ = ["plot"]

_SUFFIXES = (".svg", ".pdf", ".png")


def plot(
    tables: Tables,
    kind: Annotated[
        str,
        typer.Option(help=", ".join(FIGURES) + ".", autocompletion=lambda: FIGURES),
    ] = "norm",
    output: Annotated[
        Path | None, typer.Option(help="An .svg, .pdf or .png file; <kind>.svg.")
    ] = None,
    norm: Norm = None,
    metric: Metric = "test_error",
    window: Window = None,
    landmark: Landmark = "auto",
    min_train_size: MinTrainSize = None,
    offset: Offset = False,
    model: ModelName = None,
    pattern: Pattern = None,
    columns: Columns = None,
    batch_size: BatchSize = None,
) -> None:
    """Fit the laws to TABLES and draw one figure.

    Examples
    --------
        scalinglaw plot trajectories.parquet --kind collapse --output collapse.pdf
    """
    from .._validation import check_option

    check_option(kind, "--kind", FIGURES)
    output = Path(f"{kind}.svg") if output is None else output
    if output.suffix not in _SUFFIXES:
        raise ValueError(
            f"--output must end in {', '.join(_SUFFIXES)}, got {str(output)!r}."
        )
    with spoken_warnings():
        trajectories = read_table(
            tables,
            pattern=pattern,
            columns=columns,
            batch_size=batch_size,
            model=model,
        )
        law = make_law(
            trajectories,
            norm=norm,
            window=window,
            metric=metric,
            landmark=landmark,
            min_train_size=min_train_size,
            offset=offset,
        ).fit(trajectories)
        save_figure(law, kind, output)
    say(f"wrote {output}")
