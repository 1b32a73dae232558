r"""The whole curve up to its optimum, as one law between two crossovers.

.. math::

   y = a_\mathrm{run} - \gamma_1 w_0 H\!\left(\frac{x - x_0}{w_0}\right)
       + B\, w H\!\left(\frac{x - K_P}{w}\right)

with a soft hinge :math:`H`, one plateau :math:`x_0` and one knee :math:`K_P` for each
train size. Unlike a straight line in a window it does not confuse the law with the
crossovers at its ends, and the knee is a landmark that training need not have passed
by much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize, special

from .counting_noise import counting_variance
from .curves import Curves, demean, thin
from .inference import Estimate, clustered_wider, influence
from .window import MeanCurves

__all__ = ["Crossover", "fit_crossover"]

# All rows that the fit sees, and rows of one run, at most.
_N_ROWS = 12_000
_N_POINTS = 60
# How far beyond the lowest point the fit looks, in units of 1/gamma1.
_BEYOND = 0.5
_STEEP = 0.7


def _softplus(u: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, u)


def _sqrt(u: np.ndarray) -> np.ndarray:
    return 0.5 * (u + np.sqrt(u * u + 4.0))


def _erf(u: np.ndarray) -> np.ndarray:
    # Scaled to the curvature of the other two at the centre.
    scale = 4.0 / np.sqrt(2 * np.pi)
    v = u / scale
    return scale * (v * special.ndtr(v) + np.exp(-0.5 * v * v) / np.sqrt(2 * np.pi))


_HINGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "softplus": _softplus,
    "sqrt": _sqrt,
    "erf": _erf,
}


@dataclass(frozen=True)
class Crossover:
    """A fitted crossover.

    Parameters
    ----------
    gamma1 : Estimate
        Slope of the law, positive for decay; clustered by run and by train
        size, the wider of the two, widened by half the spread of the hinges.
    knee : array of shape (n_sizes,)
        Log norm of each knee.
    width, plateau_width : float
        Of the two crossovers, in the unit of the log norm; the latter 0 where
        the runs start within the law.
    plateau : float
        Log norm where the law begins.
    hinge : str
        The best of the three.
    beyond : array of bool of shape (n_sizes,)
        Knees that lie at or beyond the last checkpoint: training stopped before
        them.
    clusters : str
        ``"run"`` or ``"train_size"``.
    reasons : tuple of str
        Why the fit does not resolve a power law; empty if it does.
    """

    gamma1: Estimate
    knee: np.ndarray
    beyond: np.ndarray
    width: float
    plateau_width: float
    plateau: float
    hinge: str
    clusters: str
    reasons: tuple[str, ...] = ()

    @property
    def resolved(self) -> bool:
        """Whether a clean power law was seen."""
        return not self.reasons


@dataclass(frozen=True)
class _Problem:
    """Checkpoints up to a little beyond the optimum, in units of 1/gamma1."""

    x: np.ndarray
    y: np.ndarray
    run: np.ndarray
    size: np.ndarray
    n_sizes: int
    with_plateau: bool

    def split(self, theta: np.ndarray) -> tuple[float, float, float, np.ndarray]:
        """Return plateau, its width, the knee's width, and the knees."""
        widths = np.exp(np.clip(theta[1:3], -4.0, 2.0))
        return theta[0], widths[0], widths[1], theta[3:]

    def columns(
        self, theta: np.ndarray, hinge: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Return the regressors of gamma1 and B, not demeaned."""
        plateau, plateau_width, width, knees = self.split(theta)
        if self.with_plateau:
            fall = plateau_width * hinge((self.x - plateau) / plateau_width)
        else:
            fall = self.x - plateau
        back = width * hinge((self.x - knees[self.size]) / width)
        return np.column_stack([-fall, back])

    def solve(
        self, theta: np.ndarray, hinge: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return gamma1 and B at given crossovers, and the residuals."""
        design = demean(self.columns(theta, hinge), self.run)
        target = demean(self.y, self.run)
        gram = design.T @ design
        gram += 1e-10 * np.trace(gram) * np.eye(2)
        coefficients = np.linalg.solve(gram, design.T @ target)
        return coefficients, target - design @ coefficients


def fit_crossover(curves: Curves, means: MeanCurves) -> Crossover | None:
    """Fit the crossover by variable projection, with the best of three hinges.

    Parameters
    ----------
    curves : Curves
        All runs.
    means : MeanCurves
        Their averages: starting values come from these.

    Returns
    -------
    Crossover or None
        None with fewer than three train sizes, where knees and clusters are
        too few, or where no fit converges.
    """
    if curves.n_sizes < 3:
        return None
    problem, start, unit, origin = _set_up(curves, means)
    fits = {}
    for name, hinge in _HINGES.items():
        fitted = optimize.least_squares(
            lambda theta, hinge=hinge: problem.solve(theta, hinge)[1],
            start,
            x_scale=np.concatenate([[0.3, 0.5, 0.5], np.full(len(start) - 3, 0.3)]),
            max_nfev=60,
            xtol=1e-10,
            ftol=1e-10,
            gtol=1e-10,
        )
        coefficients, residuals = problem.solve(fitted.x, hinge)
        if np.all(np.isfinite(fitted.x)) and coefficients[0] > 0:
            fits[name] = (fitted.x, coefficients, residuals)
    if not fits:
        return None
    best = min(fits, key=lambda name: float(fits[name][2] @ fits[name][2]))
    theta, coefficients, residuals = fits[best]
    slopes = [fit[1][0] for fit in fits.values()]
    estimate, clusters = _slope_with_error(
        problem, theta, coefficients, residuals, _HINGES[best], curves.n_test
    )
    estimate = estimate.widened((0.5 * (max(slopes) - min(slopes))) ** 2)
    gamma1 = Estimate(estimate.estimate / unit, estimate.std_err / unit, estimate.df)
    plateau, plateau_width, width, knees = problem.split(theta)
    last = np.full(curves.n_sizes, -np.inf)
    np.maximum.at(last, curves.size, curves.x)
    knee = origin + unit * knees
    crossover = Crossover(
        gamma1=gamma1,
        knee=knee,
        beyond=knee + unit * width > last,
        width=unit * width,
        plateau_width=unit * plateau_width if problem.with_plateau else 0.0,
        plateau=origin + unit * plateau if problem.with_plateau else -np.inf,
        hinge=best,
        clusters=clusters,
    )
    return replace(crossover, reasons=_why_unresolved(crossover, curves))


def _set_up(
    curves: Curves, means: MeanCurves
) -> tuple[_Problem, np.ndarray, float, float]:
    """Return the problem in units of 1/decay, starting values, unit and origin."""
    unit = 1.0 / means.decay
    n_points = int(np.clip(_N_ROWS // curves.n_runs, 8, _N_POINTS))
    lowest = np.nanargmin(np.where(np.isnan(means.y), np.inf, means.y), axis=1)
    rows = np.arange(curves.n_sizes)
    end = means.x[rows, lowest] + _BEYOND * unit
    origin = float(np.median(means.x[rows, lowest]))
    thinned = thin(curves, n_points)
    keep = thinned.x <= end[thinned.size]
    # Slopes relative to the steepest: 1 within the law, 0 on plateau and optimum.
    relative = np.nan_to_num(-means.slope * unit, nan=-np.inf)
    peak = np.argmax(relative, axis=1)
    knees, begins = np.empty(curves.n_sizes), np.empty(curves.n_sizes)
    for size in rows:
        after = np.flatnonzero(relative[size, peak[size] :] < 0.5)
        at = peak[size] + after[0] if after.size else lowest[size]
        knees[size] = means.x[size, at]
        before = np.flatnonzero(relative[size, : peak[size]] < 0.5)
        begins[size] = means.x[size, before[-1]] if before.size else means.x[size, 0]
    early = relative[:, :5].max(axis=1)
    problem = _Problem(
        x=(thinned.x[keep] - origin) / unit,
        y=thinned.y[keep],
        run=thinned.run[keep],
        size=thinned.size[keep],
        n_sizes=curves.n_sizes,
        with_plateau=bool(np.median(early) < _STEEP),
    )
    start = np.concatenate(
        [
            [(np.median(begins) - origin) / unit, np.log(0.15), np.log(0.15)],
            (knees - origin) / unit,
        ]
    )
    return problem, start, unit, origin


def _slope_with_error(
    problem: _Problem,
    theta: np.ndarray,
    coefficients: np.ndarray,
    residuals: np.ndarray,
    hinge: Callable[[np.ndarray], np.ndarray],
    n_test: int | None,
) -> tuple[Estimate, str]:
    """Return gamma1 with the wider of two clustered errors, of the linearised fit."""
    columns = problem.columns(theta, hinge)

    def curve(values: np.ndarray) -> np.ndarray:
        return problem.columns(values, hinge) @ coefficients

    shared = [columns[:, 0], columns[:, 1]]
    step = 1e-5
    nonlinear = range(0 if problem.with_plateau else 2, 3)
    for index in nonlinear:
        move = np.zeros_like(theta)
        move[index] = step
        shared.append((curve(theta + move) - curve(theta - move)) / (2 * step))
    _, _, width, knees = problem.split(theta)
    u = (problem.x - knees[problem.size]) / width
    knee_column = demean((hinge(u + step) - hinge(u - step)) / (2 * step), problem.run)
    design = demean(np.column_stack(shared), problem.run)
    # A knee belongs to its train size alone: taken out within it, it is absorbed
    # by either clustering, as a run's height is.
    norm = np.bincount(problem.size, knee_column**2, problem.n_sizes)
    for index in range(design.shape[1]):
        along = np.bincount(
            problem.size, knee_column * design[:, index], problem.n_sizes
        ) / np.where(norm > 0, norm, 1.0)
        design[:, index] -= along[problem.size] * knee_column
    scale = np.sqrt(np.sum(design**2, axis=0))
    design = design[:, scale > 1e-10 * scale.max()]
    estimate, clusters = clustered_wider(
        float(coefficients[0]), design, residuals, problem.run, problem.size
    )
    if n_test is not None:
        extra = counting_variance(influence(design), problem.y, n_test)
        estimate = estimate.widened(extra)
    return estimate, clusters


def _why_unresolved(fit: Crossover, curves: Curves) -> tuple[str, ...]:
    """Return what speaks against a clean power law between the crossovers."""
    gamma1 = fit.gamma1
    reasons = []
    if not gamma1.half_width() < 0.25 * gamma1.estimate:
        reasons.append("its interval is wider than a quarter of gamma1")
    if fit.width * gamma1.estimate > 0.35:
        reasons.append("the crossover at the knee is broad")
    if fit.plateau_width * gamma1.estimate > 0.35:
        reasons.append("the crossover from the plateau is broad")
    line = fit.knee - 2 * fit.width > fit.plateau + 2 * fit.plateau_width
    if line.sum() < curves.n_sizes / 3:
        reasons.append("too few train sizes have a straight stretch")
    return tuple(reasons)
