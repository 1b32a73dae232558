"""Curves without noise, and the exponents that they have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

__all__ = ["SHAPES", "Curves"]

_STUDENT_DF = 5.0
_LOG_NORM_INIT = 3.0
# Lengths along x, in units of 1/gamma1: of a transient, of a tail, from the knee (or
# the end of its tail) to the end of a run, to a step of the learning rate, and to a
# peak of double descent, with its width.
_TRANSIENT = 1 / 3
_TAIL = 1.5
_BEYOND = 1.5
_LR_STEP = 0.5
_PEAK, _PEAK_WIDTH = 0.75, 0.2
# The end of a tail is sharper than the knee, so that the optimum stays near it.
_TAIL_END_WIDTH = 0.25
# The two exponents of a law that holds may differ by this much, relative to them.
_HOLDS = 0.02


def _student(u: np.ndarray) -> np.ndarray:
    """Mean of (u - T)+ for T of Student's t: heavy, symmetric tails."""
    t = stats.t(_STUDENT_DF)
    return u * t.cdf(u) + (_STUDENT_DF + u**2) / (_STUDENT_DF - 1) * t.pdf(u)


def _gumbel(u: np.ndarray) -> np.ndarray:
    """Integral of Gumbel's distribution function: abrupt start, slow end."""
    return special.exp1(np.exp(-np.clip(u, -6.0, 500.0)))


def _laplace(u: np.ndarray) -> np.ndarray:
    """Mean of (u - L)+ for L of Laplace: a kink smoothed by exponentials."""
    return np.maximum(u, 0.0) + 0.5 * np.exp(-np.abs(u))


def _quadratic(u: np.ndarray) -> np.ndarray:
    """Mean of (u - V)+ for V uniform: exactly straight outside the crossover."""
    return np.where(u < 2, np.maximum(u + 2, 0.0) ** 2 / 8, u)


# None of them is a hinge that the estimator fits.
SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "student": _student,
    "gumbel": _gumbel,
    "laplace": _laplace,
    "quadratic": _quadratic,
}


@dataclass(frozen=True)
class Curves:
    """Curves of all train sizes, by the parameters of make_trajectories.

    Distances along x are in units of the log norm, before it is scaled.
    """

    log_ratio: np.ndarray  # log train size, less that of the smallest one
    gamma1: float
    gamma2: float
    shape: str
    plateau_length: float
    plateau_width: float
    start_growth: float
    transient: float
    stretch: float
    curvature: float
    violation: float
    knee_width: float
    tail: float
    tail_growth: float
    rise: float
    rise_growth: float
    end_growth: float
    lr_drop: float
    peak: float

    @property
    def unit(self) -> float:
        """Distance over which the early law loses a factor e."""
        return 1.0 / self.gamma1

    @property
    def growth(self) -> np.ndarray:
        """How much further the knee of each train size is than the first."""
        return self.gamma2 * self.log_ratio

    @property
    def first(self) -> np.ndarray:
        """Where the runs of each train size start."""
        return _LOG_NORM_INIT + self.start_growth * self.growth

    @property
    def begin(self) -> float:
        """Where the plateau ends, which all train sizes share."""
        return _LOG_NORM_INIT + self.unit * self.plateau_length

    @property
    def start(self) -> float:
        """Where the law starts, which all train sizes share."""
        return self.begin + self.unit * _TRANSIENT * (self.transient > 0)

    @property
    def knee(self) -> np.ndarray:
        """Where each train size leaves the law."""
        return self.start + self.unit * self.stretch + self.growth

    @property
    def tail_length(self) -> float:
        """Distance from the knee to where the rise begins."""
        return self.unit * _TAIL * (self.tail != 0 or self.tail_growth != 0)

    @property
    def last(self) -> np.ndarray:
        """Where the runs of each train size end."""
        beyond = _BEYOND * self.unit + self.end_growth * self.growth
        return self.knee + self.tail_length + beyond

    def log_error(
        self, x: np.ndarray, size: np.ndarray, slope: np.ndarray, knee: np.ndarray
    ) -> np.ndarray:
        """Return the log error of runs, relative to the plateau.

        Parameters
        ----------
        x : ndarray of shape (n_runs, n_records)
            Log norms.
        size : ndarray of shape (n_runs,)
            Position of each run's train size.
        slope, knee : ndarray of shape (n_runs,)
            Slope of each run's early law, and where the run leaves it.

        Returns
        -------
        ndarray of shape (n_runs, n_records)
            Natural logarithms.
        """
        fall = self._hinge(x - self.begin, self.plateau_width)
        back, change = self._leave(x - knee[:, None], size)
        y = change - self._descent(fall - back, slope[:, None])
        if self.transient > 0:
            steep = fall - self._hinge(x - self.start, self.plateau_width)
            y -= self.transient / _TRANSIENT * self.gamma1 * steep
        return y - self.violation * self.gamma1 * self.growth[size][:, None]

    def exponents(self) -> dict[str, float | bool]:
        """Return the true exponents, and whether the law holds.

        The optimum is looked for on curves that never were on a plateau.
        """
        end = (self.last - self.knee)[:, None]
        distance = -self.unit + (end + self.unit) * np.linspace(0, 1, 6001)
        distance = np.round(distance, 9)  # equal where only the rounding differs
        back, change = self._leave(distance, np.arange(len(self.log_ratio)))
        progress = (self.knee - self.begin)[:, None] + distance - back
        depth = change - self._descent(progress, np.array(self.gamma1))
        lowest = np.argmin(depth, axis=1)[:, None]
        log_norm = np.take_along_axis(distance, lowest, axis=1)[:, 0]
        log_error = np.take_along_axis(depth, lowest, axis=1)[:, 0]
        gamma2 = self.gamma2
        if np.all(self._rises > 0):
            gamma2 += _slope(self.log_ratio, log_norm)
        gamma1 = self.gamma1 if self.curvature == 0 else np.nan
        measured = (1 + self.violation) * self.gamma1 * self.gamma2
        measured -= _slope(self.log_ratio, log_error + self.gamma1 * self.growth)
        predicted = gamma1 * gamma2
        return {
            "gamma1": gamma1,
            "gamma2": gamma2,
            "gamma_predicted": predicted,
            "gamma_measured": measured,
            "law_holds": bool(abs(predicted - measured) <= _HOLDS * predicted),
        }

    @property
    def _rises(self) -> np.ndarray:
        return self.rise + self.rise_growth * self.log_ratio

    def _hinge(self, distance: np.ndarray, width: float) -> np.ndarray:
        width *= self.unit
        return width * SHAPES[self.shape](distance / width)

    def _descent(self, progress: np.ndarray, slope: np.ndarray) -> np.ndarray:
        """Return what the log error loses along the early curve."""
        return slope * progress * (1 + self.curvature / 2 * progress / self.unit)

    def _leave(
        self, distance: np.ndarray, size: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the way beyond the knee, and what the log error does on it."""
        back = over = self._hinge(distance, self.knee_width)
        if self.tail_length:
            width = _TAIL_END_WIDTH * self.knee_width
            over = self._hinge(distance - self.tail_length, width)
        tails = self.tail + self.tail_growth * self.log_ratio[size][:, None]
        change = self._rises[size][:, None] * over - tails * (back - over)
        change = self.gamma1 * change
        change -= self.lr_drop * (distance > _LR_STEP * self.unit)
        bump = (distance / self.unit - _PEAK) / _PEAK_WIDTH
        return back, change + self.peak * np.exp(-(bump**2) / 2)


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    """Return the slope of y on x to 12 decimals; 0 for a single point."""
    x = x - x.mean()
    return round(float(x @ (y - y.mean()) / (x @ x)), 12) if x.any() else 0.0
