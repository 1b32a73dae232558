"""Where each run's test error is lowest, by a smoothed minimum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .curves import Curves, local_linear, padded, thin
from .window import MeanCurves

__all__ = ["Landmarks", "average_minima", "raw_minima", "smoothed_minima"]

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
    """

    x: np.ndarray
    y: np.ndarray
    censored: np.ndarray
    kind: str = "minimum"


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
    bandwidth = max(_BANDWIDTH / means.decay, means.bandwidth)
    value, _ = local_linear(x, x, y, bandwidth)
    # Where no neighbour is within reach the checkpoint speaks for itself.
    value = np.where(np.isnan(value), y, value)
    filled = np.where(np.isnan(value), np.inf, value)
    best = np.argmin(filled, axis=1)
    rows = np.arange(len(best))
    last = (~np.isnan(y)).sum(axis=1) - 1
    return Landmarks(x[rows, best], value[rows, best], best == last)


def average_minima(curves: Curves, optima: Landmarks) -> Landmarks:
    """Average the optima over the seeds of each train size, in logs.

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
    size, n = curves.size_of_run, curves.n_sizes
    count = np.bincount(size, minlength=n)
    return Landmarks(
        np.bincount(size, optima.x, n) / count,
        np.bincount(size, optima.y, n) / count,
        np.bincount(size, optima.censored, n) > count / 2,
    )
