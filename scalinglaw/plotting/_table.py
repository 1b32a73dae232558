"""View of a trajectory table, before any law is fitted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .._rows import check_rows, run_columns
from .._validation import check_option
from ..trajectories import as_trajectories
from ._view import TRAIN_SIZE, View, metric_label, norm_label

__all__ = ["table_view"]


def table_view(source: Any, x: str, norm: str, metric: str) -> View:
    """Return error against norm, epoch or step, one line per run.

    Parameters
    ----------
    source : DataFrame, fitted estimator, or list of those
        Trajectories.
    x : {"norm", "epoch", "step"}
        What is on the x axis.
    norm : str
        Name of the norm, for ``x="norm"``.
    metric : str
        Column of the error.

    Returns
    -------
    View
        Coloured by model where there are several, else by train size.
    """
    check_option(x, "x", ("norm", "epoch", "step"))
    table = check_rows(
        as_trajectories(source), norm=norm if x == "norm" else None, metric=metric
    )
    if x == "norm":
        log_x, label = table[f"log_{norm}"].to_numpy(float), norm_label(norm)
    elif x in table:
        with np.errstate(divide="ignore"):
            log_x, label = np.log(table[x].to_numpy(float)), x
    else:
        raise ValueError(
            f"x={x!r} needs a column {x!r} in the table, which has "
            f'{", ".join(map(str, table.columns))}. Use x="epoch".'
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        log_y = np.log(table[metric].to_numpy(float))
    curves = pd.DataFrame(
        {
            "train_size": table["train_size"],
            "curve": table.groupby(run_columns(table)).ngroup(),
            "log_x": log_x,
            "log_y": log_y,
            "in_window": False,
        }
    )
    by_model = "model" in table and table["model"].nunique() > 1
    if by_model:
        curves["model"] = table["model"].astype(str)
    # Checkpoint zero, a norm and an error of zero have no place on a log axis.
    shown = np.isfinite(log_x) & np.isfinite(log_y)
    return View(
        x_label=label,
        y_label=metric_label(metric),
        curves=curves[shown],
        color_label="" if by_model else TRAIN_SIZE,
    )
