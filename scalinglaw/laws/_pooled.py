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
from ._forecast import ForecastLaw, fit_forecast
from ._landmarks import (
    Landmarks,
    average_minima,
    knees,
    known_optima,
    smoothed_minima,
)
from ._lines import Line, fit_line, with_reported_errors
from ._offset import Offset, choose_offset, offset_of_data_law
from ._remarks import Remark, of_exponents, of_optima
from ._results import FittedLaws
from ._shared import Shared, shared_with_errors
from ._size_laws import MIN_SIZES, SizeLaws, fit_size_laws
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

# More censored minima than this leave the laws of the train size without support.
_MAX_CENSORED = 1 / 3
# A knee no longer stands for the minimum where their distance changes with the train
# size at this level; ends are equally far beyond the knees where theirs is known to
# change by less than this share of an e-fold per e-fold of the train size.
_DISTANT = 0.001
_EQUALLY_FAR = 0.1
# Standard deviation of what the distance may grow by, as a share of the knees' growth.
_COLLAPSES = 0.01
_CONTRADICTED = 0.05
# A trend of the change of slope, and how much of it, that no error floor leaves.
_TREND, _BENDS = 0.01, 0.25
# An interval that is wider than this share of gamma1 is no resolved exponent.
_WIDE = 0.25
# Training is not told to go on for more than so many times as long.
_MOST_LONGER = 1e4


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
    drift = _drift(curves, minima, crossover)
    landmarks = _choose_landmarks(minima, crossover, drift, options, known, not reasons)
    if learned is None and not isinstance(options.window, str):
        # What a user gives is in units of the norm at the landmark that is reported.
        window = window_around(landmarks.x, *options.window)
        inside = rows_inside(curves, window)
        line = _slope_in_window(left, inside)
        slope, gamma1 = line, line.estimate
        if reasons:
            gamma1 = gamma1.without_error()
    reach = _Reach.of(curves, minima, landmarks, not reasons)
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
            *_remarks_on_slope(reasons, window, beginning, offset, options, gamma1),
            *_remarks_on_optima(curves, optima, minima, landmarks, reach, crossover),
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
    if offset.value > 0 and _bends_by_size(curves, crossover):
        return ("an error floor would have to bend each train size in its own way",)
    alone = what_it_hangs_on(crossover, gamma1, curves.train_sizes)
    if alone is not None:
        return (f"without {alone} it lies outside its interval",)
    return ()


@dataclass(frozen=True)
class _Drift:
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


def _drift(curves: Curves, minima: Landmarks, crossover: Crossover | None) -> _Drift:
    """Return what the minima, which are flat, add to the growth of the knees.

    If the curves collapse it is zero. That they do so to about 1 % of the growth is
    taken for known beforehand, and weighed against what the minima show.
    """
    nothing = Shared.missing(curves.n_sizes)
    if crossover is None:
        return _Drift(nothing, np.zeros(curves.n_sizes))
    log_size = np.log(curves.train_sizes)
    reached = ~crossover.beyond
    if reached.sum() < MIN_SIZES:
        return _Drift(nothing, np.zeros(curves.n_sizes))
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
    return _Drift(shared, weight * seen * (log_size - log_size.mean()), p_value)


def _bends_by_size(curves: Curves, crossover: Crossover) -> bool:
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


def _choose_landmarks(
    minima: Landmarks,
    crossover: Crossover | None,
    drift: _Drift,
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


@dataclass(frozen=True)
class _Reach:
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
    ) -> _Reach:
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
    reach: _Reach,
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


def _remarks_on_slope(
    reasons: tuple[str, ...],
    window: Window | None,
    beginning: Beginning,
    offset: Offset,
    options: Options,
    gamma1: Estimate,
) -> list[Remark]:
    """Say what gamma1 is, where it was looked for, and less what."""
    remarks = []
    if reasons and window is None:
        text = "gamma1 has no number: no window has enough checkpoints, and "
        remarks.append(of_exponents(text + f"{', '.join(reasons)}."))
    elif reasons:
        text = "gamma1 is an effective maximum slope, not a resolved exponent: "
        remarks.append(of_exponents(text + f"{', '.join(reasons)}."))
    if np.isfinite(beginning.start):
        remarks.append(
            Remark(
                "the norm law was looked for beyond a log norm of "
                f"{beginning.start:.4g}: before it the error falls at another slope, "
                "which a later beginning contradicts."
            )
        )
    if offset.value > 0:
        remarks.append(
            Remark(
                f"an offset of {offset.value:.3g} +- {offset.std_err:.1g} is taken off "
                "the errors; its error is in every interval."
            )
        )
    return remarks


def _remarks_on_optima(
    curves: Curves,
    optima: Landmarks,
    minima: Landmarks,
    landmarks: Landmarks,
    reach: _Reach,
    crossover: Crossover | None,
) -> list[Remark]:
    """Say which optima training did not reach, and how long it would take."""
    remarks = []
    censored = minima.censored
    if censored.any():
        text = (
            "the lowest error is at the last checkpoint and still falls there for "
            f"{censored.sum()} of {plural(curves.n_sizes, 'train size')}: "
            f"{_to_train_on(curves, minima, landmarks, crossover, censored)}."
        )
        if reach.is_reached:
            text += (
                " gamma_measured is the exponent of the error reached, and not of "
                "the lowest one."
            )
        remarks.append(of_optima(text))
    if not optima.reached.all():
        remarks.append(
            of_optima(
                f"{plural(int((~optima.reached).sum()), 'run')} ended long before the "
                "optimum of the other runs of their train size: left out of the optima."
            )
        )
    if landmarks.kind == "knee" and landmarks.censored.any():
        sizes = ", ".join(map(str, curves.train_sizes[landmarks.censored]))
        remarks.append(
            of_optima(
                f"training stopped before the knee of train size {sizes}: left out."
            )
        )
    n_placed, n_seen = int(reach.placed.sum()), int(reach.seen.sum())
    if n_placed >= MIN_SIZES and n_seen >= MIN_SIZES:
        return remarks
    if curves.n_sizes == 1:
        text = (
            "gamma2 and gamma_measured have no number: the table has one train size, "
            f"and at least {MIN_SIZES} are needed for their intervals."
        )
    elif n_placed >= 2:
        text = (
            f"gamma2 and gamma_measured have no interval: {min(n_placed, n_seen)} "
            f"train sizes are too few, at least {MIN_SIZES} are needed."
        )
    else:
        text = (
            "gamma2 has no number: training stopped before the optimum, or the error "
            f"is level at its end, in {int((~landmarks.placed).sum())} of "
            f"{plural(curves.n_sizes, 'train size')}, too many to fit a law to the "
            "rest. Train longer."
        )
    remarks.append(of_exponents(text))
    return remarks


def _to_train_on(
    curves: Curves,
    minima: Landmarks,
    landmarks: Landmarks,
    crossover: Crossover | None,
    censored: np.ndarray,
) -> str:
    """Return how many epochs each censored train size would take, where it is known."""
    beyond = minima.placed
    distance = np.nan
    if crossover is not None and beyond.any():
        distance = float(np.median((minima.x - crossover.knee)[beyond]))
    bounds = curves.bounds()
    texts = []
    for size in np.flatnonzero(censored):
        run = curves.runs_of(int(size))[-1]
        rows = slice(bounds[run], bounds[run + 1])
        x, epoch = curves.x[rows][-8:], np.log1p(curves.epoch[rows][-8:])
        rate = (
            np.polyfit(epoch - epoch.mean(), x, 1)[0] if np.ptp(epoch) > 0 else np.nan
        )
        goal = np.nan if crossover is None else crossover.knee[size] + distance
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            longer = np.exp((goal - x[-1]) / rate)
        text = f"{curves.train_sizes[size]}"
        if rate > 0 and 1 < longer < _MOST_LONGER:
            epochs = float(f"{curves.last_epoch[run] * longer:.2g}")
            text += f" (train to about {epochs:,.0f} epochs)"
        else:
            text += " (train longer)"
        texts.append(text)
    return ", ".join(texts)
