"""The method of the package: all runs at once, errors clustered, window found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import statsmodels.api as sm

from .._validation import plural
from ._beginning import Beginning, find_beginning
from ._collapse import measure_collapse
from ._counting_noise import Influence
from ._crossover import Crossover, at_offset
from ._curves import Curves, demean
from ._estimates import Estimate
from ._fit_remarks import remarks_on_optima, remarks_on_slope
from ._forecast import ForecastLaw, fit_forecast
from ._landmarks import (
    Landmarks,
    average_minima,
    knees,
    known_optima,
    smoothed_minima,
)
from ._lines import Line, with_reported_errors
from ._offset import Offset, choose_offset, offset_of_data_law
from ._reach import Drift, Reach, bends_by_size, find_drift
from ._results import FittedLaws
from ._shared import Shared, shared_with_errors
from ._size_laws import SizeLaws, fit_size_laws
from ._stability import what_it_hangs_on
from ._window import (
    Window,
    automatic_window,
    average_over_seeds,
    rows_inside,
    window_around,
    window_sensitivity,
)

__all__ = ["Options", "fit_pooled"]

# A knee no longer stands for the minimum where their distance changes with the train
# size at this level.
_DISTANT = 0.001
_CONTRADICTED = 0.05
# An interval that is wider than this share of gamma1 is no resolved exponent.
_WIDE = 0.25


@dataclass(frozen=True)
class Options:
    """What a user asks of the fit.

    Parameters
    ----------
    window : "auto" or (low, high)
        In units of the norm at the landmark.
    landmark : {"auto", "knee", "minimum"}
        What gamma2 is fitted to.
    offset : bool or "auto"
        Whether an error that neither norm nor data remove is fitted and taken off.
    """

    window: Any = "auto"
    landmark: str = "auto"
    offset: bool | str = "auto"


def fit_pooled(
    curves: Curves,
    options: Options,
    *,
    known: np.ndarray | None = None,
    learned: Window | None = None,
    doubts: tuple[str, ...] = (),
) -> FittedLaws:
    """Fit all laws to the runs.

    Parameters
    ----------
    curves : Curves
        All runs.
    options : Options
        What is asked for.
    known : array of shape (n_sizes,), optional
        Log norms of optima known from elsewhere.
    learned : Window, optional
        Take this window instead of looking for one.
    doubts : tuple of str, optional
        What speaks against a law from the start.

    Returns
    -------
    FittedLaws
        Exponents are NaN where the data do not support a number, and their errors
        where they do not support an interval.
    """
    # 1. Where the law begins, its slope, its knees; and the lowest errors.
    beginning = find_beginning(curves, 0.0 if options.offset is False else None)
    optima = smoothed_minima(curves, beginning.means)
    minima = known_optima(average_minima(curves, optima), known)
    # 2. What is taken off the errors, before anything else is made of them.
    offset, beginning = _settle_offset(curves, options, beginning, minima)
    left = curves.less(offset.value)
    if offset.value > 0:
        optima = smoothed_minima(curves, beginning.means)
        minima = known_optima(average_minima(curves, optima), known)
    minima = _less_offset(minima, offset.value)
    # 3. gamma1, and whether it is an exponent.
    crossover = beginning.crossover
    place = minima.x if crossover is None else crossover.knee
    window = learned or _choose_window(left, beginning, place, options.window)
    inside = np.zeros(len(curves.x), bool)
    if window is not None:
        inside = rows_inside(curves, window)
    line = _slope_in_window(left, inside)
    by_curve = crossover is not None and isinstance(options.window, str)
    slope, move = line, 0.0
    if crossover is not None and by_curve:
        slope, move = crossover.slope, crossover.slope_move
    gamma1 = _widened(slope.estimate, move, offset)
    reasons = _why_unresolved(curves, crossover, gamma1, line.estimate, offset, window)
    reasons = doubts + reasons
    if reasons:
        # An unresolved crossover may be anywhere: the steepest straight line is not.
        slope, move, by_curve = (
            (line, 0.0, False) if window else (slope, move, by_curve)
        )
        gamma1 = slope.estimate.without_error()
    # 4. The laws of the train size, from landmarks chosen after trust is decided.
    drift = find_drift(curves, minima, crossover)
    landmarks = _choose_landmarks(minima, crossover, drift, options, known, not reasons)
    if learned is None and not isinstance(options.window, str):
        # What a user gives is in units of the norm at the landmark that is reported.
        window = window_around(landmarks.x, *options.window)
        inside = rows_inside(curves, window)
        line = _slope_in_window(left, inside)
        slope, gamma1 = line, line.estimate
        if reasons:
            gamma1 = gamma1.without_error()
    reach = Reach.of(curves, minima, landmarks, not reasons)
    place_moves = np.zeros(curves.n_sizes)
    if landmarks.kind == "knee" and crossover is not None:
        place_moves = np.nan_to_num(crossover.knee_move)
    laws = fit_size_laws(
        np.log(curves.train_sizes),
        landmarks,
        slope,
        offset.shared,
        drift.shared if landmarks.kind == "knee" else Shared.missing(curves.n_sizes),
        slope_move=move,
        place_moves=place_moves,
        placed=reach.placed,
        seen=reach.seen,
        noise=curves.counting_noise,
    )
    untested = reach.untested
    if reasons:
        untested = "gamma1 is not resolved"
        laws = replace(laws, predicted=laws.predicted.without_error())
    if untested:
        laws = replace(laws, difference=Estimate.missing())
    if reach.is_reached and untested:
        laws = replace(laws, measured=laws.measured.without_error())
    tested = np.isfinite(laws.difference.estimate)
    return FittedLaws(
        curves=curves,
        exponents={
            "gamma1": gamma1,
            "gamma2": laws.gamma2,
            "gamma_predicted": laws.predicted,
            "gamma_measured": laws.measured,
        },
        consistency=laws.difference,
        norm_law=_norm_line(left, inside, gamma1),
        optimum_law=laws.optimum_law,
        data_law=laws.data_law,
        optima=optima,
        minima=minima,
        landmarks=landmarks,
        window=window or Window.missing(curves.n_sizes),
        inside=inside,
        sensitivity=window_sensitivity(left, landmarks.x),
        reasons=reasons,
        untested="" if tested else untested or "too few train sizes",
        remarks=(
            *remarks_on_slope(reasons, window, beginning, offset),
            *remarks_on_optima(curves, optima, minima, landmarks, reach, crossover),
        ),
        method=_how(crossover if by_curve else None),
        clusters=slope.clusters,
        crossover=crossover if by_curve else None,
        results=dict(laws.results)
        | (
            {}
            if by_curve or reasons or line.results is None
            else {"norm_law": line.results}
        ),
        offset=offset,
        forecast_law=_forecast(curves, optima, minima, reach, laws, offset, tested),
        collapse=measure_collapse(
            left,
            np.where(landmarks.placed, landmarks.x, np.nan),
            landmarks.y,
            begin=np.full(curves.n_sizes, -np.inf)
            if crossover is None
            else crossover.line[0],
            shortest=0.5 * beginning.means.decay**-1,
        ),
        is_reached=reach.is_reached,
    )


def _how(crossover: Crossover | None) -> str:
    how = "straight line in the window"
    if crossover is not None:
        how = f"crossover fit ({crossover.curve_fit.model.hinge} hinge)"
    return f"{how}, CR2 with Bell-McCaffrey degrees of freedom"


def _settle_offset(
    curves: Curves, options: Options, beginning: Beginning, minima: Landmarks
) -> tuple[Offset, Beginning]:
    """Return the offset, and the fit of the curves less it."""
    if options.offset is False:
        return Offset.none(), beginning
    crossover = beginning.crossover
    of_norm = Shared.missing(curves.n_sizes)
    if crossover is not None and crossover.resolved:
        of_norm = crossover.offset
    reached = ~minima.censored
    of_data = offset_of_data_law(
        curves.train_sizes, minima.y, reached, curves.counting_noise
    )
    lowest = float(np.exp(curves.y.min()))
    offset = choose_offset(of_norm, of_data, lowest, always=options.offset is True)
    if crossover is None or not crossover.resolved:
        # Nothing is known of the offset in the norm: what is fitted less that of the
        # data law is an effective slope at best.
        found = find_beginning(curves, offset.value)
        reasons: tuple[str, ...] = ()
        if found.crossover is not None and crossover is not None:
            reasons = (
                crossover.reasons
                if found.crossover.resolved
                else found.crossover.reasons
            )
            found = replace(found, crossover=replace(found.crossover, reasons=reasons))
        return offset, found
    means = beginning.means
    if means.offset != offset.value:
        means = average_over_seeds(beginning.curves.less(offset.value))
    refitted = at_offset(beginning.curves, crossover, offset.value)
    return offset, replace(beginning, means=means, crossover=refitted)


def _less_offset(minima: Landmarks, offset: float) -> Landmarks:
    """Return the minima with an offset taken off their errors."""
    error = np.exp(minima.y)
    share = 1 - offset / error
    return replace(
        minima,
        y=np.log(error - offset),
        moved_y=Influence(np.diag(1 / share), minima.y),
        scatter_y=None
        if minima.scatter_y is None
        else minima.scatter_y / share[:, None],
    )


def _choose_window(
    curves: Curves, beginning: Beginning, place: np.ndarray, window: Any
) -> Window | None:
    if not isinstance(window, str):
        return window_around(place, *window)
    means, crossover = beginning.means, beginning.crossover
    if crossover is not None and crossover.resolved:
        # What comes before the law may be steeper than it.
        before = means.x < crossover.starts[:, None]
        means = replace(means, slope=np.where(before, np.nan, means.slope))
    return automatic_window(curves, means)


def _slope_in_window(curves: Curves, inside: np.ndarray) -> Shared:
    """Fit a straight line in the window, with a height of its own for each run."""
    run, size = curves.run[inside], curves.size[inside]
    if len(np.unique(run)) < 1 or inside.sum() < 3:
        return Shared.missing(curves.n_sizes)
    design = demean(-curves.x[inside][:, None], run)
    target = demean(curves.y[inside], run)
    results = sm.OLS(target, design).fit(use_t=True)
    slope = shared_with_errors(
        float(results.params[0]),
        design,
        target - design @ results.params,
        curves.y[inside],
        run,
        size,
        n_sizes=curves.n_sizes,
        noise=curves.counting_noise,
    )
    reported = slope.estimate
    results = with_reported_errors(results, [reported.std_err], reported.df)
    return replace(slope, results=results)


def _widened(estimate: Estimate, move: float, offset: Offset) -> Estimate:
    """Return an estimate with the part of its error that the offset's error gives."""
    if not offset.std_err > 0 or not np.isfinite(move) or move == 0:
        return estimate
    return estimate.widened((move * offset.std_err) ** 2, offset.found.df)


def _why_unresolved(
    curves: Curves,
    crossover: Crossover | None,
    gamma1: Estimate,
    line: Estimate,
    offset: Offset,
    window: Window | None,
) -> tuple[str, ...]:
    """Return what speaks against gamma1 being the exponent of a power law."""
    if crossover is None:
        return ("knees need at least 3 train sizes",)
    if not crossover.resolved:
        return crossover.reasons
    ratio = crossover.gamma1.estimate / line.estimate
    if np.isfinite(ratio) and not 0.8 <= ratio <= 1.3:
        return ("the crossover fit and the straight line disagree",)
    if offset.conflict:
        return ("the norm law and the data law show different error floors",)
    if not gamma1.half_width() < _WIDE * gamma1.estimate:
        return ("an error floor that would change it by a quarter is not excluded",)
    if offset.value > 0 and bends_by_size(curves, crossover):
        return ("an error floor would have to bend each train size in its own way",)
    alone = what_it_hangs_on(crossover, gamma1, curves.train_sizes)
    if alone is not None:
        return (f"without {alone} it lies outside its interval",)
    return ()


def _choose_landmarks(
    minima: Landmarks,
    crossover: Crossover | None,
    drift: Drift,
    options: Options,
    known: np.ndarray | None,
    resolved: bool,
) -> Landmarks:
    """Return the knees, the minima, or what is already known, one per train size."""
    if known is not None or options.landmark == "minimum":
        return minima
    if options.landmark == "knee":
        if crossover is None:
            raise ValueError(
                'landmark="knee" needs at least 3 train sizes, got '
                f'{plural(len(minima.x), "train size")}. Use landmark="minimum".'
            )
        return knees(crossover, minima, drift.shift)
    if crossover is None or not resolved:
        return minima
    # Where training ended before the minima, nothing speaks against the knees.
    if drift.p_value < _DISTANT:
        return minima
    return knees(crossover, minima, drift.shift)


def _norm_line(curves: Curves, inside: np.ndarray, gamma1: Estimate) -> Line | None:
    """Return the norm law through the middle of the window."""
    if not inside.any() or not np.isfinite(gamma1.estimate):
        return None
    x, y, size = curves.x[inside], curves.y[inside], curves.size[inside]
    height = y + gamma1.estimate * x
    sizes, label = np.unique(size, return_inverse=True)
    level = np.bincount(label, height) / np.bincount(label)
    spread = float(level.std(ddof=1)) if len(sizes) > 1 else np.nan
    return Line(
        intercept=float(level.mean()),
        exponent=gamma1.estimate,
        sign=-1,
        center=float(x.mean()),
        std_err=gamma1.std_err,
        height_std_err=spread / np.sqrt(len(sizes)),
        df=gamma1.df,
        scatter=spread,
    )


def _forecast(
    curves: Curves,
    optima: Landmarks,
    minima: Landmarks,
    reach: Reach,
    laws: SizeLaws,
    offset: Offset,
    tested: bool,
) -> ForecastLaw | None:
    """Return what forecasts of the lowest error extend."""
    used = reach.seen
    lowest = minima.y + np.log1p(offset.value * np.exp(-minima.y))
    if not tested:
        # What the norm says of the offset is not trusted: the data law has its own.
        of_data = offset_of_data_law(
            curves.train_sizes, lowest, used, curves.counting_noise
        )
        nothing = Shared.missing(curves.n_sizes)
        offset = choose_offset(
            nothing, of_data, float(np.exp(curves.y.min())), always=False
        )
    product: Estimate | None = laws.predicted
    if not (tested and laws.difference.p_value > _CONTRADICTED):
        product = None
    runs = used[curves.size_of_run] & optima.reached
    seeds = curves.train_sizes[curves.size_of_run[runs]], optima.y[runs]
    return fit_forecast(
        np.log(curves.train_sizes[used]),
        lowest[used],
        offset,
        seeds=seeds,
        n_test=curves.n_test,
        product=product,
        product_move=laws.product_move,
        of_difference=laws.difference.std_err**2,
    )
