"""Which train sizes tell what: where knees stand for minima, and what was reached."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ._crossover import Crossover
from ._curves import Curves
from ._estimates import Estimate
from ._landmarks import Landmarks
from ._lines import fit_line
from ._shared import Shared
from ._size_laws import MIN_SIZES

__all__ = ["Drift", "Reach", "bends_by_size", "find_drift"]

# More censored minima than this leave the laws of the train size without support.
_MAX_CENSORED = 1 / 3
# Ends are equally far beyond the knees where their distance is known to change by less
# than this share of an e-fold per e-fold of the train size.
_EQUALLY_FAR = 0.1
# Standard deviation of what the distance may grow by, as a share of the knees' growth.
_COLLAPSES = 0.01
# A trend of the change of slope, and how much of it, that no error floor leaves.
_TREND, _BENDS = 0.01, 0.25


@dataclass(frozen=True)
class Drift:
    """How the distance from knee to minimum grows with the train size.

    Parameters
    ----------
    shared : Shared
        Growth that is added to that of the knees, with its error.
    shift : array of shape (n_sizes,)
        What that adds to each knee.
    p_value : float
        Of the hypothesis that the distance is the same for all train sizes.
    """

    shared: Shared
    shift: np.ndarray
    p_value: float = np.nan


def find_drift(curves: Curves, minima: Landmarks, crossover: Crossover | None) -> Drift:
    """Return what the minima, which are flat, add to the growth of the knees.

    If the curves collapse it is zero. That they do so to about 1 % of the growth is
    taken for known beforehand, and weighed against what the minima show.
    """
    nothing = Shared.missing(curves.n_sizes)
    if crossover is None:
        return Drift(nothing, np.zeros(curves.n_sizes))
    log_size = np.log(curves.train_sizes)
    reached = ~crossover.beyond
    if reached.sum() < MIN_SIZES:
        return Drift(nothing, np.zeros(curves.n_sizes))
    growth, _ = fit_line(log_size[reached], crossover.knee[reached], 1)
    prior = (_COLLAPSES * growth.exponent) ** 2
    both = minima.placed & reached
    weight, seen, p_value = 0.0, 0.0, np.nan
    if both.sum() >= MIN_SIZES:
        distance = (minima.x - crossover.knee)[both]
        line, _ = fit_line(log_size[both], distance, 1)
        # Of few degrees of freedom the error is known badly.
        variance = line.std_err**2 * line.df / max(line.df - 2, 0.5)
        weight, seen = prior / max(prior + variance, 1e-300), line.exponent
        p_value = line.estimate.p_value
    left = prior * (1 - weight)
    estimate = Estimate(weight * seen, float(np.sqrt(left)), np.inf)
    shared = replace(nothing, estimate=estimate, extra=left)
    return Drift(shared, weight * seen * (log_size - log_size.mean()), p_value)


def bends_by_size(curves: Curves, crossover: Crossover) -> bool:
    """Whether the change of slope at the knees has a trend that no floor explains.

    An offset that stands for a bend of another kind, which is no floor, leaves a bend
    that grows or shrinks with the train size.
    """
    change = crossover.curve_fit.changes
    used = ~crossover.beyond & (change > 0)
    if used.sum() < MIN_SIZES:
        return False
    log_size = np.log(curves.train_sizes[used])
    line, _ = fit_line(log_size, np.log(change[used]), 1)
    across = abs(line.exponent) * np.ptp(log_size)
    return bool(line.estimate.p_value < _TREND and across > _BENDS)


@dataclass(frozen=True)
class Reach:
    """Which train sizes tell what, and whether the law can be tested with them."""

    placed: np.ndarray
    seen: np.ndarray
    is_reached: bool
    untested: str

    @classmethod
    def of(
        cls,
        curves: Curves,
        minima: Landmarks,
        landmarks: Landmarks,
        resolved: bool,
    ) -> Reach:
        n = curves.n_sizes
        placed, seen = landmarks.placed, ~minima.censored
        if landmarks.kind == "minimum" and (~placed).mean() > _MAX_CENSORED:
            placed = np.zeros(n, bool)
        if (~seen).mean() <= _MAX_CENSORED:
            both = placed & seen
            if both.sum() >= max(MIN_SIZES, 2 * n / 3):
                return cls(both, both, False, "")
            why = "the optima of too few train sizes were reached"
            return cls(placed, seen, False, why)
        # Most curves still fall at their end: what is measured is the error reached.
        seen = np.isfinite(minima.y)
        untested = "most curves still fall at their last checkpoint"
        if resolved and landmarks.kind == "knee" and placed.sum() >= MIN_SIZES:
            beyond = (minima.end - landmarks.x)[placed]
            line, _ = fit_line(np.log(curves.train_sizes[placed]), beyond, 1)
            if abs(line.exponent) <= line.estimate.half_width() and (
                line.estimate.half_width() < _EQUALLY_FAR
            ):
                return cls(placed, placed, True, "")
            untested += ", and not equally far beyond their knees"
        return cls(placed, seen, True, untested)
