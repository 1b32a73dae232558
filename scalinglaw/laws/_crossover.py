"""gamma1 and the knees from whole curves, and whether they show a power law.

Unlike a straight line in a window the fit does not confuse the law with the crossovers
at its ends, and the knee is a landmark that training need not have passed by much.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from ._clusters import influence
from ._counting_noise import Influence
from ._curve_model import CurveFit, CurveModel
from ._curves import Curves, thin
from ._estimates import Estimate
from ._hinges import HINGES
from ._lines import fit_line
from ._shared import Shared, shared_with_errors
from ._window import MeanCurves

__all__ = [
    "Crossover",
    "at_offset",
    "beginning_later",
    "fit_crossover",
    "with_own_offset",
]

# All rows that the fit sees, and rows of one run, at most.
_N_ROWS = 12_000
_N_POINTS = 40
# How far beyond the lowest point, and beyond the knee, the fit looks, in units of
# 1/gamma1: what a curve does farther on depends on the train size in its own way.
_BEYOND, _BEYOND_KNEE = 0.5, 1.0
_STEEP = 0.7
# A crossover that takes a larger share of an e-fold of the error hides the law.
_BROAD = 0.35
# A line shorter than this share of an e-fold is none.
_LENGTH = 0.25
_MIN_ROWS = 3


@dataclass(frozen=True)
class Crossover:
    """A fitted crossover.

    Parameters
    ----------
    slope : Shared
        Slope of the law, positive for decay; clustered by run and by train size, the
        wider of the two, widened by half the spread of the hinges.
    knee : array of shape (n_sizes,)
        Log norm of each knee.
    knee_influence : Influence
        Influence of the log errors on the knees.
    knee_scatter : array of shape (n_sizes, n_runs)
        What the residuals of each run contribute to the error of each knee.
    offset : Shared
        Offset that the curves show, or the one that was given, without an error.
    slope_move, knee_move : float, array of shape (n_sizes,)
        Derivatives of the slope and of the knees by the offset.
    width, start_width : float
        Widths of the two crossovers, in the unit of the log norm; the latter 0 where
        the runs start within the law.
    starts : array of shape (n_sizes,)
        Log norm where the law begins, after a plateau or a transient; minus
        infinity where the runs start within it.
    first, last : array of shape (n_sizes,)
        Log norm of the first and the last checkpoint of each train size.
    curve_fit : CurveFit
        Fit with the best of the hinges.
    unit, origin : float
        Unit and origin of the log norm in that fit.
    rows : array of int
        Run of each checkpoint that it saw, among those it was fitted to.
    seed_of_row : array of int
        Number of the seed, within its train size, of each of them.
    beyond : array of bool of shape (n_sizes,)
        Knees that lie at or beyond the last checkpoint: training stopped before
        them.
    reasons : tuple of str
        Why the fit does not resolve a power law; empty if it does.
    """

    slope: Shared
    knee: np.ndarray
    knee_influence: Influence
    knee_scatter: np.ndarray
    offset: Shared
    slope_move: float
    knee_move: np.ndarray
    width: float
    start_width: float
    starts: np.ndarray
    first: np.ndarray
    last: np.ndarray
    curve_fit: CurveFit
    unit: float
    origin: float
    rows: np.ndarray = field(repr=False)
    seed_of_row: np.ndarray = field(repr=False)
    reasons: tuple[str, ...] = ()

    @property
    def gamma1(self) -> Estimate:
        """Exponent of the law, with its error."""
        return self.slope.estimate

    @property
    def resolved(self) -> bool:
        """Whether a clean power law was seen."""
        return not self.reasons

    @property
    def misfit(self) -> float:
        """Mean square of the residuals of the log error."""
        return self.curve_fit.squares / len(self.curve_fit.model.x)

    @property
    def beyond(self) -> np.ndarray:
        """Which knees training stopped before, or at."""
        return self.knee + self.width > self.last

    @property
    def line(self) -> tuple[np.ndarray, np.ndarray]:
        """Where each train size shows the law alone, outside both crossovers."""
        begin = np.maximum(self.starts + 2 * self.start_width, self.first)
        return begin, np.minimum(self.knee - 2 * self.width, self.last)


def fit_crossover(
    curves: Curves,
    means: MeanCurves,
    *,
    offset: float | None = 0.0,
    hinges: Iterable[str] = tuple(HINGES),
    transient_end: tuple[float, float] | None = None,
    max_nfev: int = 60,
) -> Crossover | None:
    """Fit the curve model with the best of several beginnings and hinges.

    Parameters
    ----------
    curves : Curves
        All runs.
    means : MeanCurves
        Their averages, perhaps less an offset: starting values come from these.
    offset : float or None, default=0
        Offset that is taken for known; None to fit it.
    hinges : iterable of {"softplus", "sqrt", "erf"}
        Forms of the crossovers that are tried; all three by default.
    transient_end : (float, float), optional
        Log norms between which a transient goes over into the law, if the curves
        begin within one.
    max_nfev : int, default=60
        Evaluations of each fit at most.

    Returns
    -------
    Crossover or None
        None with fewer than three train sizes, where knees and clusters are
        too few, or where no fit converges.
    """
    if curves.n_sizes < 3:
        return None
    first, *others = hinges
    model, start, unit, origin, rows = _set_up(curves, means, transient_end, offset)
    model = replace(model, hinge=first)
    if transient_end is not None:
        lefts = ["transient"]
    elif _has_plateau(means):
        lefts = ["plateau"]
    else:
        # Slopes of two checkpoints or more smooth a short plateau away, and sizes that
        # start beyond it outvote those that show it.
        lefts = ["none", "plateau"]
    begun = [replace(model, left=left).fit(start, max_nfev=max_nfev) for left in lefts]
    begun = [fit for fit in begun if fit.is_decay]
    if not begun:
        return None
    best = min(begun, key=CurveFit.criterion)
    if transient_end is None and best.model.left == "plateau":
        # What comes before the law may not be level, nor end at one norm for all.
        for change in ({"left": "slope"}, {"moves": True}):
            other = best.refit(**change)
            if other.is_decay and other.criterion() < best.criterion():
                best = other
    fits = [best, *(best.refit(hinge=hinge) for hinge in others)]
    fits = [fit for fit in fits if fit.is_decay]
    best = min(fits, key=lambda fit: fit.squares)
    slopes = [fit.gamma1 for fit in fits]
    return _with_errors(
        curves, best, unit, origin, rows, extra=(0.5 * np.ptp(slopes)) ** 2
    )


def at_offset(curves: Curves, found: Crossover, offset: float) -> Crossover:
    """Return the fit at a given offset, from where another ended.

    Parameters
    ----------
    curves : Curves
        The runs that it was fitted to.
    found : Crossover
        A fit with another offset, or that fitted its own.
    offset : float
        Offset that is taken for known.

    Returns
    -------
    Crossover
        With the derivatives by the offset.
    """
    start = found.curve_fit
    fits = [start.refit(offset=offset, hinge=hinge) for hinge in HINGES]
    fits = [fit for fit in fits if fit.is_decay] or [start.refit(offset=offset)]
    best = min(fits, key=lambda fit: fit.squares)
    extra = (0.5 * np.ptp([fit.gamma1 for fit in fits])) ** 2
    return _with_errors(curves, best, found.unit, found.origin, found.rows, extra=extra)


def beginning_later(curves: Curves, found: Crossover, start: float) -> Crossover | None:
    """Return the fit to what lies beyond a log norm, without a crossover before it.

    Parameters
    ----------
    curves : Curves
        The runs that it was fitted to.
    found : Crossover
        A fit of the whole.
    start : float
        Log norm, beyond the found beginning of the law.

    Returns
    -------
    Crossover or None
        None where fewer than three checkpoints of a train size are left.
    """
    model = found.curve_fit.model
    early = found.origin + found.unit * model.x < start
    left = np.bincount(model.size[~early], minlength=model.n_sizes)
    if left.min() < _MIN_ROWS:
        return None
    whole = replace(found.curve_fit, model=replace(model, left="none", moves=False))
    fit = whole.without(early)
    return _with_errors(
        curves, fit, found.unit, found.origin, found.rows[~early], extra=0.0
    )


def _has_plateau(means: MeanCurves) -> bool:
    """Whether most train sizes begin much less steep than they become."""
    early = (-means.slope[:, :5] / means.decay).max(axis=1)
    return bool(np.nanmedian(early) < _STEEP)


def _set_up(
    curves: Curves,
    means: MeanCurves,
    transient_end: tuple[float, float] | None,
    offset: float | None,
) -> tuple[CurveModel, np.ndarray, float, float, np.ndarray]:
    """Return the model, starting values, unit and origin of x, and the seed of rows."""
    unit = 1.0 / means.decay
    n_points = int(np.clip(_N_ROWS // curves.n_runs, 8, _N_POINTS))
    sizes = np.arange(curves.n_sizes)
    lowest = np.nanargmin(np.where(np.isnan(means.y), np.inf, means.y), axis=1)
    optimum = means.x[sizes, lowest]
    origin = float(np.median(optimum))
    # Slopes relative to the steepest: 1 within the law, 0 on plateau and optimum.
    relative = np.nan_to_num(-means.slope * unit, nan=-np.inf)
    peak = np.argmax(relative, axis=1)
    knees, begins = optimum.copy(), means.x[:, 0].copy()
    flat = np.zeros(curves.n_sizes, bool)
    for size in sizes:
        after = np.flatnonzero(relative[size, peak[size] :] < 0.5)
        if after.size:
            knees[size] = means.x[size, peak[size] + after[0]]
        before = np.flatnonzero(relative[size, : peak[size]] < 0.5)
        if before.size:
            begins[size], flat[size] = means.x[size, before[-1]], True
    end = np.minimum(optimum + _BEYOND * unit, knees + _BEYOND_KNEE * unit)
    thinned = thin(curves, n_points)
    keep = thinned.x <= end[thinned.size]
    begin = float(np.median(begins[flat])) if flat.any() else float(begins.min())
    span = (-np.inf, np.inf)
    if transient_end is not None:
        begin = float(means.x.min())
        span = tuple((np.array(transient_end) - origin) / unit)
    error_unit = float(np.exp(curves.y.min()))
    model = CurveModel(
        x=(thinned.x[keep] - origin) / unit,
        y=thinned.y[keep],
        run=np.unique(thinned.run[keep], return_inverse=True)[1],
        size=thinned.size[keep],
        n_sizes=curves.n_sizes,
        log_size=np.log(curves.train_sizes) - np.log(curves.train_sizes).mean(),
        offset=offset,
        unit=error_unit,
        start_range=span,
    )
    start = np.concatenate(
        [
            [np.clip((begin - origin) / unit, *span), np.log(0.15), np.log(0.15)],
            [1.0, 1.0, means.offset / error_unit, 0.0],
            (knees - origin) / unit,
            np.ones(curves.n_sizes),
        ]
    )
    return model, start, unit, origin, thinned.run[keep]


def _with_errors(
    curves: Curves,
    fit: CurveFit,
    unit: float,
    origin: float,
    rows: np.ndarray,
    *,
    extra: float,
) -> Crossover:
    """Return the fit with the errors of its slope, its knees and its offset."""
    model = fit.model
    absorbed = _absorbed(fit)
    residuals, design, on_knees = absorbed.residuals, absorbed.design, absorbed.on_knees
    offset_column, offset_on_knees = design[:, -1], on_knees[:, -1]
    # Without gamma1's own column nothing tells its error.
    kept = absorbed.kept & absorbed.kept[0]
    design, on_knees = design[:, kept], on_knees[:, kept]
    slope = shared_with_errors(
        fit.gamma1,
        design,
        residuals,
        model.y,
        model.run,
        model.size,
        n_sizes=model.n_sizes,
        noise=curves.counting_noise,
        extra=extra,
    )
    weights = influence(design)
    # A knee is its column's own coefficient less what the shared parameters take.
    direct = np.zeros((model.n_sizes, len(model.x)))
    direct[model.size, np.arange(len(model.x))] = absorbed.knee_weights
    knee_weights = direct - on_knees @ weights
    by_run = [np.bincount(model.run, row * residuals) for row in knee_weights]
    if model.offset is None:
        offset = _offset_with_error(curves, fit)
        slope_move, knee_move = np.nan, np.full(model.n_sizes, np.nan)
    else:
        offset = replace(
            Shared.missing(model.n_sizes), estimate=Estimate(fit.offset, np.nan, np.nan)
        )
        moved = -(weights @ offset_column) / model.unit
        slope_move = float(moved[0]) / unit if moved.size else np.nan
        knee_move = -unit * (offset_on_knees / model.unit + on_knees @ moved)
    start_width, width = fit.widths
    runs = np.full((2, model.n_sizes), np.inf)
    np.minimum.at(runs[0], curves.size, curves.x)
    np.minimum.at(runs[1], curves.size, -curves.x)
    crossover = Crossover(
        slope=slope.scaled(1.0 / unit),
        knee=origin + unit * fit.knee,
        knee_influence=unit * Influence(knee_weights, model.y),
        knee_scatter=unit * np.array(by_run),
        offset=offset,
        slope_move=slope_move,
        knee_move=knee_move,
        width=unit * width,
        start_width=0.0 if model.left == "none" else unit * start_width,
        starts=origin + unit * fit.starts,
        first=runs[0],
        last=-runs[1],
        curve_fit=fit,
        unit=unit,
        origin=origin,
        rows=rows,
        seed_of_row=_seed_numbers(curves)[rows],
    )
    return replace(crossover, reasons=_why_unresolved(crossover, curves))


def _seed_numbers(curves: Curves) -> np.ndarray:
    """Return the number of each run among those of its train size."""
    first = np.searchsorted(curves.size_of_run, np.arange(curves.n_sizes))
    return np.arange(curves.n_runs) - first[curves.size_of_run]


@dataclass(frozen=True)
class _Absorbed:
    """Columns of the shared parameters less what each train size and run takes up."""

    residuals: np.ndarray
    design: np.ndarray
    on_knees: np.ndarray
    knee_weights: np.ndarray
    kept: np.ndarray


def _absorbed(fit: CurveFit) -> _Absorbed:
    """Return gamma1's column first, and the offset's last, fitted or given."""
    model = fit.model
    residuals, shared, own = model.evaluate(fit.p, derivatives=True)
    # What belongs to one train size alone is taken out within it: it is absorbed by
    # either clustering, as a run's height is.
    own_weights = _own_weights(own, model.size, model.n_sizes)

    def on_own(values: np.ndarray) -> np.ndarray:
        parts = [
            np.bincount(model.size, w * values, model.n_sizes) for w in own_weights.T
        ]
        return np.stack(parts, axis=1)

    order = [3, *(k for k in (0, 1, 2, 4, 6) if model.free[k]), 5]
    coefficients = np.stack([on_own(shared[:, k]) for k in order])
    design = shared[:, order] - np.einsum(
        "nj,knj->nk", own, coefficients[:, model.size]
    )
    scale = np.sqrt(np.sum(design**2, axis=0))
    known = np.isfinite(scale)
    largest = scale[known].max() if known.any() else 0.0
    kept = known & (scale > 1e-10 * largest)
    kept[0] &= not model.own_slopes
    kept[-1] &= model.offset is None
    return _Absorbed(
        residuals, design, coefficients[:, :, 0].T, own_weights[:, 0], kept
    )


def _offset_with_error(curves: Curves, fit: CurveFit) -> Shared:
    """Return the fitted offset with its error."""
    model, absorbed = fit.model, _absorbed(fit)
    if not absorbed.kept[-1]:
        return Shared.missing(model.n_sizes)
    design = np.roll(absorbed.design[:, absorbed.kept], 1, axis=1) / model.unit
    return shared_with_errors(
        fit.offset,
        design,
        absorbed.residuals,
        model.y,
        model.run,
        model.size,
        n_sizes=model.n_sizes,
        noise=curves.counting_noise,
    )


def with_own_offset(curves: Curves, found: Crossover) -> Crossover:
    """Return the fit at the offset that bends the curves, and that offset.

    Each run has a slope of its own while the offset is fitted. With one slope for all,
    steeper runs, which come nearer to the offset, would draw it down where slopes
    differ.

    Parameters
    ----------
    curves : Curves
        Runs that the crossover was fitted to.
    found : Crossover
        A fit with an offset of its own and one slope for all.

    Returns
    -------
    Crossover
        With the derivatives by the offset.
    """
    fit = found.curve_fit
    start = fit.p.copy()
    # A bound has no slope to leave it by.
    start[5] = np.clip(fit.offset / fit.model.unit, -0.25, 0.95)
    own = replace(fit.model, own_slopes=True, offset=None).fit(start)
    offset = _offset_with_error(curves, own)
    value = own.offset if np.isfinite(offset.estimate.std_err) else 0.0
    return replace(at_offset(curves, found, value), offset=offset)


def _own_weights(own: np.ndarray, size: np.ndarray, n_sizes: int) -> np.ndarray:
    """Return the weight of each checkpoint in its size's knee and change of slope."""
    gram = np.empty((n_sizes, 2, 2))
    for i, j in ((0, 0), (0, 1), (1, 1)):
        gram[:, i, j] = np.bincount(size, own[:, i] * own[:, j], n_sizes)
        gram[:, j, i] = gram[:, i, j]
    # A knee that training never came near has columns of nothing but rounding.
    total = np.trace(gram, axis1=1, axis2=2)
    gram[total <= 1e-12 * total.max()] = 0.0
    inverse = np.linalg.pinv(gram, rcond=1e-10, hermitian=True)
    return np.einsum("ni,nij->nj", own, inverse[size])


def _why_unresolved(fit: Crossover, curves: Curves) -> tuple[str, ...]:
    """Return what speaks against a clean power law between the crossovers."""
    gamma1 = fit.gamma1
    reasons = []
    if not gamma1.half_width() < 0.25 * gamma1.estimate:
        reasons.append("its interval is wider than a quarter of gamma1")
    if fit.width * gamma1.estimate > _BROAD:
        reasons.append("the crossover at the knee is broad")
    if fit.start_width * gamma1.estimate > _BROAD:
        reasons.append("the crossover at its beginning is broad")
    begin, end = fit.line
    straight = end - begin > _LENGTH / gamma1.estimate
    needed = max(3, int(np.ceil(curves.n_sizes / 2)))
    if straight.sum() < needed:
        reasons.append("too few train sizes have a straight stretch")
    elif _most_at_once(begin[straight], end[straight]) < needed:
        reasons.append("too few train sizes show the law at the same norms")
    reached = ~fit.beyond
    if reached.sum() > 3:
        growth, _ = fit_line(np.log(curves.train_sizes[reached]), fit.knee[reached], 1)
        if not growth.estimate.conf_int()[0] > 0:
            reasons.append("its knees do not move with the train size")
    return tuple(reasons)


def _most_at_once(begin: np.ndarray, end: np.ndarray) -> int:
    """Return how many of the stretches share a point."""
    return int(max(np.sum((begin <= at) & (at <= end)) for at in begin))
