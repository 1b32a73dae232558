"""Runs as arrays: what a trajectory table is turned into before any fit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ._counting_noise import CountingNoise

__all__ = [
    "Curves",
    "demean",
    "local_linear",
    "padded",
    "thin",
]

# Runs smoothed at once: bounds the memory of local_linear.
_CHUNK = 256


@dataclass(frozen=True)
class Curves:
    """Runs in log axes, ordered by run and, within a run, by epoch.

    Parameters
    ----------
    x, y : array of shape (n,)
        Log norm and log error, natural.
    epoch : array of shape (n,)
        Epoch of each checkpoint.
    run : array of int of shape (n,)
        Run of each checkpoint, 0 to n_runs - 1, increasing.
    size_of_run : array of int of shape (n_runs,)
        Position in `train_sizes`.
    train_sizes : array of int of shape (n_sizes,)
        In increasing order.
    n_test : int or None
        Test examples, if all runs have the same number.
    offset : float, default=0
        What was taken off the errors, a fraction, before their logarithms.
    """

    x: np.ndarray
    y: np.ndarray
    epoch: np.ndarray
    run: np.ndarray
    size_of_run: np.ndarray
    train_sizes: np.ndarray
    n_test: int | None = None
    offset: float = 0.0

    @property
    def counting_noise(self) -> CountingNoise | None:
        """What the errors owe to one test set, if they share one."""
        return None if self.n_test is None else CountingNoise(self.n_test)

    def less(self, offset: float) -> Curves:
        """Return the curves with more taken off the errors, a fraction."""
        if offset == 0:
            return self
        left = np.log(np.exp(self.y) - offset)
        return replace(self, y=left, offset=self.offset + offset)

    @property
    def size(self) -> np.ndarray:
        """Position in `train_sizes` of each checkpoint's train size."""
        return self.size_of_run[self.run]

    @property
    def n_runs(self) -> int:
        """Number of runs."""
        return len(self.size_of_run)

    @property
    def n_sizes(self) -> int:
        """Number of train sizes."""
        return len(self.train_sizes)

    @property
    def last_epoch(self) -> np.ndarray:
        """Where each run ended."""
        return self.epoch[self.bounds()[1:] - 1]

    def runs_of(self, size: int) -> np.ndarray:
        """Return the runs of one train size."""
        return np.flatnonzero(self.size_of_run == size)

    def bounds(self) -> np.ndarray:
        """Return the first row of each run, and the number of rows."""
        return np.searchsorted(self.run, np.arange(self.n_runs + 1))


def thin(curves: Curves, n_points: int) -> Curves:
    """Average blocks of consecutive checkpoints, for at most `n_points` a run.

    Parameters
    ----------
    curves : Curves
        Any number of checkpoints a run.
    n_points : int
        At most so many are left; runs that have no more are untouched.

    Returns
    -------
    Curves
        Geometric means of norms and errors.
    """
    bounds = curves.bounds()
    length = np.diff(bounds)
    if length.max() <= n_points:
        return curves
    block = np.arange(len(curves.x)) - bounds[:-1][curves.run]
    for run in np.flatnonzero(length > n_points):
        rows = slice(bounds[run], bounds[run + 1])
        block[rows] = _blocks(curves.x[rows], n_points)
    used, label = np.unique(n_points * curves.run + block, return_inverse=True)
    count = np.bincount(label)
    return replace(
        curves,
        x=np.bincount(label, curves.x) / count,
        y=np.bincount(label, curves.y) / count,
        epoch=np.bincount(label, curves.epoch) / count,
        run=used // n_points,
    )


def _blocks(x: np.ndarray, n_blocks: int) -> np.ndarray:
    """Return the block of each checkpoint, of equal widths in the largest norm so far.

    Blocks of equal counts would average a whole law away where checkpoints are equally
    spaced in epochs: the norm grows most at first.
    """
    reach = np.maximum.accumulate(x)
    if reach[-1] == reach[0]:
        return np.arange(len(x)) * n_blocks // len(x)
    share = (reach - reach[0]) / (reach[-1] - reach[0])
    return np.minimum((share * n_blocks).astype(int), n_blocks - 1)


def demean(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Take the mean of its group from each value.

    Parameters
    ----------
    values : array of shape (n,) or (n, k)
        What to demean.
    groups : array of int of shape (n,)
        Group of each row; numbers may be missing.

    Returns
    -------
    array
        Of the shape of `values`.
    """
    count = np.maximum(np.bincount(groups), 1)
    if values.ndim == 1:
        return values - (np.bincount(groups, values) / count)[groups]
    return np.column_stack([demean(column, groups) for column in values.T])


def local_linear(
    at: np.ndarray, x: np.ndarray, y: np.ndarray, bandwidth: float
) -> tuple[np.ndarray, np.ndarray]:
    r"""Smooth curves by local straight lines with Gaussian weights.

    Parameters
    ----------
    at : array of shape (n_curves, m)
        Where to evaluate.
    x, y : array of shape (n_curves, n)
        Points of each curve; NaN where a curve has fewer.
    bandwidth : float
        Standard deviation of the weights, in the unit of `x`.

    Returns
    -------
    value, slope : array of shape (n_curves, m)
        NaN where the points within reach do not determine them.
    """
    value, slope = np.full(at.shape, np.nan), np.full(at.shape, np.nan)
    for start in range(0, len(at), _CHUNK):
        part = slice(start, start + _CHUNK)
        missing = np.isnan(y[part]) | np.isnan(x[part])
        distance = (x[part, None, :] - at[part, :, None]) / bandwidth
        distance = np.where(missing[:, None, :], np.inf, distance)
        weight = np.exp(-0.5 * distance**2)
        distance = np.where(missing[:, None, :], 0.0, distance)
        height = np.where(missing, 0.0, y[part])[:, None, :]
        s0, s1 = weight.sum(-1), (weight * distance).sum(-1)
        s2 = (weight * distance**2).sum(-1)
        t0 = (weight * height).sum(-1)
        t1 = (weight * distance * height).sum(-1)
        determinant = s0 * s2 - s1**2
        determinant[determinant <= 1e-8 * s0**2] = np.nan
        value[part] = (s2 * t0 - s1 * t1) / determinant
        slope[part] = (s0 * t1 - s1 * t0) / determinant / bandwidth
    return value, slope


def padded(curves: Curves) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y as arrays of shape (n_runs, longest), padded by NaN."""
    bounds = curves.bounds()
    position = np.arange(len(curves.x)) - bounds[:-1][curves.run]
    shape = (curves.n_runs, int(np.diff(bounds).max()))
    x, y = np.full(shape, np.nan), np.full(shape, np.nan)
    x[curves.run, position] = curves.x
    y[curves.run, position] = curves.y
    return x, y
