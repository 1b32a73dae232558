"""``scalinglaw theory``: the exact perceptron, as numbers."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandas as pd
import typer

from ._output import print_json, print_table
from ._tables import Json

__all__ = ["theory"]


def theory(
    alpha: Annotated[
        list[float],
        typer.Argument(help="Loads P/N: samples per input dimension, 0.1 to 1e6."),
    ],
    norm: Annotated[
        list[float],
        typer.Option(help="Also the error at this norm, 1e-3 to 1e6; repeatable."),
    ] = [],  # noqa: B006 (typer reads the default, nothing writes to it)
    json: Json = False,
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
        # Loads side by side: a row of all quantities would not fit a terminal.
        shown = table.T.set_axis([f"{load:g}" for load in loads], axis=1)
        print_table(shown, "Generalisation error of the logistic perceptron", "alpha")
