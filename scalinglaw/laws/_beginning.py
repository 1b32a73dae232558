"""Where the norm law begins: a steeper transient before it is not part of it.

Real networks often lose their first errors within a small change of the norm. That
stretch is steeper than the law, all train sizes leave it at about the same norm, and it
would pass for the law: the steepest slope is there. A slope that is a law's does not
depend on where the fit begins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ._crossover import (
    Crossover,
    beginning_later,
    fit_crossover,
    with_own_offset,
)
from ._curves import Curves
from ._window import MeanCurves, average_over_seeds

__all__ = ["Beginning", "find_beginning"]

# Where a law may begin after a transient, and where a fit begins later: shares of the
# way from the law's first checkpoint to the lowest error of the median train size.
_BEGINNINGS = (0.1, 0.2, 0.3, 0.4)
_LATEST = 0.5
_LATER = 0.3
# A slope that a later fit changes by more than a twentieth has a transient looked for;
# one that it changes by more than a fifth is not that of a law.
_SUSPECT, _ANOTHER = 0.05, 0.2
_MIN_POINTS = 5
# Log errors that fall by less may be an offset for the most part: shares of the lowest
# error that are tried for a start.
_LITTLE_FALL = np.log(4.0)
_LARGE_OFFSET = 0.1
_OFFSETS = (0.0, 0.5, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Beginning:
    """The part of the curves that the norm law is looked for in.

    Parameters
    ----------
    start : float
        Log norm of its beginning; minus infinity if nothing is left out.
    means : MeanCurves
        Averages over seeds from there on.
    crossover : Crossover or None
        Fitted from there on.
    curves : Curves
        Runs from there on.
    """

    start: float
    means: MeanCurves
    crossover: Crossover | None
    curves: Curves


def find_beginning(curves: Curves, offset: float | None = 0.0) -> Beginning:
    """Find where the norm law begins.

    Parameters
    ----------
    curves : Curves
        All runs.
    offset : float or None, default=0
        Error that no norm removes; None to fit it as well.

    Returns
    -------
    Beginning
        The whole of the curves if the crossover resolves a law there that a fit which
        begins later does not contradict; else what follows the steepest point, if a
        law is resolved there after a transient; else the whole, unresolved.
    """
    whole = _whole(curves, offset)
    crossover = whole.crossover
    if crossover is None:
        return whole
    change = _change_later(whole) if crossover.resolved else np.inf
    if change < _SUSPECT:
        return whole
    after = _after_transient(curves, whole, offset)
    if after is not None and _change_later(after) < _ANOTHER:
        return after
    if crossover.resolved and change > _ANOTHER:
        reason = "gamma1 is another where the fit begins later"
        whole = replace(whole, crossover=replace(crossover, reasons=(reason,)))
    return whole


def _whole(curves: Curves, offset: float | None) -> Beginning:
    """Fit the whole of the curves."""
    if offset is not None:
        means = average_over_seeds(curves.less(offset))
        return Beginning(
            -np.inf, means, fit_crossover(curves, means, offset=offset), curves
        )
    lowest = float(np.exp(curves.y.min()))
    starts: tuple[float, ...] = (0.0,)
    if np.ptp(curves.y) < _LITTLE_FALL:
        # The offset may be most of the error, and no fit finds its way there.
        starts = _OFFSETS
    tried: list[tuple[MeanCurves, Crossover | None]] = []
    for share in starts:
        means = average_over_seeds(curves.less(share * lowest))
        if len(starts) == 1:
            found = fit_crossover(curves, means, offset=None)
        else:
            found = fit_crossover(
                curves, means, offset=None, hinges=("softplus",), max_nfev=25
            )
        tried.append((means, found))
    fitted = [(means, found) for means, found in tried if found is not None]
    if not fitted:
        return Beginning(-np.inf, tried[0][0], None, curves)
    means, best = min(fitted, key=lambda pair: pair[1].misfit)
    if len(starts) > 1:
        best = fit_crossover(curves, means, offset=None) or best
    crossover = with_own_offset(curves, best)
    offset = crossover.curve_fit.offset
    if offset > _LARGE_OFFSET * lowest:
        # A floor flattens the averages, and with them the rows and the starting values
        # that came from those: once more, from what lies above it.
        means = average_over_seeds(curves.less(offset))
        again = fit_crossover(curves, means, offset=None)
        if again is not None:
            crossover = with_own_offset(curves, again)
    return Beginning(-np.inf, means, crossover, curves)


def _way(means: MeanCurves, crossover: Crossover | None) -> tuple[float, float]:
    """Return where the law begins, and the lowest error of the median train size."""
    filled = np.where(np.isnan(means.y), np.inf, means.y)
    lowest = means.x[np.arange(len(filled)), np.argmin(filled, axis=1)]
    first, end = float(np.nanmin(means.x)), float(np.median(lowest))
    if crossover is not None and first < np.median(crossover.starts) < end:
        first = float(np.median(crossover.starts))
    return first, end


def _change_later(found: Beginning) -> float:
    """Return by what share gamma1 changes, beyond doubt, where the fit begins later."""
    crossover = found.crossover
    if crossover is None:
        return np.inf
    first, end = _way(found.means, crossover)
    start = first + _LATER * (end - first)
    later = beginning_later(found.curves, crossover, start)
    if later is None:
        return 0.0
    slope, gamma1 = later.gamma1, crossover.gamma1.estimate
    if np.isfinite(crossover.offset.estimate.std_err):
        # What bends the curves later on may be no offset but a transient before.
        later = with_own_offset(found.curves, later)
        of_offset = later.slope_move * later.offset.estimate.std_err
        slope = later.gamma1
        if np.isfinite(of_offset):
            slope = slope.widened(of_offset**2, later.offset.estimate.df)
    if not abs(slope.estimate - gamma1) > slope.half_width():
        return 0.0
    return abs(float(np.log(slope.estimate / gamma1)))


def _after_transient(
    curves: Curves, whole: Beginning, offset: float | None
) -> Beginning | None:
    """Return the fit of a law after a transient, where it resolves one."""
    means = whole.means
    slopes = np.where(np.isnan(means.slope), np.inf, means.slope)
    steepest = means.x[np.arange(len(slopes)), np.argmin(slopes, axis=1)]
    start = float(np.median(steepest))
    within = _cut(curves, start)
    if within is None:
        return None
    _, end = _way(means, None)
    between = start, start + _LATEST * (end - start)
    guess, misfit = None, np.inf
    for share in _BEGINNINGS:
        # Starting values come from what lies beyond a guess of the beginning.
        rest = _beyond(curves, start + share * (end - start), means.offset)
        if rest is None:
            continue
        found = fit_crossover(
            within,
            rest[1],
            offset=offset,
            hinges=("softplus",),
            transient_end=between,
            max_nfev=25,
        )
        if found is not None and found.misfit < misfit:
            guess, misfit = rest[1], found.misfit
    if guess is None:
        return None
    found = fit_crossover(within, guess, offset=offset, transient_end=between)
    if found is not None and offset is None:
        found = with_own_offset(within, found)
    if found is None or not found.resolved:
        return None
    return Beginning(start, guess, found, within)


def _cut(curves: Curves, start: float) -> Curves | None:
    """Return the curves from `start` on; None if too little lies there.

    A run with too few checkpoints there is left out, as long as it is not one of most
    of its train size.
    """
    inside = curves.x >= start
    enough = np.bincount(curves.run[inside], minlength=curves.n_runs) >= _MIN_POINTS
    n_enough = np.bincount(curves.size_of_run, enough, curves.n_sizes)
    n_runs = np.bincount(curves.size_of_run, minlength=curves.n_sizes)
    if (n_enough < n_runs / 2).any():
        return None
    kept = inside & enough[curves.run]
    renumbered = np.cumsum(enough) - 1
    return replace(
        curves,
        x=curves.x[kept],
        y=curves.y[kept],
        epoch=curves.epoch[kept],
        run=renumbered[curves.run[kept]],
        size_of_run=curves.size_of_run[enough],
    )


def _beyond(
    curves: Curves, start: float, offset: float
) -> tuple[Curves, MeanCurves] | None:
    """Return the curves from `start` on with their averages, if they fall there."""
    rest = _cut(curves, start)
    if rest is None:
        return None
    try:
        return rest, average_over_seeds(rest.less(max(offset, 0.0)))
    except ValueError:
        # Nothing falls any more.
        return None
