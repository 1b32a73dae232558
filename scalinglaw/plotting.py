"""Figures of fitted laws.

Each kind of figure is first a :class:`View`, plain data computed from the law
by a pure function, and is then drawn by one routine that knows nothing of laws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.colors import LogNorm
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator
from sklearn.utils.validation import check_is_fitted

from ._validation import check_option

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .laws import ScalingLawEstimator

__all__ = ["DrawnLine", "ScalingLawDisplay", "View"]

# Above it, exp() of a natural logarithm leaves the range of a float64, and
# matplotlib's logarithmic axis with it.
_LARGEST_LOG = 650.0


@dataclass(frozen=True)
class DrawnLine:
    """A line of a figure, with its interval where it has one.

    Parameters
    ----------
    label : str
        What the legend says.
    log_x, log_y : array of shape (n,)
        Natural logarithms of its points.
    log_low, log_high : array of shape (n,) or None
        Bounds of its band.
    style, color : str
        As matplotlib has them.
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
        Columns ``train_size``, ``curve`` (which line a row belongs to),
        ``log_x``, ``log_y`` and ``in_window``.
    points : DataFrame or None
        Columns ``train_size``, ``log_x``, ``log_y`` and ``censored``.
    lines : tuple of DrawnLine
        Fitted lines and their bands.
    span : tuple of float or None
        Bounds of a shaded stretch of x, natural logarithms; an infinite one is the
        end of the axis.
    log_y : bool
        False where y is no logarithm (the exponents of the kind ``"window"``).
    note : str
        A sentence above the axes.
    color_label : str
        What the colours of curves and points stand for (``train_size``, if they
        have such a column of another meaning).
    """

    x_label: str
    y_label: str
    curves: pd.DataFrame | None = None
    points: pd.DataFrame | None = None
    lines: tuple[DrawnLine, ...] = field(default=())
    span: tuple[float, float] | None = None
    log_y: bool = True
    note: str = ""
    color_label: str = "train size"


class ScalingLawDisplay:
    """Figure of a fitted :class:`~scalinglaw.ScalingLawEstimator`.

    Make one with :meth:`from_estimator`.

    Parameters
    ----------
    view : View
        What is shown, computed from a law.
    kind : {"norm", "optimum", "collapse", "data", "window"}
        The figure's kind.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn on.
    figure_ : matplotlib Figure
        The figure that they belong to.

    Examples
    --------
    >>> from scalinglaw import ScalingLawDisplay, ScalingLawEstimator
    >>> from scalinglaw.datasets import make_trajectories
    >>> law = ScalingLawEstimator().fit(make_trajectories(random_state=0))
    >>> display = ScalingLawDisplay.from_estimator(law, kind="optimum")
    >>> display.ax_.get_xlabel()
    'train size'
    """

    def __init__(self, view: View, kind: str = "norm"):
        self.view = view
        self.kind = kind

    @classmethod
    def from_estimator(
        cls,
        law: ScalingLawEstimator,
        kind: str = "norm",
        *,
        ax: Axes | None = None,
    ) -> ScalingLawDisplay:
        r"""Draw one figure of a fitted law.

        Parameters
        ----------
        law : ScalingLawEstimator
            A fitted one.
        kind : {"norm", "optimum", "collapse", "data", "window"}, default="norm"
            What to draw:

            - ``"norm"``: error against norm, one line per run, the fit window
              in bold and the early law :math:`k_1 \lambda^{-\gamma_1}`;
            - ``"optimum"``: norm at the optimum against train size;
            - ``"collapse"``: both axes divided by their value at the optimum,
              each train size averaged over its seeds;
            - ``"data"``: error at the optimum against train size, with the
              measured law and the slope that the other two predict;
            - ``"window"``: :math:`\gamma_1` in every window that one might
              have chosen, and in the one that was.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        ScalingLawDisplay
            With ``ax_`` and ``figure_``.

        Raises
        ------
        ValueError
            If `kind` is unknown.
        NotFittedError
            If `law` is not fitted.
        """
        check_option(kind, "kind", tuple(_VIEWS))
        check_is_fitted(law)
        return cls(_VIEWS[kind](law), kind).plot(ax)

    def plot(self, ax: Axes | None = None) -> ScalingLawDisplay:
        """Draw the view.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        ScalingLawDisplay
            Itself.
        """
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        _draw(self.view, ax)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self


def _words(column: str) -> str:
    return column.replace("_", " ")


def _alpha(law: ScalingLawEstimator) -> float:
    return 1.0 - law.confidence_level_


def _error_words(law: ScalingLawEstimator) -> str:
    less = " less the offset" if law.offset_ else ""
    return _words(law.metric) + less


def _fitted_line(
    law: ScalingLawEstimator,
    fit: Any,
    log_x: np.ndarray,
    exponent: str,
    symbol: str,
) -> tuple[DrawnLine, ...]:
    """Return a law's line over the range of `log_x`; none if it has no exponent."""
    found = getattr(law, f"{exponent}_")
    if fit is None or not np.isfinite(found.estimate) or log_x.size == 0:
        return ()
    grid = np.linspace(log_x.min(), log_x.max(), 100)
    low, high = fit.conf_band(grid, _alpha(law))
    ci_low, ci_high = found.conf_int(_alpha(law))
    label = f"{symbol} = {found.estimate:.3f} [{ci_low:.3f}, {ci_high:.3f}]"
    return (DrawnLine(label, grid, fit.predict(grid), low, high),)


def _curves(law: ScalingLawEstimator) -> pd.DataFrame:
    table = law.trajectories_
    return pd.DataFrame(
        {
            "train_size": table["train_size"],
            "curve": table.groupby(["train_size", "seed"]).ngroup(),
            "log_x": table["log_norm"],
            "log_y": table["log_error"],
            "in_window": table["in_window"],
        }
    )


def _norm_view(law: ScalingLawEstimator) -> View:
    """Error against norm: one line per run."""
    curves = _curves(law)
    inside = curves.loc[curves["in_window"], "log_x"].to_numpy()
    return View(
        x_label=_words(law.norm),
        y_label=_error_words(law),
        curves=curves,
        lines=_fitted_line(law, law.norm_law_, inside, "gamma1", r"$\gamma_1$"),
        note="" if law.resolved_ else "effective maximum slope: knee not resolved",
    )


def _landmark_points(law: ScalingLawEstimator, column: str) -> pd.DataFrame:
    landmarks = law.landmarks_
    return pd.DataFrame(
        {
            "train_size": landmarks["train_size"],
            "log_x": np.log(landmarks["train_size"]),
            "log_y": landmarks[column],
            "censored": landmarks["censored"],
        }
    )


def _optimum_view(law: ScalingLawEstimator) -> View:
    """Norm at the optimum against train size."""
    points = _landmark_points(law, "log_norm")
    log_x = points["log_x"].to_numpy()
    return View(
        x_label="train size",
        y_label=f"{_words(law.norm)} at the {law.landmark_}",
        points=points,
        lines=_fitted_line(law, law.optimum_law_, log_x, "gamma2", r"$\gamma_2$"),
    )


def _data_view(law: ScalingLawEstimator) -> View:
    """Error at the optimum against train size, measured and predicted slopes."""
    points = _landmark_points(law, "log_error")
    log_x = points["log_x"].to_numpy()
    lines = _fitted_line(
        law, law.data_law_, log_x, "gamma_measured", r"measured $\gamma$"
    )
    predicted = law.gamma_predicted_.estimate
    if lines and np.isfinite(predicted):
        measured = lines[0]
        # Only the slope is predicted: the line is hung on the middle of the other.
        middle = measured.log_x.mean()
        height = float(np.interp(middle, measured.log_x, measured.log_y))
        log_y = height - predicted * (measured.log_x - middle)
        label = rf"predicted $\gamma_1\gamma_2$ = {predicted:.3f}"
        lines += (DrawnLine(label, measured.log_x, log_y, style="--", color="tab:red"),)
    return View(
        x_label="train size",
        y_label=f"{_error_words(law)} at the {law.landmark_}",
        points=points,
        lines=lines,
    )


def _collapse_view(law: ScalingLawEstimator) -> View:
    """Both axes divided by their value at the optimum, one curve per train size."""
    landmarks = law.landmarks_.set_index("train_size")
    averages = _average_over_seeds(law.trajectories_)
    size = averages["train_size"]
    curves = pd.DataFrame(
        {
            "train_size": size,
            "curve": size,
            "log_x": averages["log_norm"] - size.map(landmarks["log_norm"]),
            "log_y": averages["log_error"] - size.map(landmarks["log_error"]),
            "in_window": averages["in_window"],
        }
    ).dropna()
    return View(
        x_label=f"{_words(law.norm)} / its value at the landmark",
        y_label=f"{_error_words(law)} / its value at the landmark",
        curves=curves,
        span=_window_span(law),
    )


def _window_span(law: ScalingLawEstimator) -> tuple[float, float] | None:
    """Return ``window_`` in natural logarithms, which do not overflow."""
    about = law.landmarks_["log_norm"]
    low = (law.windows_["log_norm_low"] - about).min()
    high = (law.windows_["log_norm_high"] - about).max()
    return None if np.isnan(low) or np.isnan(high) else (float(low), float(high))


def _average_over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Average logs of norm and error over the seeds of a train size, by checkpoint.

    Runs of one train size are recorded at the same checkpoints; where they are
    not, checkpoints are matched by their rank.
    """
    rank = table.groupby(["train_size", "seed"]).cumcount()
    columns = ["log_norm", "log_error", "in_window"]
    means = table[columns].astype(float).groupby([table["train_size"], rank]).mean()
    means["in_window"] = means["in_window"] >= 0.5
    return means.reset_index(level=0)


def _window_view(law: ScalingLawEstimator) -> View:
    """gamma1 in every window that one might have chosen, by the window's middle."""
    grid = law.window_grid_
    middle = 0.5 * (grid["log_low"] + grid["log_high"])
    width = _Axis.fitting(
        "width of the window (ratio of its ends)", grid["log_high"] - grid["log_low"]
    )
    estimate = law.gamma1_.estimate
    low, high = law.gamma1_.conf_int(_alpha(law))
    lines: tuple[DrawnLine, ...] = ()
    if len(grid) and np.isfinite(estimate):
        ends = np.array([grid["log_low"].min(), grid["log_high"].max()])
        flat = np.ones(2)
        label = rf"reported $\gamma_1$ = {estimate:.3g}"
        lines = (DrawnLine(label, ends, estimate * flat, low * flat, high * flat),)
    return View(
        x_label=f"middle of the window, {_words(law.norm)} / landmark",
        y_label=r"$\gamma_1$ in the window",
        points=pd.DataFrame(
            {
                "train_size": width(grid["log_high"] - grid["log_low"]),
                "log_x": middle,
                "log_y": grid["gamma1"],
                "censored": False,
            }
        ),
        lines=lines,
        log_y=False,
        note="" if len(grid) else "no window holds a straight line",
        color_label=width.label,
    )


_VIEWS: dict[str, Callable[[Any], View]] = {
    "norm": _norm_view,
    "optimum": _optimum_view,
    "collapse": _collapse_view,
    "data": _data_view,
    "window": _window_view,
}


@dataclass(frozen=True)
class _Axis:
    """How natural logarithms go onto one axis."""

    scale: str
    label: str
    factor: float

    @classmethod
    def fitting(cls, label: str, *logs: Any, is_log: bool = True) -> _Axis:
        """Take a logarithmic axis, or one of exponents where a float overflows."""
        if not is_log:
            return cls("linear", label, 1.0)
        largest = max(
            (np.abs(values).max() for values in logs if len(values)), default=0
        )
        if largest < _LARGEST_LOG:
            return cls("log", label, 0.0)
        return cls("linear", rf"$\log_{{10}}$ of {label}", 1.0 / np.log(10.0))

    def __call__(self, logs: Any) -> np.ndarray:
        values = np.asarray(logs, dtype=float)
        return np.exp(values) if self.scale == "log" else self.factor * values


def _draw(view: View, ax: Axes) -> None:
    tables = [
        table
        for table in (view.curves, view.points)
        if table is not None and len(table)
    ]
    x_axis = _Axis.fitting(
        view.x_label,
        *(table["log_x"] for table in tables),
        *(line.log_x for line in view.lines),
    )
    y_axis = _Axis.fitting(
        view.y_label, *(table["log_y"] for table in tables), is_log=view.log_y
    )
    ax.set(xscale=x_axis.scale, yscale=y_axis.scale)
    ax.set(xlabel=x_axis.label, ylabel=y_axis.label)
    for axis, unit, column in (
        (ax.xaxis, x_axis, "log_x"),
        (ax.yaxis, y_axis, "log_y"),
    ):
        logs = [table[column] for table in tables]
        if unit.scale == "log" and logs:
            _label_ticks(axis, np.concatenate(logs))
    if view.note:
        ax.set_title(view.note, fontsize="small")
    if tables:
        sizes = np.concatenate([table["train_size"].to_numpy() for table in tables])
        colors = plt.cm.ScalarMappable(
            LogNorm(sizes.min() / 1.01, sizes.max() * 1.01), plt.get_cmap("viridis")
        )
        if view.curves is not None and len(view.curves):
            _draw_curves(view.curves, ax, x_axis, y_axis, colors)
        if view.points is not None and len(view.points):
            _draw_points(view.points, ax, x_axis, y_axis, colors)
        if view.x_label == "train size":
            # The axis says what the colours would say again.
            ax.xaxis.set_minor_locator(NullLocator())
            ticks = _some(np.unique(sizes), 8)
            ax.set_xticks(ticks, labels=[f"{size:,}" for size in ticks])
        else:
            _draw_colorbar(ax, colors, np.unique(sizes), view.color_label)
    for line in view.lines:
        x = x_axis(line.log_x)
        ax.plot(x, y_axis(line.log_y), line.style, color=line.color, label=line.label)
        if line.log_low is not None and line.log_high is not None:
            low, high = y_axis(line.log_low), y_axis(line.log_high)
            ax.fill_between(x, low, high, color=line.color, alpha=0.2, linewidth=0)
    if view.span is not None:
        _draw_span(x_axis(view.span), np.isinf(view.span), ax)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize="small")


def _draw_span(bounds: np.ndarray, is_open: np.ndarray, ax: Axes) -> None:
    """Shade a stretch of x; where it is open, to the end that the axis has."""
    ends = np.array(ax.get_xlim())
    low, high = np.where(is_open, ends, bounds)
    ax.axvspan(low, high, color="0.92", zorder=0, label="fit window")
    if is_open[0]:
        ax.set_xlim(left=ends[0])
    if is_open[1]:
        ax.set_xlim(right=ends[1])


def _label_ticks(axis: Any, logs: np.ndarray) -> None:
    """Put numbers on 1, 2, 5 of each decade where powers of ten are too few."""
    if np.ptp(logs) < 2 * np.log(10.0):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


def _draw_curves(
    curves: pd.DataFrame, ax: Axes, x_axis: _Axis, y_axis: _Axis, colors: Any
) -> None:
    many = curves["curve"].nunique() > 2 * curves["train_size"].nunique()
    for _, curve in curves.groupby("curve"):
        color = colors.to_rgba(curve["train_size"].iloc[0])
        x, y = x_axis(curve["log_x"]), y_axis(curve["log_y"])
        ax.plot(x, y, color=color, linewidth=0.6, alpha=0.5 if many else 0.9)
        bold = np.where(curve["in_window"], y, np.nan)
        ax.plot(x, bold, color=color, linewidth=1.8, alpha=0.7 if many else 1.0)


def _draw_points(
    points: pd.DataFrame, ax: Axes, x_axis: _Axis, y_axis: _Axis, colors: Any
) -> None:
    x, y = x_axis(points["log_x"]), y_axis(points["log_y"])
    color = colors.to_rgba(points["train_size"].to_numpy())
    censored = points["censored"].to_numpy(dtype=bool)
    ax.scatter(x[~censored], y[~censored], s=22, color=color[~censored])
    if censored.any():
        ax.scatter(
            x[censored],
            y[censored],
            s=22,
            facecolors="none",
            edgecolors=color[censored],
            label="training stopped before it",
        )


def _draw_colorbar(ax: Axes, colors: Any, sizes: np.ndarray, label: str) -> None:
    bar = ax.figure.colorbar(colors, ax=ax, label=label)
    if label != "train size":
        _label_ticks(bar.ax.yaxis, np.log(sizes))
        return
    # Every size is marked while there is room for its number.
    ticks = _some(sizes, 10)
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.set_ticks(ticks.tolist(), labels=[f"{size:,}" for size in ticks])


def _some(sizes: np.ndarray, most: int) -> np.ndarray:
    """Return at most `most` of the sizes, evenly chosen."""
    return sizes[:: max(1, int(np.ceil(len(sizes) / most)))]
