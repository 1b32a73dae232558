"""The one routine that draws a view, and knows nothing of laws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm

from ._axes import LogAxis, label_decades, limit, tick_train_sizes
from ._view import TRAIN_SIZE, DrawnLine, View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

__all__ = ["Drawn", "Style", "draw"]

# Without its yellow end, which is not to be seen on paper.
_COLORS = ListedColormap(colormaps["viridis"](np.linspace(0, 0.8, 256)))
# Okabe and Ito's, which the colour-blind tell apart, without yellow.
_MODELS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")


Keywords = Mapping[str, Any]


@dataclass(frozen=True)
class Style:
    """Keywords of a user for parts of a figure, which win over ours."""

    curve: Keywords = field(default_factory=dict)
    line: Keywords = field(default_factory=dict)
    band: Keywords = field(default_factory=dict)
    errors: Keywords = field(default_factory=dict)


@dataclass(frozen=True)
class Drawn:
    """What was drawn: curves of runs, and fitted lines."""

    curves: list[Line2D]
    lines: list[Line2D]


@dataclass(frozen=True)
class _Canvas:
    """Axes, how logarithms go onto them, and the colours of the train sizes."""

    ax: Axes
    x: LogAxis
    y: LogAxis
    sizes: np.ndarray
    style: Style

    @property
    def colors(self) -> ScalarMappable:
        norm = LogNorm(self.sizes[0] / 1.01, self.sizes[-1] * 1.01)
        return ScalarMappable(norm, _COLORS)

    def plot(self, rows: pd.DataFrame, ours: dict[str, Any]) -> list[Line2D]:
        """Draw one line."""
        return self.ax.plot(self.x(rows["log_x"]), self.y(rows["log_y"]), **ours)


def draw(view: View, ax: Axes, style: Style) -> Drawn:
    """Draw a view into axes and return the artists."""
    tables = [t for t in (view.curves, view.points) if t is not None and len(t)]
    seen_x = [t["log_x"].to_numpy() for t in tables]
    seen_y = [t["log_y"].to_numpy() for t in tables]
    if view.points is not None:
        error = view.points["std_err"].fillna(0.0).to_numpy()
        seen_y += [view.points["log_y"].to_numpy() + sign * error for sign in (-1, 1)]
    line_x = [line.log_x for line in view.lines]
    line_y = [line.log_y for line in view.lines]
    sizes = [t["train_size"].to_numpy() for t in tables]
    canvas = _Canvas(
        ax,
        LogAxis.fitting(view.x_label, *seen_x, *line_x),
        LogAxis.fitting(view.y_label, *seen_y, is_log=view.log_y),
        np.unique(np.concatenate(sizes)) if sizes else np.ones(1),
        style,
    )
    _set_up(view, canvas, seen_x, seen_y)
    curves: list[Line2D] = []
    if view.curves is not None and len(view.curves):
        by_model = "model" in view.curves
        curves = (_by_model if by_model else _by_size)(view.curves, canvas)
    if view.points is not None and len(view.points):
        _draw_points(view, view.points, canvas)
    if tables and view.color_label:
        _draw_colorbar(view, canvas)
    lines = [artist for line in view.lines for artist in _draw_line(line, canvas)]
    # What was measured sets the limits; a wide band is cut off at them.
    limits = limit(canvas.x, seen_x), limit(canvas.y, [*seen_y, *line_y])
    if limits[0] is not None and limits[1] is not None:
        ax.set(xlim=limits[0], ylim=limits[1])
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize="small")
    return Drawn(curves, lines)


def _set_up(
    view: View, canvas: _Canvas, seen_x: list[np.ndarray], seen_y: list[np.ndarray]
) -> None:
    ax = canvas.ax
    ax.set(xscale=canvas.x.scale, yscale=canvas.y.scale)
    ax.set(xlabel=canvas.x.label, ylabel=canvas.y.label)
    for axis, unit, logs in (
        (ax.xaxis, canvas.x, seen_x),
        (ax.yaxis, canvas.y, seen_y),
    ):
        if unit.scale == "log" and logs:
            label_decades(axis, np.concatenate(logs))
    if view.x_label == TRAIN_SIZE and seen_x:
        tick_train_sizes(ax.xaxis, canvas.sizes, room=0.13)
    if view.note:
        ax.set_title(view.note, fontsize="small", wrap=True)
    if view.span is not None:
        low, high = canvas.x(view.span)
        ax.axvspan(low, high, color="0.93", zorder=0, label=view.span_label)


def _by_size(curves: pd.DataFrame, canvas: _Canvas) -> list[Line2D]:
    """Draw a curve per run in the colour of its train size, the window in bold."""
    many = curves["curve"].nunique() > 2 * curves["train_size"].nunique()
    colors, drawn = canvas.colors, []
    for _, curve in curves.groupby("curve"):
        color = colors.to_rgba(curve["train_size"].iloc[0])
        ours = {"color": color, "linewidth": 0.7, "alpha": 0.5 if many else 0.9}
        drawn += canvas.plot(curve, ours | dict(canvas.style.curve))
        if curve["in_window"].any():
            bold = curve.assign(log_y=curve["log_y"].where(curve["in_window"]))
            ours |= {"linewidth": 1.8, "alpha": 0.7 if many else 1.0}
            canvas.plot(bold, ours)
    return drawn


def _by_model(curves: pd.DataFrame, canvas: _Canvas) -> list[Line2D]:
    """Draw a curve per run in the colour of its model, darker for more data."""
    drawn = []
    for number, (model, of_model) in enumerate(curves.groupby("model", sort=False)):
        runs = [curve for _, curve in of_model.groupby("curve")]
        for curve in runs:
            size = curve["train_size"].iloc[0]
            rank = (np.searchsorted(canvas.sizes, size) + 1) / len(canvas.sizes)
            ours = {
                "color": _MODELS[number % len(_MODELS)],
                "linewidth": 0.8,
                "alpha": 0.3 + 0.6 * rank,
                "label": str(model) if curve is runs[-1] else None,
            }
            drawn += canvas.plot(curve, ours | dict(canvas.style.curve))
    return drawn


def _draw_points(view: View, points: pd.DataFrame, canvas: _Canvas) -> None:
    """Draw points with the errors that seeds show; limits as hollow triangles."""
    x, y = canvas.x(points["log_x"]), canvas.y(points["log_y"])
    error = points["std_err"]
    if error.notna().any():
        low, high = (canvas.y(points["log_y"] + sign * error) for sign in (-1, 1))
        ours: dict[str, Any] = {
            "fmt": "none",
            "ecolor": "0.35",
            "elinewidth": 1.0,
            "capsize": 2.5,
            "label": "standard error of the seeds",
        }
        ours |= dict(canvas.style.errors)
        canvas.ax.errorbar(x, y, yerr=np.stack([y - low, high - y]), **ours)
    color = canvas.colors.to_rgba(points["train_size"].to_numpy())
    size = 26 if len(points) < 100 else 12
    open_ = points["censored"].to_numpy(dtype=bool)
    canvas.ax.scatter(x[~open_], y[~open_], s=size, color=color[~open_], zorder=3)
    if open_.any():
        canvas.ax.scatter(
            x[open_],
            y[open_],
            s=size,
            marker="^" if view.limits == "lower" else "v",
            facecolors="white",
            edgecolors=color[open_],
            zorder=3,
            label=f"{view.limits} limit: training stopped too soon",
        )


def _draw_colorbar(view: View, canvas: _Canvas) -> None:
    bar = canvas.ax.figure.colorbar(canvas.colors, ax=canvas.ax, label=view.color_label)
    if view.color_label == TRAIN_SIZE:
        tick_train_sizes(bar.ax.yaxis, canvas.sizes, room=0.05)
    else:
        label_decades(bar.ax.yaxis, np.log(canvas.sizes))


def _draw_line(line: DrawnLine, canvas: _Canvas) -> list[Line2D]:
    """Draw a fitted line, and its band where it has one."""
    x = canvas.x(line.log_x)
    ours: dict[str, Any] = {
        "linestyle": line.style,
        "color": line.color,
        "label": line.label,
    }
    ours |= dict(canvas.style.line)
    if line.log_low is not None and line.log_high is not None:
        band: dict[str, Any] = {"color": line.color, "alpha": 0.2, "linewidth": 0}
        band |= dict(canvas.style.band)
        low, high = canvas.y(line.log_low), canvas.y(line.log_high)
        canvas.ax.fill_between(x, low, high, **band)
    return canvas.ax.plot(x, canvas.y(line.log_y), **ours)
