"""Landmarks of the curves: the lowest test error, and the knee before it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ._counting_noise import Influence
from ._crossover import Crossover
from ._curves import Curves, local_linear, padded, thin
from ._window import MeanCurves

__all__ = [
    "Landmarks",
    "average_minima",
    "knees",
    "known_optima",
    "raw_minima",
    "smoothed_minima",
]

# Of the smoothing, in units of 1/gamma1; points of a run that it sees at most.
_BANDWIDTH = 0.2
_N_POINTS = 120
# An end that falls by less than this share of the law's slope is level.
_LEVEL = 0.1
# Stretch on which that slope is looked at, in units of the smoothing.
_END = 3.0


@dataclass(frozen=True)
class Landmarks:
    """A point of each run, or of each train size.

    Parameters
    ----------
    x, y : array of shape (n,)
        Log norm and log error there, natural.
    censored : array of bool of shape (n,)
        Whether the error still falls at the last checkpoint, or training ended before
        the landmark, so that it lies beyond.
    level : array of bool of shape (n,), optional
        Whether the error is lowest at the last checkpoint and level there: it is the
        lowest that training would reach, but not where.
    early : array of bool of shape (n,), optional
        Of single runs: whether it ended long before the optimum of the other runs of
        its train size, and so has none.
    end : array of shape (n,), optional
        Log norm of the last checkpoint.
    kind : {"knee", "minimum"}
        What the landmarks are.
    moved_x, moved_y : Influence, optional
        Influence of the log errors of the curves on the landmarks, where that was
        worked out.
    scatter_x, scatter_y : array of shape (n, n_runs), optional
        What the scatter of each run about its train size contributes to the error of
        each landmark.
    """

    x: np.ndarray
    y: np.ndarray
    censored: np.ndarray
    level: np.ndarray | None = None
    early: np.ndarray | None = None
    end: np.ndarray | None = None
    kind: str = "minimum"
    moved_x: Influence | None = None
    moved_y: Influence | None = None
    scatter_x: np.ndarray | None = None
    scatter_y: np.ndarray | None = None

    @property
    def reached(self) -> np.ndarray:
        """Which of the runs lasted until about their optimum."""
        if self.early is None:
            return np.ones(len(self.x), dtype=bool)
        return ~self.early

    @property
    def placed(self) -> np.ndarray:
        """Which landmarks have a known place, and not only a known height."""
        return ~self.censored if self.level is None else ~(self.censored | self.level)

    def influence_on_x(self, gamma1: float) -> Influence:
        """Return how the log norms of the landmarks move with the log errors.

        Parameters
        ----------
        gamma1 : float
            Slope of the norm law: noise moves a flat minimum at most as far along x
            as it would move a point of the law.

        Returns
        -------
        Influence
            For as many numbers as there are landmarks.
        """
        if self.moved_x is not None:
            return self.moved_x
        return (1.0 / gamma1) * Influence.of_heights(self.y)

    @property
    def influence_on_y(self) -> Influence:
        """Influence of the log errors of the curves on those of the landmarks."""
        if self.moved_y is not None:
            return self.moved_y
        return Influence.of_heights(self.y)


def raw_minima(curves: Curves) -> Landmarks:
    """Return the checkpoint of the lowest error of each run.

    Parameters
    ----------
    curves : Curves
        All runs.

    Returns
    -------
    Landmarks
        One per run.
    """
    bounds = curves.bounds()
    rows = np.array(
        [
            a + int(np.argmin(curves.y[a:b]))
            for a, b in zip(bounds, bounds[1:], strict=False)
        ]
    )
    return Landmarks(curves.x[rows], curves.y[rows], rows == bounds[1:] - 1)


def smoothed_minima(curves: Curves, means: MeanCurves) -> Landmarks:
    """Return the minimum of each run's smoothed curve.

    The lowest of many noisy checkpoints is too low and far off; smoothing with
    a bandwidth of a fifth of an e-fold takes both errors away.

    Parameters
    ----------
    curves : Curves
        All runs.
    means : MeanCurves
        Averaged curves, perhaps less an offset; their slope and bandwidth set the
        smoothing.

    Returns
    -------
    Landmarks
        One per run. Those of a train size are censored if their curves, less the
        offset, still fall at their ends by more than a tenth of the law's slope.
    """
    x, y = padded(thin(curves, _N_POINTS))
    # Half of what a slope takes: a wider average would fill the minimum in.
    bandwidth = max(_BANDWIDTH / means.decay, means.bandwidth / 2)
    value, _ = local_linear(x, x, y, bandwidth)
    # An average fills a narrow minimum in. Smoothing the residuals and adding them
    # (Tukey's twicing) takes most of that bias away.
    value = value + local_linear(x, x, y - value, bandwidth)[0]
    # Where no neighbour is within reach the checkpoint speaks for itself.
    value = np.where(np.isnan(value), y, value)
    filled = np.where(np.isnan(value), np.inf, value)
    best = np.argmin(filled, axis=1)
    rows = np.arange(len(best))
    last = (~np.isnan(y)).sum(axis=1) - 1
    at, lowest, end = x[rows, best], value[rows, best], np.nanmax(x, axis=1)
    # A slope of an error less an offset is steeper than that of the error.
    share = np.maximum(1 - means.offset * np.exp(-lowest), 1e-3)
    # A slope at an end is noisy: a wide stretch and all seeds of a train size tell it
    # together. One that passed its minimum on that stretch has risen since.
    reach = x[rows, last][:, None]
    _, slope = local_linear(reach, x, y, _END * bandwidth)
    steep = _typical(curves, np.nan_to_num(-slope[:, 0], nan=np.inf) / share)
    risen = _typical(curves, value[rows, last] - lowest)
    noise = 1.4826 * float(np.nanmedian(np.abs(y - value)))
    falling = (steep > _LEVEL * means.decay) & (risen < 2 * noise + 1e-3)
    level = (best == last) & ~falling
    early = _ended_early(curves, end, at, bandwidth)
    return Landmarks(at, lowest, falling | early, level=level, early=early, end=end)


def _ended_early(
    curves: Curves, end: np.ndarray, optimum: np.ndarray, distance: float
) -> np.ndarray:
    """Return which runs were shorter than the others and ended before their optimum."""
    shorter = curves.last_epoch < _typical(curves, curves.last_epoch)
    # Seeds of one length may differ in norm, and all of them count.
    return shorter & (end < _typical(curves, optimum) - distance)


def _typical(curves: Curves, of_runs: np.ndarray) -> np.ndarray:
    """Return, for each run, the median over the runs of its train size."""
    sizes = range(curves.n_sizes)
    medians = [np.median(of_runs[curves.runs_of(size)]) for size in sizes]
    return np.array(medians)[curves.size_of_run]


def average_minima(curves: Curves, optima: Landmarks) -> Landmarks:
    """Average the optima over the seeds of each train size, in logs.

    Runs that ended early have no optimum, and are left out.

    Parameters
    ----------
    curves : Curves
        All runs.
    optima : Landmarks
        One per run.

    Returns
    -------
    Landmarks
        One per train size; censored where most of its runs are.
    """
    runs, n = optima.reached, curves.n_sizes
    size = curves.size_of_run[runs]
    count = np.bincount(size, minlength=n)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(size, values[runs], n) / count

    def scatter(values: np.ndarray) -> np.ndarray:
        gap = values[runs] - mean(values)[size]
        found = np.zeros((n, len(size)))
        # As large as independent runs would make it on average.
        found[size, np.arange(len(size))] = (
            gap / np.sqrt(count * np.maximum(count - 1, 1))[size]
        )
        return found

    level = np.zeros(len(optima.x), bool) if optima.level is None else optima.level
    end = optima.x if optima.end is None else optima.end
    return Landmarks(
        mean(optima.x),
        mean(optima.y),
        mean(optima.censored) > 0.5,
        level=(mean(optima.censored | level) > 0.5) & ~(mean(optima.censored) > 0.5),
        end=mean(end),
        scatter_x=scatter(optima.x),
        scatter_y=scatter(optima.y),
    )


def known_optima(minima: Landmarks, log_norm: np.ndarray | None) -> Landmarks:
    """Put the minima where they are known to be.

    Parameters
    ----------
    minima : Landmarks
        Observed, one per train size.
    log_norm : array of shape (n_sizes,) or None
        Log norms of the optima; NaN where nothing is known.

    Returns
    -------
    Landmarks
        What is known is not censored.
    """
    if log_norm is None:
        return minima
    given = np.isfinite(log_norm)
    return replace(
        minima,
        x=np.where(given, log_norm, minima.x),
        censored=minima.censored & ~given,
        level=None if minima.level is None else minima.level & ~given,
    )


def knees(crossover: Crossover, minima: Landmarks, shift: np.ndarray) -> Landmarks:
    """Return the fitted knees as the places of landmarks whose heights are the minima.

    Parameters
    ----------
    crossover : Crossover
        Where the knees are.
    minima : Landmarks
        Lowest errors, one per train size.
    shift : array of shape (n_sizes,)
        What is added to the knees, so that they grow as the minima do.

    Returns
    -------
    Landmarks
        One per train size; censored where training stopped before the knee.
    """
    return replace(
        minima,
        x=crossover.knee + shift,
        censored=crossover.beyond,
        level=None,
        kind="knee",
        moved_x=crossover.knee_influence,
        scatter_x=crossover.knee_scatter,
    )
