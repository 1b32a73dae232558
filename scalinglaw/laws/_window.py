r"""Where the norm law holds: windows found from the data, and their influence.

The local slope of :math:`y = \log\epsilon` against :math:`x = \log\lambda` rises from
the plateau, stays near :math:`-\gamma_1` while the law holds, and falls towards the
optimum. The window is where it stays near its largest value.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ._curves import Curves, demean, local_linear, padded, thin

__all__ = [
    "MeanCurves",
    "Window",
    "automatic_window",
    "average_over_seeds",
    "rows_inside",
    "window_around",
    "window_sensitivity",
]

_N_GRID = 160
_TOLERANCES = (0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
_MIN_POINTS = 4
# Bandwidth in units of 1/gamma1, the distance over which the error falls e-fold.
_BANDWIDTH = 0.12
# The bandwidth grows while the seeds' standard error of the slope is a larger share
# of it, up to that share of the whole curve.
_DISAGREEMENT = 0.1
_WIDEST = 0.15
_N_EDGES = 40


@dataclass(frozen=True)
class Window:
    """A stretch of the log norm for each train size.

    Parameters
    ----------
    low, high : array of shape (n_sizes,)
        Bounds, natural logarithms; NaN where a train size has none.
    how : str
        How it was found, in words.
    """

    low: np.ndarray
    high: np.ndarray
    how: str

    @classmethod
    def missing(cls, n_sizes: int) -> Window:
        """Return the window of a fit that found none."""
        nowhere = np.full(n_sizes, np.nan)
        return cls(nowhere, nowhere, how="none found")

    @property
    def used(self) -> np.ndarray:
        """Which train sizes have a window."""
        return np.isfinite(self.low) | np.isfinite(self.high) | (self.low < self.high)

    def range_about(self, log_norm: np.ndarray) -> tuple[float, float]:
        """Return the smallest and largest bound, in units of norms, one per size."""
        low, high = self.low - log_norm, self.high - log_norm
        if np.isnan([low, high]).all():
            return np.nan, np.nan
        with np.errstate(over="ignore"):
            return float(np.exp(np.nanmin(low))), float(np.exp(np.nanmax(high)))


@dataclass(frozen=True)
class MeanCurves:
    r"""One curve per train size, averaged over its seeds, and its slope.

    Parameters
    ----------
    x, y, slope : array of shape (n_sizes, n_grid)
        Log norm, log error, and the local slope dy/dx; NaN where fewer than
        half the seeds are present.
    decay : float
        Median over train sizes of the steepest descent: a first :math:`\gamma_1`.
    bandwidth : float
        Width of the smoothing, in the unit of the log norm.
    offset : float, default=0
        What was taken off the errors before their logarithms.
    """

    x: np.ndarray
    y: np.ndarray
    slope: np.ndarray
    decay: float
    bandwidth: float
    offset: float = 0.0


def average_over_seeds(curves: Curves) -> MeanCurves:
    """Average curves over the seeds of each train size and take local slopes.

    Parameters
    ----------
    curves : Curves
        All runs.

    Returns
    -------
    MeanCurves
        Smoothed with a bandwidth that follows the slope found, iterated three
        times; and then as much wider as it takes for the runs of one train size to
        agree on the steepest slope. The largest of many noisy slopes is mostly noise,
        and would draw the bandwidth after it.

    Raises
    ------
    ValueError
        If the error falls nowhere.
    """
    x = np.empty((curves.n_sizes, _N_GRID))
    y = np.empty_like(x)
    bounds = curves.bounds()
    spacing = []
    for size in range(curves.n_sizes):
        runs = [slice(bounds[r], bounds[r + 1]) for r in curves.runs_of(size)]
        x[size], y[size] = _mean_curve([(curves.x[r], curves.y[r]) for r in runs])
        spacing += [np.ptp(curves.x[r]) / max(r.stop - r.start - 1, 1) for r in runs]
    width = float(np.median(np.ptp(x, axis=1)))
    points = padded(thin(curves, _N_GRID))
    bandwidth = 0.1 * width
    slope, decay = _slopes(x, y, bandwidth)
    for _ in range(3):
        bandwidth = max(_BANDWIDTH / decay, 2 * float(np.median(spacing)))
        slope, decay = _slopes(x, y, bandwidth)
    while (
        bandwidth < _WIDEST * width
        and _disagreement(curves, points, x, slope, bandwidth) > _DISAGREEMENT * decay
    ):
        bandwidth *= 1.3
        slope, decay = _slopes(x, y, bandwidth)
    return MeanCurves(x, y, slope, decay, bandwidth, curves.offset)


def automatic_window(curves: Curves, means: MeanCurves) -> Window | None:
    """Find the stretch of each train size where the local slope is near its largest.

    Parameters
    ----------
    curves : Curves
        All runs.
    means : MeanCurves
        Their averages.

    Returns
    -------
    Window or None
        None if even the widest tolerance leaves too few train sizes four
        checkpoints a run.
    """
    needed = max(3, int(np.ceil(curves.n_sizes / 2)))
    if curves.n_sizes < 3:
        needed = curves.n_sizes
    for tolerance in _TOLERANCES:
        low, high = np.full((2, curves.n_sizes), np.nan)
        for size in range(curves.n_sizes):
            low[size], high[size] = _near_steepest(
                means.x[size], means.slope[size], tolerance
            )
        inside = (curves.x >= low[curves.size]) & (curves.x <= high[curves.size])
        count = np.bincount(curves.size, inside, curves.n_sizes)
        n_runs = np.bincount(curves.size_of_run, minlength=curves.n_sizes)
        kept = count >= _MIN_POINTS * n_runs
        if kept.sum() >= needed:
            low[~kept] = high[~kept] = np.nan
            how = f"automatic: local slope within {tolerance:.0%} of its largest"
            return Window(low, high, how)
    return None


def window_around(
    landmark: np.ndarray, low: float | None, high: float | None
) -> Window:
    """Return the window between two multiples of the norm at the landmark.

    Parameters
    ----------
    landmark : array of shape (n_sizes,)
        Log norm at the landmark of each train size.
    low, high : float or None
        In units of lambda / lambda_opt; None leaves a side open.

    Returns
    -------
    Window
        For every train size.
    """
    below = np.log(low) if low else -np.inf
    above = np.log(high) if high is not None and np.isfinite(high) else np.inf
    return Window(
        landmark + below,
        landmark + above,
        "given: norm / norm at the landmark from "
        f"{low or 0:g} to {np.inf if high is None else high:g}",
    )


def rows_inside(curves: Curves, window: Window) -> np.ndarray:
    """Return which checkpoints the window holds, of runs with two or more there.

    Parameters
    ----------
    curves : Curves
        All runs.
    window : Window
        One stretch per train size.

    Returns
    -------
    array of bool of shape (n,)
        A run with a single point in the window says nothing of a slope.
    """
    size = curves.size
    with np.errstate(invalid="ignore"):
        inside = (curves.x >= window.low[size]) & (curves.x <= window.high[size])
    count = np.bincount(curves.run, inside, curves.n_runs)
    return inside & (count[curves.run] >= 2)


def window_sensitivity(
    curves: Curves, landmark: np.ndarray, *, min_r_squared: float = 0.9
) -> pd.DataFrame:
    """Return gamma1 in every window that one might reasonably have chosen.

    Parameters
    ----------
    curves : Curves
        All runs.
    landmark : array of shape (n_sizes,)
        Log norm at the landmark of each train size.
    min_r_squared : float, default=0.9
        Windows with a worse straight line are left out.

    Returns
    -------
    DataFrame
        One row per window: ``log_low``, ``log_high`` (of the norm over that at
        the landmark), ``gamma1``, ``r_squared`` (median over runs). Windows have four
        checkpoints a run or more, and in them the error falls by 15 % or more.
    """
    u = curves.x - landmark[curves.size]
    known = np.isfinite(u)
    u, y, run = u[known], curves.y[known], curves.run[known]
    edges = np.quantile(u, np.linspace(0, 1, _N_EDGES + 1))
    cell = np.clip(np.searchsorted(edges, u, side="right") - 1, 0, _N_EDGES - 1)
    label = run * _N_EDGES + cell
    moments = []
    # Centred, or the sums of squares cancel for norms of 1e80.
    u0, y0 = u - u.mean(), y - y.mean()
    for values in (np.ones_like(u), u0, y0, u0 * u0, u0 * y0, y0 * y0):
        total = np.bincount(label, values, curves.n_runs * _N_EDGES)
        cumulative = np.cumsum(total.reshape(curves.n_runs, _N_EDGES), axis=1)
        moments.append(np.pad(cumulative, ((0, 0), (1, 0))))
    rows = []
    for first in range(_N_EDGES):
        n, sx, sy, sxx, sxy, syy = (m[:, first + 1 :] - m[:, [first]] for m in moments)
        present = n >= 2
        n = np.where(present, n, np.inf)
        xx, xy, yy = sxx - sx * sx / n, sxy - sx * sy / n, syy - sy * sy / n
        points = np.where(present, n, 0.0).sum(0)
        runs = present.sum(0)
        width = edges[first + 1 :] - edges[first]
        with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # windows without runs
            gamma1 = -np.where(present, xy, 0.0).sum(0) / np.where(
                present, xx, 0.0
            ).sum(0)
            of_runs = np.where(present, xy**2 / (xx * yy), np.nan)
            r_squared = np.nanmedian(of_runs, axis=0)
            good = (points >= _MIN_POINTS * runs) & (runs >= curves.n_runs / 2)
            good &= (r_squared > min_r_squared) & (gamma1 * width > np.log(1 / 0.85))
        for last in np.flatnonzero(good):
            bounds = (edges[first], edges[first + 1 + last])
            rows.append((*bounds, gamma1[last], r_squared[last]))
    return pd.DataFrame(rows, columns=["log_low", "log_high", "gamma1", "r_squared"])


def _mean_curve(
    runs: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Average runs on a common grid, where at least half of them are present."""
    starts = np.sort([x.min() for x, _ in runs])
    ends = np.sort([x.max() for x, _ in runs])
    half = (len(runs) - 1) // 2
    grid = np.linspace(starts[half], ends[len(runs) - 1 - half], _N_GRID)
    heights = np.empty((len(runs), _N_GRID))
    for row, (x, y) in enumerate(runs):
        order = np.argsort(x, kind="stable")
        heights[row] = np.interp(grid, x[order], y[order], left=np.nan, right=np.nan)
    present = ~np.isnan(heights)
    count = present.sum(0)
    needed = max(len(runs) / 2, 1)
    offset = np.zeros(len(runs))
    if count.max() < needed:
        # Runs that share no stretch of the norm cannot be told apart in height.
        needed = 1
    elif len(runs) > 1:
        # Runs differ in height; a run that ends must not make the mean jump.
        common = present.all(axis=0)
        shared = present & common if common.any() else present
        # A run with no point on the grid has no height there, and none to differ in.
        n_shared = np.maximum(shared.sum(axis=1), 1)
        offset = np.where(shared, heights, 0.0).sum(axis=1) / n_shared
    level = float(offset[present.any(axis=1)].mean()) if present.any() else 0.0
    total = np.where(present, heights - offset[:, None], 0.0).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(count >= needed, total / count + level, np.nan)
    return grid, mean


def _slopes(x: np.ndarray, y: np.ndarray, bandwidth: float) -> tuple[np.ndarray, float]:
    """Return local slopes, and the median over train sizes of the steepest."""
    _, slope = local_linear(x, x, y, bandwidth)
    steepest = _steepest(slope)
    decay = float(np.nanmedian(steepest)) if np.isfinite(steepest).any() else np.nan
    if not decay > 0:
        raise ValueError(
            "the error does not fall with the norm in most train sizes: there is no "
            "norm law to fit. Train longer, or record from epoch 0."
        )
    return slope, decay


def _disagreement(
    curves: Curves,
    points: tuple[np.ndarray, np.ndarray],
    x: np.ndarray,
    slope: np.ndarray,
    bandwidth: float,
) -> float:
    """Return the standard error of the steepest slope, from the spread over seeds."""
    peak = np.argmin(np.where(np.isnan(slope), np.inf, slope), axis=1)
    at = x[np.arange(curves.n_sizes), peak][curves.size_of_run]
    _, of_runs = local_linear(at[:, None], *points, bandwidth)
    # A run that ended before the steepest point has no slope there, only a line that
    # would have to be drawn on.
    x_of_runs = points[0]
    inside = (at >= np.nanmin(x_of_runs, axis=1)) & (at <= np.nanmax(x_of_runs, axis=1))
    known = np.isfinite(of_runs[:, 0]) & inside
    size = curves.size_of_run[known]
    n_sizes = len(np.unique(size))
    degrees = len(size) - n_sizes
    if degrees < 1:
        return 0.0
    spread = demean(of_runs[known, 0], size)
    seeds = len(size) / n_sizes
    return float(np.sqrt(np.sum(spread**2) / degrees / seeds))


def _steepest(slope: np.ndarray) -> np.ndarray:
    """Return the steepest descent of each curve, NaN where a curve has none."""
    filled = np.where(np.isnan(slope), np.inf, slope)
    steepest = -filled.min(axis=1)
    return np.where(np.isfinite(steepest), steepest, np.nan)


def _near_steepest(
    x: np.ndarray, slope: np.ndarray, tolerance: float
) -> tuple[float, float]:
    """Return the contiguous stretch around the steepest point."""
    if not np.isfinite(slope).any():
        return np.nan, np.nan
    filled = np.where(np.isnan(slope), np.inf, slope)
    peak = int(np.argmin(filled))
    if filled[peak] >= 0:
        return np.nan, np.nan
    near = filled <= (1 - tolerance) * filled[peak]
    before = np.flatnonzero(~near[:peak])
    after = np.flatnonzero(~near[peak:])
    first = before[-1] + 1 if before.size else 0
    last = peak + after[0] - 1 if after.size else len(x) - 1
    return float(x[first]), float(x[last])
