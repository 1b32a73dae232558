"""What a figure shows, as plain data, before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

__all__ = ["TRAIN_SIZE", "DrawnLine", "View", "metric_label", "norm_label"]

TRAIN_SIZE = "train size $P$"
# Symbol and unit of what is often on an axis; other columns keep their name alone.
_METRICS = {
    "test_error": (r"\epsilon", ""),
    "train_error": (r"\epsilon^\mathrm{train}", ""),
    "test_loss": ("L", "nats"),
    "train_loss": (r"L^\mathrm{train}", "nats"),
}


@dataclass(frozen=True)
class DrawnLine:
    """A line on log axes, with its interval where it has one.

    Parameters
    ----------
    label : str
        Entry of the legend.
    log_x, log_y : array of shape (n,)
        Points of the line, natural logarithms.
    log_low, log_high : array of shape (n,), optional
        Its band.
    style : str, default="-"
        Line style of matplotlib.
    color : str, default="black"
        Color of matplotlib.
    """

    label: str
    log_x: np.ndarray
    log_y: np.ndarray
    log_low: np.ndarray | None = None
    log_high: np.ndarray | None = None
    style: str = "-"
    color: str = "black"


@dataclass(frozen=True)
class View:
    """What one figure shows, in natural logarithms, before anything is drawn.

    Parameters
    ----------
    x_label, y_label : str
        Axis labels.
    curves : DataFrame or None
        Columns ``train_size``, ``curve`` (the line that a row belongs to), ``log_x``,
        ``log_y``, ``in_window`` and, if colours stand for models, ``model``.
    points : DataFrame or None
        Columns ``train_size``, ``log_x``, ``log_y``, ``std_err`` (of ``log_y``; NaN
        where it is not known) and ``censored``: whether training tells but a limit.
    lines : tuple of DrawnLine
        Fitted lines and their bands.
    limits : {"lower", "upper"}
        What censored points are; drawn as hollow triangles.
    span : tuple of float or None
        Bounds of a shaded stretch of x.
    span_label : str
        What the shading means.
    log_y : bool
        False where y is no logarithm (the exponents of the kind ``"window"``).
    note : str
        Sentence above the axes.
    color_label : str
        What the colours of curves and points stand for; empty for no colour bar.
    """

    x_label: str
    y_label: str
    curves: pd.DataFrame | None = None
    points: pd.DataFrame | None = None
    lines: tuple[DrawnLine, ...] = ()
    limits: str = "lower"
    span: tuple[float, float] | None = None
    span_label: str = ""
    log_y: bool = True
    note: str = ""
    color_label: str = TRAIN_SIZE


def norm_label(norm: str, where: str = "", mark: str = "") -> str:
    r"""Return the label of an axis of norms, such as "frobenius :math:`\lambda`"."""
    symbol = rf"$\lambda_\mathrm{{{mark}}}$" if mark else r"$\lambda$"
    return f"{norm.replace('_', ' ')}{where} {symbol}"


def metric_label(metric: str, *, offset: bool = False, of_size: str = "") -> str:
    r"""Return the label of an axis of errors or losses.

    Parameters
    ----------
    metric : str
        Column of the error.
    offset : bool, default=False
        Whether an offset is taken off.
    of_size : {"", "lowest", "reached"}
        Which error of a train size it is, if there is one for each.

    Returns
    -------
    str
        Name, symbol and unit.
    """
    symbol, unit = _METRICS.get(metric, ("", ""))
    words = metric.replace("_", " ")
    if of_size == "lowest":
        words = f"lowest {words}"
    elif of_size:
        words = f"{words} {of_size}"
    if offset:
        words += " less the offset"
    if symbol and of_size:
        mark = {"lowest": "opt", "reached": "end"}[of_size]
        symbol = rf"{symbol}_\mathrm{{{mark}}}"
    if symbol:
        words += f" ${symbol} - q$" if offset else f" ${symbol}$"
    return f"{words} ({unit})" if unit else words
