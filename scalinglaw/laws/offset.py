r"""An error :math:`q_1` that no norm removes: is there one, and how large."""

from __future__ import annotations

import numpy as np
from scipy import optimize

from .counting_noise import Influence
from .curves import Curves, demean
from .inference import Estimate, cluster_robust, clustered_wider, influence
from .window import automatic_window, average_over_seeds, rows_inside

__all__ = ["fit_offset", "offset_evidence", "seems_offset"]

# The offset stays below the lowest error, or logarithms of what is left run away.
_LARGEST_SHARE = 0.95
_N_ROUNDS = 3
# An offset is reported above this F: below, taking it off costs more than it gains. In
# simulations without one, at most 1 in 8 exceed it; with one of 0.02, 8 to 10 in 10.
_LARGE_F = 8.0
# Nor below this share of the lowest error in the window, which moves gamma1 by about as
# little: without noise, rounding alone gives a large F.
_SMALL_SHARE = 1e-3


def fit_offset(curves: Curves) -> Estimate:
    """Fit error = k norm^-gamma1 + q1 in the automatic window.

    Each run has a k and a gamma1 of its own, so that the bend of its curve alone tells
    the offset. With one gamma1 for all, steeper runs, which come nearer to the offset,
    would draw it down where slopes differ.

    Parameters
    ----------
    curves : Curves
        All runs.

    Returns
    -------
    Estimate
        The offset, a fraction; zero where a positive one fits no better. Clustered by
        run: what the runs of a train size share went with their heights and slopes,
        and what all runs share on one test set is added.
    """
    error = np.exp(curves.y)
    largest = _LARGEST_SHARE * float(error.min())
    offset, inside = 0.0, np.ones(len(error), dtype=bool)
    for _ in range(_N_ROUNDS):
        # An offset bends the curves, and so shortens the window it is seen in:
        # each round looks again.
        current = curves.less(offset)
        window = automatic_window(current, average_over_seeds(current))
        if window is not None:
            inside = rows_inside(current, window)
        found = optimize.minimize_scalar(
            _misfit,
            bounds=(0.0, largest),
            args=(curves, error, inside),
            method="bounded",
            options={"xatol": 1e-9 * largest},
        )
        offset = float(found.x) if found.x > 1e-6 * largest else 0.0
    current = curves.less(offset)
    log_left = current.y[inside]
    x, run = curves.x[inside], np.unique(curves.run[inside], return_inverse=True)[1]
    # Derivative of log(left) by the offset.
    design = _bend(-np.exp(-log_left), x, run)[:, None]
    target = _bend(log_left, x, run)
    (step,), *_ = np.linalg.lstsq(design, target, rcond=None)
    if run.max() == 0 or not design.any():
        return Estimate(offset, np.nan, np.nan)
    covariance, df = cluster_robust(design, target - design @ [step], run)
    estimate = Estimate(offset, float(np.sqrt(covariance[0, 0])), float(df[0]))
    noise = current.counting_noise
    if noise is None:
        return estimate
    moved = Influence(influence(design), log_left)
    return estimate.widened(float(noise.covariance(moved)[0, 0]))


def offset_evidence(curves: Curves, inside: np.ndarray, gamma1: Estimate) -> Estimate:
    r"""Test in the window whether an offset would improve the straight line.

    To first order :math:`\log(k\lambda^{-\gamma_1} + q_1)` is the line plus
    :math:`(q_1/k)\,\lambda^{\gamma_1}`: the coefficient of that regressor is tested.

    Parameters
    ----------
    curves : Curves
        All runs.
    inside : array of bool of shape (n,)
        Which checkpoints the window holds.
    gamma1 : Estimate
        Slope of the line.

    Returns
    -------
    Estimate
        The coefficient, the offset's share of the lowest error; F is its statistic
        squared.
    """
    if inside.sum() < 4 or not np.isfinite(gamma1.estimate):
        return Estimate.missing()
    x, run, size = curves.x[inside], curves.run[inside], curves.size[inside]
    growth = gamma1.estimate * (x - x.max())
    design = demean(np.column_stack([np.exp(growth), x]), run)
    target = demean(curves.y[inside], run)
    coefficients, _, rank, _ = np.linalg.lstsq(design, target, rcond=None)
    if rank < 2:
        return Estimate.missing()
    residuals = target - design @ coefficients
    return clustered_wider(float(coefficients[0]), design, residuals, run, size)[0]


def seems_offset(evidence: Estimate) -> bool:
    """Return whether the error levels off in the window as an offset would make it.

    Parameters
    ----------
    evidence : Estimate
        From :func:`offset_evidence`.

    Returns
    -------
    bool
        False where the curves bend the other way, as before a knee.
    """
    return bool(evidence.estimate > _SMALL_SHARE and evidence.statistic**2 > _LARGE_F)


def _misfit(
    offset: float, curves: Curves, error: np.ndarray, inside: np.ndarray
) -> float:
    """Weighted squares of what straight lines leave of log(error - offset)."""
    left = error[inside] - offset
    # An error of log(error) is magnified by error / left in log(left).
    weight = (left / error[inside]) ** 2
    run = np.unique(curves.run[inside], return_inverse=True)[1]
    rest = _bend(np.log(left), curves.x[inside], run, weight)
    return float(np.sum(weight * rest**2))


def _bend(
    values: np.ndarray, x: np.ndarray, run: np.ndarray, weight: np.ndarray | None = None
) -> np.ndarray:
    """Return what a straight line of each run leaves, by weighted least squares."""
    if weight is None:
        weight = np.ones_like(x)

    def centred(v: np.ndarray) -> np.ndarray:
        return v - (np.bincount(run, weight * v) / np.bincount(run, weight))[run]

    x, values = centred(x), centred(values)
    square = np.bincount(run, weight * x**2)
    slope = np.bincount(run, weight * x * values) / np.where(square > 0, square, 1.0)
    return values - slope[run] * x
