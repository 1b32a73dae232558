"""``scalinglaw theory``: the exact perceptron, as numbers."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandas as pd
import typer

from .output import print_json, print_table

__all__ = ["theory"]


def theory(
    alpha: Annotated[
        list[float], typer.Argument(help="Loads P/N: samples per input dimension.")
    ],
    norm: Annotated[
        list[float], typer.Option(help="Also the error at this norm; may be repeated.")
    ] = [],  # noqa: B006 (typer reads the default, nothing writes to it)
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object.")
    ] = False,
) -> None:
    """Print the exact errors of the logistic perceptron.

    Examples
    --------
        scalinglaw theory 1 10 100

        scalinglaw theory 20 --norm 0.1 --norm 1 --norm 10
    """
    from .. import theory as exact

    loads = np.array(alpha)
    table = pd.DataFrame(
        {
            "hebb": exact.hebb_error(loads),
            "optimal_norm": exact.optimal_norm(loads),
            "optimal": exact.optimal_error(loads),
            "bayes": exact.bayes_error(loads),
            "max_stability": exact.max_stability_error(loads),
        }
        | {
            f"norm {value:g}": exact.generalization_error(loads, value)
            for value in norm
        },
        index=pd.Index(loads, name="alpha"),
    )
    if json:
        print_json(table.reset_index())
    else:
        print_table(table, "Generalisation error of the logistic perceptron", "alpha")
