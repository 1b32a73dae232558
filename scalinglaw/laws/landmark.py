"""Landmarks of the curves: the lowest test error, and the knee before it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .counting_noise import Influence
from .crossover import Crossover
from .curves import Curves, local_linear, padded, smoothing_weights, thin
from .window import MeanCurves

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


@dataclass(frozen=True)
class Landmarks:
    """A point of each run, or of each train size.

    Parameters
    ----------
    x, y : array of shape (n,)
        Log norm and log error there, natural.
    censored : array of bool of shape (n,)
        Whether the lowest error is at the last checkpoint, so that the optimum
        lies beyond.
    kind : str
        ``"knee"`` or ``"minimum"``.
    moved_x, moved_y : Influence or None
        How the landmarks move with the log errors, where that was worked out.
    early : array of bool of shape (n,) or None
        Of single runs: whether it ended long before the optimum of the other runs of
        its train size, and so has none.
    """

    x: np.ndarray
    y: np.ndarray
    censored: np.ndarray
    kind: str = "minimum"
    moved_x: Influence | None = None
    moved_y: Influence | None = None
    early: np.ndarray | None = None

    @property
    def reached(self) -> np.ndarray:
        """Which of the runs lasted until about their optimum."""
        if self.early is None:
            return np.ones(len(self.x), dtype=bool)
        return ~self.early

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
        """How the log errors of the landmarks move with those of the curves."""
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
        The averaged curves; their slope and bandwidth set the smoothing.

    Returns
    -------
    Landmarks
        One per run; censored where the smoothed curve is lowest at its end.
    """
    x, y = padded(thin(curves, _N_POINTS))
    # Half of what a slope takes: a wider average would fill the minimum in.
    bandwidth = max(_BANDWIDTH / means.decay, means.bandwidth / 2)
    value, _ = local_linear(x, x, y, bandwidth)
    # Where no neighbour is within reach the checkpoint speaks for itself.
    value = np.where(np.isnan(value), y, value)
    filled = np.where(np.isnan(value), np.inf, value)
    best = np.argmin(filled, axis=1)
    rows = np.arange(len(best))
    last = (~np.isnan(y)).sum(axis=1) - 1
    at, censored = x[rows, best], best == last
    early = _ended_early(curves, np.nanmax(x, axis=1), at, bandwidth)
    return Landmarks(at, value[rows, best], censored | early, early=early)


def _ended_early(
    curves: Curves, end: np.ndarray, optimum: np.ndarray, distance: float
) -> np.ndarray:
    """Return which runs were shorter than the others and ended before their optimum."""

    def typical(of_runs: np.ndarray) -> np.ndarray:
        sizes = range(curves.n_sizes)
        medians = [np.median(of_runs[curves.runs_of(size)]) for size in sizes]
        return np.array(medians)[curves.size_of_run]

    shorter = curves.last_epoch < typical(curves.last_epoch)
    # Seeds of one length may differ in norm, and all of them count.
    return shorter & (end < typical(optimum) - distance)


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
    return Landmarks(
        np.bincount(size, optima.x[runs], n) / count,
        np.bincount(size, optima.y[runs], n) / count,
        np.bincount(size, optima.censored[runs], n) > count / 2,
    )


def known_optima(minima: Landmarks, log_norm: np.ndarray) -> Landmarks:
    """Put the minima where theory says they are.

    Parameters
    ----------
    minima : Landmarks
        Observed, one per train size.
    log_norm : array of shape (n_sizes,)
        Log norms of the optima; NaN where nothing is known.

    Returns
    -------
    Landmarks
        What is known is not censored.
    """
    given = np.isfinite(log_norm)
    return replace(
        minima,
        x=np.where(given, log_norm, minima.x),
        censored=minima.censored & ~given,
    )


def knees(crossover: Crossover, means: MeanCurves) -> Landmarks:
    """Return the fitted knees, with the averaged curves' heights there.

    Parameters
    ----------
    crossover : Crossover
        Where the knees are.
    means : MeanCurves
        Averages over seeds.

    Returns
    -------
    Landmarks
        One per train size; censored where training stopped before it.
    """
    smoothed = means.x, means.y, means.bandwidth
    height, slope = local_linear(crossover.knee[:, None], *smoothed)
    seen = np.isfinite(height[:, 0])
    weights = np.nan_to_num(smoothing_weights(crossover.knee, *smoothed))
    n_sizes, n_grid = weights.shape
    # A height is moved by the errors around it, and by a knee that slides along.
    own = np.zeros((n_sizes, n_sizes, n_grid))
    own[np.arange(n_sizes), np.arange(n_sizes)] = weights
    around = Influence(own.reshape(n_sizes, -1), np.nan_to_num(means.y).ravel())
    along = np.diag(np.nan_to_num(slope[:, 0])) @ crossover.knee_influence
    return Landmarks(
        crossover.knee,
        height[:, 0],
        crossover.beyond | ~seen,
        kind="knee",
        moved_x=crossover.knee_influence,
        moved_y=around + along,
    )
