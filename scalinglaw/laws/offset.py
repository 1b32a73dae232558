r"""An error :math:`q_1` that no norm removes: is there one, and how large."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize

from .curves import Curves, demean
from .inference import Estimate, clustered_wider
from .window import automatic_window, average_over_seeds, rows_inside

__all__ = ["Removed", "offset_evidence", "remove_offset", "seems_offset"]

# The offset stays below the lowest error, or logarithms of what is left run away.
_LARGEST_SHARE = 0.95
_N_ROUNDS = 3
# An offset is reported above this F: below, taking it off costs more than it gains. In
# simulations without one, at most 1 in 8 exceed it; with one of 0.02, 8 to 10 in 10.
_LARGE_F = 8.0
# Nor below this share of the lowest error in the window, which moves gamma1 by about as
# little: without noise, rounding alone gives a large F.
_SMALL_SHARE = 1e-3


@dataclass(frozen=True)
class Removed:
    """Curves less their offset.

    Parameters
    ----------
    curves : Curves
        With y the logarithm of error less offset.
    offset : float
        What was taken off, a fraction.
    column : array of shape (n,)
        Derivative of y with respect to the offset: fitted beside the slope, it
        carries the offset's uncertainty into that of gamma1.
    test : Estimate
        The offset over its error.
    """

    curves: Curves
    offset: float
    column: np.ndarray
    test: Estimate


def remove_offset(curves: Curves) -> Removed:
    """Fit error = k norm^-gamma1 + q1 in the automatic window, and take q1 off.

    Parameters
    ----------
    curves : Curves
        All runs.

    Returns
    -------
    Removed
        With an offset of zero where a positive one fits no better.
    """
    error = np.exp(curves.y)
    largest = _LARGEST_SHARE * float(error.min())
    offset, inside = 0.0, np.ones(len(error), dtype=bool)
    for _ in range(_N_ROUNDS):
        # An offset bends the curves, and so shortens the window it is seen in:
        # each round looks again.
        current = replace(curves, y=np.log(error - offset))
        window = automatic_window(current, average_over_seeds(current))
        if window is not None:
            inside = rows_inside(current, window)
        found = optimize.minimize_scalar(
            _misfit,
            bounds=(0.0, largest),
            args=(curves, error, inside),
            method="bounded",
            options={"xatol": 1e-9},
        )
        offset = float(found.x) if found.x > 1e-6 * largest else 0.0
    removed = replace(curves, y=np.log(error - offset))
    column = -1.0 / (error - offset)
    run, size = curves.run[inside], curves.size[inside]
    design = demean(np.column_stack([column[inside], -curves.x[inside]]), run)
    target = demean(removed.y[inside], run)
    coefficients = np.linalg.lstsq(design, target, rcond=None)[0]
    step, _ = clustered_wider(
        float(coefficients[0]), design, target - design @ coefficients, run, size
    )
    return Removed(removed, offset, column, Estimate(offset, step.std_err, step.df))


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
    """Weighted squares of a straight line through log(error - offset)."""
    left = error[inside] - offset
    # An error of log(error) is magnified by error / left in log(left).
    weight = left / error[inside]
    run = np.unique(curves.run[inside], return_inverse=True)[1]
    total = np.bincount(run, weight**2)

    def centred(values: np.ndarray) -> np.ndarray:
        return weight * (values - (np.bincount(run, weight**2 * values) / total)[run])

    x, y = centred(curves.x[inside]), centred(np.log(left))
    slope = (x @ y) / (x @ x)
    return float(np.sum((y - slope * x) ** 2))
