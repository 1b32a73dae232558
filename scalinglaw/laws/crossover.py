r"""The whole curve up to its optimum, as one law between two crossovers.

.. math::

   y = a_\mathrm{run} - \gamma_1 w_0 H\!\left(\frac{x - x_0}{w_0}\right)
       + B\, w H\!\left(\frac{x - K_P}{w}\right)

with a soft hinge :math:`H`, one plateau that ends at :math:`x_0`, and one knee
:math:`K_P` for each train size. Where the curves have been cut within a transient that
is steeper than the law, the second term is
:math:`-\gamma_1 x + A\,w_0 H((x_0 - x)/w_0)`.
Unlike a straight line in a window the fit does not confuse the law with the crossovers
at its ends, and the knee is a landmark that training need not have passed by much.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy import optimize

from .counting_noise import CountingNoise, Influence
from .curves import Curves, demean, thin
from .hinges import HINGES, Hinge
from .inference import Estimate, fit_line, influence
from .slope import Slope, slope_with_errors
from .window import MeanCurves

__all__ = ["Crossover", "fit_crossover"]

# All rows that the fit sees, and rows of one run, at most.
_N_ROWS = 12_000
_N_POINTS = 60
# How far beyond the lowest point the fit looks, in units of 1/gamma1.
_BEYOND = 0.5
_STEEP = 0.7
# A plateau that the slopes do not show must leave so small a share of the misfit.
_MUCH_BETTER = 0.8


@dataclass(frozen=True)
class Crossover:
    """A fitted crossover.

    Parameters
    ----------
    slope : Slope
        Of the law, positive for decay; clustered by run and by train size, the
        wider of the two, widened by half the spread of the hinges.
    knee : array of shape (n_sizes,)
        Log norm of each knee.
    knee_influence : Influence
        Of the log errors on the knees.
    width, start_width : float
        Of the two crossovers, in the unit of the log norm; the latter 0 where
        the runs start within the law.
    start : float
        Log norm where the law begins, after a plateau or a transient; minus
        infinity where the runs start within it.
    hinge : str
        The best of the three.
    misfit : float
        Mean square of the residuals of log error.
    beyond : array of bool of shape (n_sizes,)
        Knees that lie at or beyond the last checkpoint: training stopped before
        them.
    reasons : tuple of str
        Why the fit does not resolve a power law; empty if it does.
    """

    slope: Slope
    knee: np.ndarray
    knee_influence: Influence
    misfit: float
    beyond: np.ndarray
    width: float
    start_width: float
    start: float
    hinge: str
    reasons: tuple[str, ...] = ()

    @property
    def gamma1(self) -> Estimate:
        """Exponent of the law, with its error."""
        return self.slope.estimate

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
    left: str

    def split(self, theta: np.ndarray) -> tuple[float, float, float, np.ndarray]:
        """Return the start, its width, the knee's width, and the knees."""
        widths = np.exp(np.clip(theta[1:3], -4.0, 2.0))
        return theta[0], widths[0], widths[1], theta[3:]

    def linear(
        self, theta: np.ndarray, hinge: Hinge
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the linear coefficients at given crossovers, and how they fit.

        Returns
        -------
        coefficients : array of shape (k,)
            Of gamma1 first, of B last.
        design : array of shape (n, k)
            Regressors, demeaned by run.
        residuals : array of shape (n,)
        """
        start, start_width, width, knees = self.split(theta)
        back = width * hinge((self.x - knees[self.size]) / width)[0]
        columns = [start - self.x, back]
        if self.left == "plateau":
            columns[0] = -start_width * hinge((self.x - start) / start_width)[0]
        elif self.left == "transient":
            columns.insert(1, start_width * hinge((start - self.x) / start_width)[0])
        design = demean(np.column_stack(columns), self.run)
        target = demean(self.y, self.run)
        gram = design.T @ design
        gram += 1e-10 * np.trace(gram) * np.eye(len(gram))
        coefficients = np.linalg.solve(gram, design.T @ target)
        return coefficients, design, target - design @ coefficients

    def derivatives(
        self, theta: np.ndarray, coefficients: np.ndarray, hinge: Hinge
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return derivatives of the curves by the crossovers.

        Returns
        -------
        shared : array of shape (n, 3)
            By the start, and by the logarithms of its width and of the knees',
            demeaned by run.
        knee : array of shape (n,)
            By the knee of the row's own train size, demeaned by run.
        """
        start, start_width, width, knees = self.split(theta)
        rise = coefficients[-1]
        u = (self.x - knees[self.size]) / width
        value, slope = hinge(u)
        knee = -rise * slope
        shared = np.zeros((len(u), 3))
        shared[:, 2] = rise * width * (value - u * slope)
        if self.left != "none":
            side = 1.0 if self.left == "plateau" else -1.0
            change = -coefficients[0] if self.left == "plateau" else coefficients[1]
            u = side * (self.x - start) / start_width
            value, slope = hinge(u)
            shared[:, 0] = -side * change * slope
            shared[:, 1] = change * start_width * (value - u * slope)
        return demean(shared, self.run), demean(knee, self.run)

    def residuals(self, theta: np.ndarray, hinge: Hinge) -> np.ndarray:
        """Return the residuals at the best linear coefficients."""
        return self.linear(theta, hinge)[2]

    def jacobian(self, theta: np.ndarray, hinge: Hinge) -> np.ndarray:
        """Return the derivative of the residuals by the crossovers.

        In the approximation of Kaufman (1975), BIT 15, 49-57, which has the exact
        gradient of their sum of squares.
        """
        coefficients, design, _ = self.linear(theta, hinge)
        shared, knee = self.derivatives(theta, coefficients, hinge)
        columns = np.zeros((len(knee), 3 + self.n_sizes))
        columns[:, :3] = shared
        columns[np.arange(len(knee)), 3 + self.size] = knee
        basis, _ = np.linalg.qr(design)
        return basis @ (basis.T @ columns) - columns


def fit_crossover(
    curves: Curves,
    means: MeanCurves,
    *,
    hinges: Iterable[str] = HINGES,
    transient_end: tuple[float, float] | None = None,
) -> Crossover | None:
    """Fit the crossover by variable projection, with the best of several hinges.

    Parameters
    ----------
    curves : Curves
        All runs.
    means : MeanCurves
        Their averages: starting values come from these.
    hinges : iterable of {"softplus", "sqrt", "erf"}
        Which are tried; all three by default.
    transient_end : (float, float), optional
        Log norms between which a transient goes over into the law, if the curves
        begin within one.

    Returns
    -------
    Crossover or None
        None with fewer than three train sizes, where knees and clusters are
        too few, or where no fit converges.
    """
    if curves.n_sizes < 3:
        return None
    set_up = partial(_set_up, curves, means, transient_end)
    found = _fit(curves, *set_up(), hinges, transient_end)
    if found is None or transient_end is not None or found.start_width > 0:
        return found
    # Slopes of two checkpoints or more smooth a short plateau away: is there one?
    with_plateau = _fit(curves, *set_up(left="plateau"), hinges, None)
    if with_plateau and with_plateau.misfit < _MUCH_BETTER * found.misfit:
        return with_plateau
    return found


def _fit(
    curves: Curves,
    problem: _Problem,
    start: np.ndarray,
    unit: float,
    origin: float,
    hinges: Iterable[str],
    transient_end: tuple[float, float] | None,
) -> Crossover | None:
    """Fit one way of beginning, with the best of several hinges."""
    bounds = np.full((2, len(start)), [[-np.inf], [np.inf]])
    if transient_end is not None:
        bounds[:, 0] = (np.array(transient_end) - origin) / unit
        start[0] = np.clip(start[0], *bounds[:, 0])
    fits = {}
    for name in hinges:
        hinge = HINGES[name]
        fitted = optimize.least_squares(
            problem.residuals,
            start,
            problem.jacobian,
            args=(hinge,),
            bounds=bounds,
            x_scale=np.concatenate([[0.3, 0.5, 0.5], np.full(len(start) - 3, 0.3)]),
            max_nfev=60,
            xtol=1e-10,
            ftol=1e-10,
            gtol=1e-10,
        )
        coefficients, design, residuals = problem.linear(fitted.x, hinge)
        # A transient that is not steeper than the law is none.
        falls = np.all(coefficients[:-1] > 0)
        if falls and np.all(np.isfinite(fitted.x)):
            fits[name] = (fitted.x, coefficients, design, residuals)
    if not fits:
        return None
    best = min(fits, key=lambda name: float(fits[name][3] @ fits[name][3]))
    theta, coefficients, design, residuals = fits[best]
    slopes = [fit[1][0] for fit in fits.values()]
    slope, knee_influence = _linearised(
        problem,
        theta,
        coefficients,
        design,
        residuals,
        HINGES[best],
        noise=curves.counting_noise,
        extra=(0.5 * (max(slopes) - min(slopes))) ** 2,
    )
    begin, begin_width, width, knees = problem.split(theta)
    straight = problem.left == "none"
    last = np.full(curves.n_sizes, -np.inf)
    np.maximum.at(last, curves.size, curves.x)
    knee = origin + unit * knees
    crossover = Crossover(
        slope=slope.scaled(1.0 / unit),
        knee=knee,
        knee_influence=unit * knee_influence,
        misfit=float(np.mean(residuals**2)),
        beyond=knee + unit * width > last,
        width=unit * width,
        start_width=0.0 if straight else unit * begin_width,
        start=-np.inf if straight else origin + unit * begin,
        hinge=best,
    )
    return replace(crossover, reasons=_why_unresolved(crossover, curves))


def _set_up(
    curves: Curves,
    means: MeanCurves,
    transient_end: tuple[float, float] | None,
    left: str = "none",
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
    begin = float(np.median(begins))
    if transient_end is not None:
        left, begin = "transient", float(means.x.min())
    elif np.median(early) < _STEEP:
        left = "plateau"
    problem = _Problem(
        x=(thinned.x[keep] - origin) / unit,
        y=thinned.y[keep],
        run=thinned.run[keep],
        size=thinned.size[keep],
        n_sizes=curves.n_sizes,
        left=left,
    )
    start = np.concatenate(
        [
            [(begin - origin) / unit, np.log(0.15), np.log(0.15)],
            (knees - origin) / unit,
        ]
    )
    return problem, start, unit, origin


def _linearised(
    problem: _Problem,
    theta: np.ndarray,
    coefficients: np.ndarray,
    design: np.ndarray,
    residuals: np.ndarray,
    hinge: Hinge,
    *,
    noise: CountingNoise | None,
    extra: float,
) -> tuple[Slope, Influence]:
    """Return gamma1 with its error, and what moves the knees."""
    shared, knee_column = problem.derivatives(theta, coefficients, hinge)
    design = np.column_stack([design, shared])
    # A knee belongs to its train size alone: taken out within it, it is absorbed
    # by either clustering, as a run's height is.
    norm = np.bincount(problem.size, knee_column**2, problem.n_sizes)
    norm = np.where(norm > 0, norm, 1.0)

    def on_knees(values: np.ndarray) -> np.ndarray:
        total = np.bincount(problem.size, knee_column * values, problem.n_sizes)
        return total / norm

    along = np.column_stack([on_knees(column) for column in design.T])
    design -= along[problem.size] * knee_column[:, None]
    scale = np.sqrt(np.sum(design**2, axis=0))
    kept = scale > 1e-10 * scale.max()
    design, along = design[:, kept], along[:, kept]
    slope = slope_with_errors(
        float(coefficients[0]),
        design,
        residuals,
        problem.y,
        problem.run,
        problem.size,
        n_sizes=problem.n_sizes,
        noise=noise,
        extra=extra,
    )
    # A knee is its column's own coefficient less what the shared parameters take.
    direct = np.zeros((problem.n_sizes, len(problem.x)))
    direct[problem.size, np.arange(len(problem.x))] = knee_column / norm[problem.size]
    return slope, Influence(direct - along @ influence(design), problem.y)


def _why_unresolved(fit: Crossover, curves: Curves) -> tuple[str, ...]:
    """Return what speaks against a clean power law between the crossovers."""
    gamma1 = fit.gamma1
    reasons = []
    if not gamma1.half_width() < 0.25 * gamma1.estimate:
        reasons.append("its interval is wider than a quarter of gamma1")
    if fit.width * gamma1.estimate > 0.35:
        reasons.append("the crossover at the knee is broad")
    if fit.start_width * gamma1.estimate > 0.35:
        reasons.append("the crossover at its beginning is broad")
    line = fit.knee - 2 * fit.width > fit.start + 2 * fit.start_width
    if line.sum() < curves.n_sizes / 3:
        reasons.append("too few train sizes have a straight stretch")
    reached = ~fit.beyond
    if reached.sum() > 3:
        growth, _ = fit_line(np.log(curves.train_sizes[reached]), fit.knee[reached], 1)
        if not growth.estimate.conf_int()[0] > 0:
            reasons.append("its knees do not move with the train size")
    return tuple(reasons)
