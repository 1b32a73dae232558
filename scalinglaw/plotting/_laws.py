"""Views of a fitted law: what each kind of its figure shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._validation import plural
from ._axes import LogAxis
from ._view import TRAIN_SIZE, DrawnLine, View, metric_label, norm_label

if TYPE_CHECKING:
    from ..laws import ScalingLawEstimator

__all__ = ["LAW_VIEWS"]

_PREDICTED = "#D55E00"  # vermilion, which the colour-blind tell from black
_MARKS = {"knee": "knee", "minimum": "opt"}


def _norm_view(law: ScalingLawEstimator) -> View:
    """Return error against norm: one line per run."""
    table = law.trajectories_
    curves = pd.DataFrame(
        {
            "train_size": table["train_size"],
            "curve": table.groupby(["train_size", "seed"]).ngroup(),
            "log_x": table["log_norm"],
            "log_y": table["log_error"],
            "in_window": table["in_window"],
        }
    )
    inside = curves.loc[curves["in_window"], "log_x"].to_numpy()
    return View(
        x_label=norm_label(law.norm),
        y_label=metric_label(law.metric, offset=law.offset_ > 0),
        curves=curves,
        lines=_fitted_line(law, law.norm_law_, inside, "gamma1", r"$\gamma_1$"),
        span=_extent(inside),
        span_label="window of $\\gamma_1$",
        note=_what_is_unresolved(law),
    )


def _optimum_view(law: ScalingLawEstimator) -> View:
    """Return the norm at the landmark against train size."""
    points = _landmark_points(law, "log_norm", ~law.fitted_.landmarks.placed)
    # Of a landmark that training did not reach the last checkpoint is a lower limit.
    runs = law.trajectories_.groupby(["train_size", "seed"])["log_norm"].last()
    ends = points["train_size"].map(runs.groupby("train_size").mean())
    points["log_y"] = points["log_y"].where(~points["censored"], ends)
    points["std_err"] = points["std_err"].where(~points["censored"])
    mark = _MARKS[law.landmark_]
    lines = _fitted_line(
        law, law.optimum_law_, _placed(points), "gamma2", r"$\gamma_2$"
    )
    return View(
        x_label=TRAIN_SIZE,
        y_label=norm_label(law.norm, f" at the {law.landmark_}", mark),
        points=points,
        lines=lines,
        note="" if lines else r"$\gamma_2$ has no number: too few optima were reached",
        color_label="",
    )


def _data_view(law: ScalingLawEstimator) -> View:
    """Return the lowest error against train size, measured and predicted slopes."""
    points = _landmark_points(law, "log_error", law.fitted_.minima.censored)
    lines = _fitted_line(
        law,
        law.data_law_,
        points["log_x"].to_numpy(),
        "gamma_measured",
        r"measured $\gamma$",
    )
    predicted = law.gamma_predicted_.estimate
    if lines and np.isfinite(predicted):
        measured = lines[0]
        # Only the slope is predicted: the line is hung on the middle of the other.
        middle = measured.log_x.mean()
        height = float(np.interp(middle, measured.log_x, measured.log_y))
        log_y = height - predicted * (measured.log_x - middle)
        label = _number(law, "gamma_predicted", r"predicted $\gamma_1\gamma_2$")
        lines += (
            DrawnLine(label, measured.log_x, log_y, style="--", color=_PREDICTED),
        )
    reached = law.fitted_.is_reached
    return View(
        x_label=TRAIN_SIZE,
        y_label=metric_label(
            law.metric,
            offset=law.offset_ > 0,
            of_size="reached" if reached else "lowest",
        ),
        points=points,
        lines=lines,
        limits="upper",
        note=_what_is_unresolved(law),
        color_label="",
    )


def _collapse_view(law: ScalingLawEstimator) -> View:
    """Return both axes over their values at the landmark, a curve per train size."""
    landmarks = law.landmarks_.set_index("train_size")
    averages = _average_over_seeds(law.trajectories_)
    placed = law.fitted_.landmarks.placed
    if placed.sum() > 2:
        known = landmarks.index[placed]
        averages = averages[averages["train_size"].isin(known)]
    size = averages["train_size"]
    curves = averages.assign(
        log_x=averages["log_norm"] - size.map(landmarks["log_norm"]),
        log_y=averages["log_error"] - size.map(landmarks["log_error"]),
    )
    span, note = None, "too few train sizes share a stretch to compare"
    found = law.collapse_
    if found is not None:
        span = (float(found["log_norm_low"]), float(found["log_norm_high"]))
        note = _on_collapse(found)
    mark = _MARKS[law.landmark_]
    words = norm_label(law.norm)
    error = metric_label(law.metric, offset=law.offset_ > 0).split(" (")[0]
    if placed.sum() > 2 and not placed.all():
        note += (
            f"\n{plural(int((~placed).sum()), 'train size')} without a {law.landmark_}"
        )
    return View(
        x_label=rf"{words} $/ \lambda_\mathrm{{{mark}}}$",
        y_label=f"{error} / its lowest",
        curves=curves.dropna(subset=["log_x", "log_y"]),
        span=span,
        span_label="compared",
        note=note,
    )


def _window_view(law: ScalingLawEstimator) -> View:
    """Return gamma1 in every window that one might have chosen, by its middle."""
    grid = law.window_grid_
    length = grid["log_high"] - grid["log_low"]
    width = LogAxis.fitting("width of the window (ratio of its ends)", length)
    estimate = law.gamma1_.estimate
    lines: tuple[DrawnLine, ...] = ()
    if len(grid) and np.isfinite(estimate):
        ends = np.array([grid["log_low"].min(), grid["log_high"].max()])
        band = _interval(law, "gamma1")
        low, high = (None, None) if band is None else (b * np.ones(2) for b in band)
        label = _number(law, "gamma1", r"reported $\gamma_1$")
        style = "-" if law.resolved_ else ":"
        lines = (DrawnLine(label, ends, estimate * np.ones(2), low, high, style),)
    return View(
        x_label=rf"middle of the window, {norm_label(law.norm)} "
        rf"$/ \lambda_\mathrm{{{_MARKS[law.landmark_]}}}$",
        y_label=r"$\gamma_1$ in the window",
        points=pd.DataFrame(
            {
                "train_size": width(length),
                "log_x": 0.5 * (grid["log_low"] + grid["log_high"]),
                "log_y": grid["gamma1"],
                "std_err": np.nan,
                "censored": False,
            }
        ),
        lines=lines,
        log_y=False,
        note=_what_is_unresolved(law)
        if len(grid)
        else "no window holds a straight line",
        color_label=width.label,
    )


LAW_VIEWS: dict[str, Callable[[Any], View]] = {
    "norm": _norm_view,
    "optimum": _optimum_view,
    "collapse": _collapse_view,
    "data": _data_view,
    "window": _window_view,
}


def _what_is_unresolved(law: ScalingLawEstimator) -> str:
    """Return the first reason against gamma1; nothing for a resolved one."""
    if law.resolved_:
        return ""
    return f"unresolved: {law.fitted_.reasons[0]}"


def _interval(law: ScalingLawEstimator, exponent: str) -> tuple[float, float] | None:
    """Return the interval of an exponent; None where it is unresolved or unknown."""
    if not law.resolved_ and exponent in ("gamma1", "gamma_predicted"):
        return None
    found = getattr(law, f"{exponent}_")
    low, high = found.conf_int(1.0 - law.confidence_level_)
    return (low, high) if np.isfinite(low) else None


def _number(law: ScalingLawEstimator, exponent: str, symbol: str) -> str:
    """Return an exponent with its interval, or marked as unresolved."""
    text = f"{symbol} = {getattr(law, f'{exponent}_').estimate:.3g}"
    interval = _interval(law, exponent)
    if interval is not None:
        return f"{text} [{interval[0]:.3g}, {interval[1]:.3g}]"
    if law.resolved_ or exponent not in ("gamma1", "gamma_predicted"):
        return f"{text} (no interval)"
    return f"{text} (unresolved)"


def _fitted_line(
    law: ScalingLawEstimator, fit: Any, log_x: np.ndarray, exponent: str, symbol: str
) -> tuple[DrawnLine, ...]:
    """Return a law's line over the range of `log_x`; none if it has no exponent."""
    estimate = getattr(law, f"{exponent}_").estimate
    if fit is None or not np.isfinite(estimate) or log_x.size == 0:
        return ()
    grid = np.linspace(log_x.min(), log_x.max(), 100)
    low, high, style = None, None, ":"
    if _interval(law, exponent) is not None:
        low, high = fit.conf_band(grid, 1.0 - law.confidence_level_)
        style = "-"
    label = _number(law, exponent, symbol)
    return (DrawnLine(label, grid, fit.predict(grid), low, high, style),)


def _extent(log_x: np.ndarray) -> tuple[float, float] | None:
    return (float(log_x.min()), float(log_x.max())) if log_x.size else None


def _landmark_points(
    law: ScalingLawEstimator, column: str, censored: np.ndarray
) -> pd.DataFrame:
    landmarks = law.landmarks_
    points = pd.DataFrame(
        {
            "train_size": landmarks["train_size"],
            "log_x": np.log(landmarks["train_size"]),
            "log_y": landmarks[column],
            # A single seed shows no error, which is not an error of zero.
            "std_err": landmarks[f"std_err_{column}"].replace(0.0, np.nan),
            "censored": censored,
        }
    )
    return points.dropna(subset="log_y")


def _placed(points: pd.DataFrame) -> np.ndarray:
    return points.loc[~points["censored"], "log_x"].to_numpy()


def _on_collapse(found: pd.Series) -> str:
    """Return how well curves fall onto one, as the title says it."""
    text = f"spread {found['spread']:.2g} of log error"
    if np.isfinite(found["ratio"]):
        text += f", {found['ratio']:.2g} times that of seeds"
    if np.isfinite(found["p_value"]):
        text += f"; equal shapes p = {found['p_value']:.2g}"
    return text


def _average_over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Average logs of norm and error over the seeds of a train size, by epoch.

    Epochs that half of the runs or fewer have recorded are left out. Where that
    leaves too few, since each run has epochs of its own, there is a curve per run.
    """
    keys = ["train_size", "epoch"]
    n_runs = table.groupby("train_size")["seed"].nunique()
    groups = table.assign(in_window=table["in_window"].astype(float)).groupby(keys)
    means = groups[["log_norm", "log_error", "in_window"]].mean().reset_index()
    shared = groups["seed"].size().to_numpy() > 0.5 * means["train_size"].map(n_runs)
    length = table.groupby(["train_size", "seed"]).size().groupby("train_size").median()
    found = means[shared].groupby("train_size").size()
    if (found.reindex(length.index, fill_value=0) < 0.5 * length).any():
        return table.assign(curve=table.groupby(["train_size", "seed"]).ngroup())
    means["in_window"] = means["in_window"] >= 0.5
    return means[shared].assign(curve=means["train_size"])
