"""``scalinglaw fit``: exponents from tables of trajectories."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._output import (
    in_options,
    law_to_dict,
    print_json,
    print_summary,
    print_table,
    say,
    spoken_warnings,
)
from ._tables import (
    FIGURES,
    BatchSize,
    Columns,
    Json,
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

__all__ = ["fit"]


def fit(
    tables: Tables,
    norm: Norm = None,
    metric: Metric = "test_error",
    method: Annotated[str, typer.Option(help="pooled or published.")] = "pooled",
    window: Window = None,
    landmark: Landmark = "auto",
    min_train_size: MinTrainSize = None,
    offset: Offset = False,
    confidence_level: Annotated[
        float, typer.Option(help="Level of the intervals.")
    ] = 0.95,
    model: ModelName = None,
    pattern: Pattern = None,
    columns: Columns = None,
    batch_size: BatchSize = None,
    backtest: Annotated[
        bool, typer.Option(help="Also forecast the largest third of the train sizes.")
    ] = False,
    figures: Annotated[
        Path | None, typer.Option(help="Folder to write the figures into.")
    ] = None,
    json: Json = False,
) -> None:
    """Fit the laws to TABLES and print the exponents.

    Examples
    --------
        scalinglaw fit trajectories.parquet

        scalinglaw fit trajectories.csv --norm frobenius --window 0.01,0.3 --json
    """
    from ..laws import backtest as run_backtest

    with spoken_warnings() as shown:
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
            method=method,
            landmark=landmark,
            min_train_size=min_train_size,
            offset=offset,
            confidence_level=confidence_level,
        ).fit(trajectories)
        if not json:
            shown += law.remarks_
        forecasts = run_backtest(law, trajectories) if backtest else None
    if figures is not None:
        for kind in FIGURES:
            save_figure(law, kind, figures / f"{kind}.png")
        say(f"wrote {len(FIGURES)} figures into {figures}")
    if json:
        extra = {} if forecasts is None else {"backtest": forecasts}
        print_json(law_to_dict(law) | extra)
        return
    title = ", ".join(path.name for path in tables)
    print_summary(title, law.summary(), in_options)
    if forecasts is not None:
        squares = forecasts["log_error"].pow(2).groupby(forecasts["method"]).mean()
        print_table(
            squares.pow(0.5).sort_values().to_frame("rms log error"),
            "Forecast of the largest train sizes from the others",
            "method",
        )
