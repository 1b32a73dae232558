"""The paper's own method, step by step, for comparison with the pooled one.

Its standard errors treat interpolated, seed-averaged points as independent: they
are up to three times too small. It is offered so that published exponents can be
reproduced, not because its intervals can be trusted.

References
----------
D'Amico, Bocchi and Negri (2025), arXiv:2505.13230.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .curves import Curves
from .fitted import FittedLaws
from .inference import Estimate, Line, difference, fit_line, product
from .landmark import Landmarks, raw_minima
from .window import Window, rows_inside, window_around, window_sensitivity

__all__ = ["fit_published"]

_N_GRID = 50


def fit_published(
    curves: Curves,
    *,
    window: Any,
    known: np.ndarray | None = None,
    min_train_size: Mapping[str, float],
    learned: Window | None = None,
) -> FittedLaws:
    """Fit the laws as the paper does.

    Parameters
    ----------
    curves : Curves
        All runs.
    window : "auto" or (low, high)
        In units of the norm at the lowest point of each averaged curve; "auto"
        takes everything up to it.
    known : array of shape (n_sizes,), optional
        Log norms of optima known from elsewhere.
    min_train_size : dict of str to float
        Smallest train size by exponent.
    learned : Window, optional
        Take this window instead.

    Returns
    -------
    FittedLaws
        Standard errors as the paper defines them.
    """
    optima = raw_minima(curves)
    curve_x, curve_y = _averaged_curves(curves)
    lowest = np.array([int(np.nanargmin(y)) for y in curve_y])
    rows = np.arange(curves.n_sizes)
    minimum_x, minimum_y = curve_x[rows, lowest], curve_y[rows, lowest]
    landmark_x = _mean_norm_at_optimum(curves, optima)
    if known is not None:
        landmark_x = np.where(np.isfinite(known), known, landmark_x)

    low, high = (None, 1.0) if isinstance(window, str) else window
    found = learned or window_around(minimum_x, low, high)
    sizes = {
        name: np.flatnonzero(curves.train_sizes >= smallest)
        for name, smallest in min_train_size.items()
    }
    gamma1 = _mean_slope(curve_x, curve_y, found, sizes["gamma1"])
    log_size = np.log(curves.train_sizes)
    gamma2, optimum_law, optimum_results = _law(
        log_size, landmark_x, sizes["gamma2"], 1
    )
    measured, data_law, data_results = _law(
        log_size, minimum_y, sizes["gamma_measured"], -1
    )
    inside = rows_inside(curves, found) & np.isin(curves.size, sizes["gamma1"])
    predicted = product(gamma1, gamma2)
    return FittedLaws(
        exponents={
            "gamma1": gamma1,
            "gamma2": gamma2,
            "gamma_predicted": predicted,
            "gamma_measured": measured,
        },
        consistency=difference(predicted, measured),
        norm_law=_norm_line(curves, inside, gamma1),
        optimum_law=optimum_law,
        data_law=data_law,
        forecast_law=data_law,
        optima=optima,
        landmarks=Landmarks(
            landmark_x,
            minimum_y,
            np.bincount(curves.size_of_run, optima.censored, curves.n_sizes) > 0,
        ),
        window=found,
        inside=inside,
        sensitivity=window_sensitivity(curves, minimum_x),
        resolved=False,
        remarks=(
            "the paper's standard errors take interpolated points of averaged curves "
            "for independent: they are up to three times too small.",
        ),
        covariance="root mean square of the curves' own OLS errors, as in the paper",
        clusters="none",
        results={
            name: results
            for name, results in (
                ("optimum_law", optimum_results),
                ("data_law", data_results),
            )
            if results is not None
        },
    )


def _averaged_curves(curves: Curves) -> tuple[np.ndarray, np.ndarray]:
    """Average the error over seeds on a log grid of the norm, NaN beyond the runs.

    A train size with a single run is left on its own checkpoints.
    """
    bounds = curves.bounds()
    width = max(_N_GRID, int(np.diff(bounds).max()))
    grid, mean = np.full((2, curves.n_sizes, width), np.nan)
    for size in range(curves.n_sizes):
        runs = [slice(bounds[r], bounds[r + 1]) for r in curves.runs_of(size)]
        if len(runs) == 1:
            n = runs[0].stop - runs[0].start
            grid[size, :n], mean[size, :n] = curves.x[runs[0]], curves.y[runs[0]]
            continue
        low = min(curves.x[run].min() for run in runs)
        high = max(curves.x[run].max() for run in runs)
        grid[size, :_N_GRID] = np.linspace(low, high, _N_GRID)
        errors = []
        for run in runs:
            order = np.argsort(curves.x[run], kind="stable")
            x, y = curves.x[run][order], np.exp(curves.y[run][order])
            errors.append(
                np.interp(grid[size, :_N_GRID], x, y, left=np.nan, right=np.nan)
            )
        present = ~np.isnan(errors)
        total = np.where(present, errors, 0.0).sum(0)
        count = present.sum(0)
        mean[size, :_N_GRID] = np.log(
            np.where(count > 0, total / np.maximum(count, 1), np.nan)
        )
    return grid, mean


def _mean_norm_at_optimum(curves: Curves, optima: Landmarks) -> np.ndarray:
    """Return the log of the mean norm at each run's lowest error, as in the paper.

    The mean is of norms and not of their logs; it is taken relative to the
    largest, which a float64 could not hold.
    """
    means = np.empty(curves.n_sizes)
    for size in range(curves.n_sizes):
        x = optima.x[curves.runs_of(size)]
        means[size] = x.max() + np.log(np.mean(np.exp(x - x.max())))
    return means


def _mean_slope(
    curve_x: np.ndarray, curve_y: np.ndarray, window: Window, sizes: np.ndarray
) -> Estimate:
    """Return the mean over train sizes of the slopes of straight lines.

    Its error, as in the paper's files, is the root mean square of the errors of
    the single slopes, with points of one curve taken for independent.
    """
    lines = []
    for size in sizes:
        x, y = curve_x[size], curve_y[size]
        with np.errstate(invalid="ignore"):
            inside = (x >= window.low[size]) & (x <= window.high[size]) & ~np.isnan(y)
        if inside.sum() >= 2:
            lines.append(fit_line(x[inside], y[inside], -1)[0])
    if not lines:
        raise ValueError(
            f"no train size has two points in the window ({window.how}). Widen it: "
            "it is in units of the norm at the optimum."
        )
    variances = np.array([line.std_err**2 for line in lines])
    return Estimate(
        float(np.mean([line.exponent for line in lines])),
        float(np.sqrt(variances.mean())),
        float(np.sum([line.df for line in lines])),
    )


def _law(
    log_size: np.ndarray, height: np.ndarray, sizes: np.ndarray, sign: int
) -> tuple[Estimate, Line | None, object | None]:
    if len(sizes) < 2:
        return Estimate.missing(), None, None
    line, results = fit_line(log_size[sizes], height[sizes], sign)
    return line.estimate, line, results


def _norm_line(curves: Curves, inside: np.ndarray, gamma1: Estimate) -> Line | None:
    if not inside.any():
        return None
    x, y = curves.x[inside], curves.y[inside]
    return Line(
        intercept=float(np.mean(y + gamma1.estimate * x)),
        exponent=gamma1.estimate,
        sign=-1,
        center=float(x.mean()),
        std_err=gamma1.std_err,
        height_std_err=0.0,
        df=gamma1.df,
    )
