"""``scalinglaw fit``: exponents from a table of trajectories."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .output import (
    law_to_dict,
    print_json,
    print_table,
    read_any,
    save_figures,
    say,
    show_law,
    spoken_warnings,
)

__all__ = ["fit"]


def fit(
    table: Annotated[
        Path,
        typer.Argument(
            help="Parquet or CSV table, cache folder, or .npy of the paper."
        ),
    ],
    norm: Annotated[
        str, typer.Option(help="Norm: the column log_<norm>.")
    ] = "spectral_complexity",
    metric: Annotated[str, typer.Option(help="Column of the error.")] = "test_error",
    method: Annotated[str, typer.Option(help="pooled or published.")] = "pooled",
    window: Annotated[
        str | None,
        typer.Option(help="LOW,HIGH in units of norm / norm at the optimum."),
    ] = None,
    landmark: Annotated[str, typer.Option(help="auto, knee or minimum.")] = "auto",
    min_train_size: Annotated[
        int | None, typer.Option(help="Smallest train size used.")
    ] = None,
    offset: Annotated[
        bool, typer.Option(help="Fit an error that no norm removes.")
    ] = False,
    confidence_level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    model: Annotated[
        str | None, typer.Option(help="Which model, if the table holds several.")
    ] = None,
    backtest: Annotated[
        bool, typer.Option(help="Also forecast the largest third of the train sizes.")
    ] = False,
    figures: Annotated[
        Path | None, typer.Option(help="Folder to write the figures into.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object.")
    ] = False,
) -> None:
    """Fit the laws to TABLE and print the exponents.

    Examples
    --------
        scalinglaw fit trajectories.parquet

        scalinglaw fit trajectories.csv --norm frobenius --window 0.01,0.3 --json
    """
    from ..laws import ScalingLawEstimator
    from ..laws import backtest as run_backtest

    law = ScalingLawEstimator(
        norm,
        metric=metric,
        method=method,
        window="auto" if window is None else _parse_window(window),
        landmark=landmark,
        min_train_size=min_train_size,
        offset=offset,
        confidence_level=confidence_level,
    )
    trajectories = read_any(table)
    if model is not None:
        if "model" not in trajectories or model not in set(trajectories["model"]):
            raise ValueError(f"--model {model} is not in {table}.")
        trajectories = trajectories[trajectories["model"] == model]
    with spoken_warnings():
        law.fit(trajectories)
    forecasts = run_backtest(law, trajectories) if backtest else None
    if figures is not None:
        for path in save_figures(law, figures):
            say(f"wrote {path}")
    if json:
        extra = {} if forecasts is None else {"backtest": forecasts}
        print_json(law_to_dict(law) | extra)
        return
    show_law(law, table.name)
    if forecasts is not None:
        squares = forecasts["log_error"].pow(2).groupby(forecasts["method"]).mean()
        print_table(
            squares.pow(0.5).sort_values().to_frame("rms log error"),
            "Forecast of the largest train sizes from the others",
            "method",
        )


def _parse_window(text: str) -> tuple[float | None, float | None]:
    """Return the bounds of ``LOW,HIGH``; an empty side is open."""
    parts = text.split(",")
    try:
        low, high = (float(part) if part.strip() else None for part in parts)
    except ValueError:
        raise typer.BadParameter(
            f"--window must be LOW,HIGH such as 0.01,0.3, got {text!r}."
        ) from None
    return low, high
