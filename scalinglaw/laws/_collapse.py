r"""How well the curves of all train sizes fall onto one.

Each run is divided by the landmark of its train size, in norm and error. The spread of
the curves of the train sizes is set against that of their seeds, over the stretch that
all of them cover. The test leaves shifts along both axes out of either, since a
landmark is only known with an error: what is left is the shape.

References
----------
Q. Shen and J. Faraway, "An F test for linear models with functional responses",
Statistica Sinica 14 (2004) 1239-1257.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from ._curves import Curves

__all__ = ["measure_collapse"]

_N_CELLS = 12
_MIN_SIZES = 3


def measure_collapse(
    curves: Curves,
    log_norm: np.ndarray,
    log_error: np.ndarray,
    *,
    begin: np.ndarray,
    shortest: float,
) -> pd.Series | None:
    """Compare the normalised curves of the train sizes with those of their seeds.

    Parameters
    ----------
    curves : Curves
        All runs, less the offset.
    log_norm, log_error : array of shape (n_sizes,)
        Landmarks; NaN for train sizes without one.
    begin : array of shape (n_sizes,)
        Log norm where the law begins: plateaus are as high for every train size, and
        do not collapse.
    shortest : float
        Stretch of the log norm below which there is nothing to compare.

    Returns
    -------
    Series or None
        ``spread`` and ``spread_seeds`` (root mean square of the log error between
        train sizes, and between the seeds of one), their ``ratio``, ``log_norm_low``
        and ``log_norm_high`` (relative to the landmark), and the F test of equal
        shapes: ``statistic``, ``df_num``, ``df_denom``, ``p_value``, NaN with a single
        seed. None where fewer than three train sizes share a stretch.
    """
    size_of_run, bounds = curves.size_of_run, curves.bounds()
    known = np.isfinite(log_norm) & np.isfinite(log_error)
    runs = [r for r in range(curves.n_runs) if known[size_of_run[r]]]
    rows = [slice(bounds[r], bounds[r + 1]) for r in runs]
    if not runs:
        return None
    u = [
        curves.x[s] - log_norm[size_of_run[r]] for r, s in zip(runs, rows, strict=True)
    ]
    v = [
        curves.y[s] - log_error[size_of_run[r]] for r, s in zip(runs, rows, strict=True)
    ]
    begin_of_run = (begin - log_norm)[size_of_run[runs]]
    starts = np.maximum([values.min() for values in u], begin_of_run)
    low, high = float(np.max(starts)), float(np.min([values.max() for values in u]))
    sizes = np.unique(size_of_run[runs])
    if len(sizes) < _MIN_SIZES or high - low < shortest:
        return None
    grid = np.linspace(low, high, _N_CELLS)
    heights = np.stack([_averaged(a, b, grid) for a, b in zip(u, v, strict=True)])
    groups = np.searchsorted(sizes, size_of_run[runs])
    count = np.bincount(groups)
    means = np.stack([heights[groups == g].mean(0) for g in range(len(sizes))])
    between = means - means.mean(0)
    within = heights - means[groups]
    degrees = len(runs) - len(sizes)
    spread = float(np.sqrt(np.mean(between**2) * len(sizes) / (len(sizes) - 1)))
    seeds = (
        float(np.sqrt(np.mean(within**2) * len(runs) / degrees)) if degrees else np.nan
    )
    found = {
        "spread": spread,
        "spread_seeds": seeds,
        "ratio": spread / seeds if degrees and seeds > 0 else np.nan,
        "log_norm_low": low,
        "log_norm_high": high,
        **_test_of_shapes(means, within, count, grid),
    }
    return pd.Series(found, name="collapse")


def _averaged(u: np.ndarray, v: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return a run's heights on a grid, averaged over what lies around each point."""
    order = np.argsort(u, kind="stable")
    fine = np.linspace(grid[0], grid[-1], 4 * len(grid))
    return np.interp(fine, u[order], v[order]).reshape(len(grid), 4).mean(axis=1)


def _test_of_shapes(
    means: np.ndarray, within: np.ndarray, count: np.ndarray, grid: np.ndarray
) -> dict[str, float]:
    n_sizes, degrees = len(means), len(within) - len(means)
    nothing = dict.fromkeys(("statistic", "df_num", "df_denom", "p_value"), np.nan)
    if degrees < 1:
        return nothing
    middle = np.average(means, axis=0, weights=count)
    shifts = np.column_stack([np.ones(len(grid)), np.gradient(middle, grid)])
    basis, _ = np.linalg.qr(shifts)
    between = means - middle
    between = between - (between @ basis) @ basis.T
    within = within - (within @ basis) @ basis.T
    covariance = within.T @ within / degrees
    total = float(np.trace(covariance))
    if not total > 0:
        return nothing
    # As many independent directions as the covariance has, weighted by their size.
    directions = total**2 / float(np.sum(covariance**2))
    statistic = float(count @ np.sum(between**2, axis=1)) / (n_sizes - 1) / total
    df_num, df_denom = directions * (n_sizes - 1), directions * degrees
    return {
        "statistic": statistic,
        "df_num": df_num,
        "df_denom": df_denom,
        "p_value": float(stats.f.sf(statistic, df_num, df_denom)),
    }
