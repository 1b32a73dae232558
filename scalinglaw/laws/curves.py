"""Runs as arrays: what a trajectory table is turned into before any fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from .._rows import check_rows
from .._validation import plural, warn_user
from ..exceptions import TrajectoryWarning, ZeroNormWarning
from ..trajectories import as_trajectories
from .counting_noise import CountingNoise

__all__ = [
    "Curves",
    "as_curves",
    "demean",
    "local_linear",
    "padded",
    "prepare",
    "smoothing_weights",
    "thin",
]

# A run whose norm falls back by more than this share of its range is reported.
_FALL = 0.1
# Checkpoints of a run below which intervals are too narrow; share of the usual fall of
# the log error that a run has at least, if training has not failed.
_FEW = 12
_LEARNED_LITTLE = 0.5
# Runs smoothed at once: bounds the memory of local_linear.
_CHUNK = 256


@dataclass(frozen=True)
class Curves:
    """Runs in log axes, ordered by run and, within a run, by epoch.

    Parameters
    ----------
    x, y : array of shape (n,)
        Log norm and log error, natural.
    run : array of int of shape (n,)
        Run of each checkpoint, 0 to n_runs - 1, increasing.
    size_of_run : array of int of shape (n_runs,)
        Position in `train_sizes`.
    train_sizes : array of int of shape (n_sizes,)
        In increasing order.
    last_epoch : array of shape (n_runs,)
        Where each run ended.
    n_test : int or None
        Test examples, if all runs have the same number.
    offset : float, default=0
        What was taken off the errors, a fraction, before their logarithms.
    """

    x: np.ndarray
    y: np.ndarray
    run: np.ndarray
    size_of_run: np.ndarray
    train_sizes: np.ndarray
    last_epoch: np.ndarray
    n_test: int | None = None
    offset: float = 0.0

    @property
    def counting_noise(self) -> CountingNoise | None:
        """What the errors owe to one test set, if they share one."""
        return None if self.n_test is None else CountingNoise(self.n_test, self.offset)

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

    def runs_of(self, size: int) -> np.ndarray:
        """Return the runs of one train size."""
        return np.flatnonzero(self.size_of_run == size)

    def bounds(self) -> np.ndarray:
        """Return the first row of each run, and the number of rows."""
        return np.searchsorted(self.run, np.arange(self.n_runs + 1))


def prepare(source: Any, norm: str, metric: str) -> pd.DataFrame:
    """Return the rows that laws are fitted to, sorted, checked and in logs.

    Parameters
    ----------
    source : DataFrame, fitted estimator, or list of those
        The trajectories, rows in any order.
    norm : str
        Name of the norm.
    metric : str
        Column of the error.

    Returns
    -------
    DataFrame
        ``train_size``, ``seed``, ``epoch``, ``log_norm``, ``error`` (the metric),
        ``log_error``, and ``n_test`` and ``log_norm_opt`` where present.

    Raises
    ------
    ValueError
        If the table breaks a rule, mixes models, or has too few runs.

    Warns
    -----
    TrajectoryWarning
        If checkpoints had to be left out, a norm falls during training, there are
        few checkpoints, or a run has learned much less than the others of its size.
    ZeroNormWarning
        If a norm is zero.
    """
    table = check_rows(as_trajectories(source), norm=norm, metric=metric, for_laws=True)
    _check_one_model(table)
    # The table is made anew under names of our own, which no norm or metric of the
    # user can take: log_error is a column here, whatever the norm "error" is.
    keys = ("train_size", "seed", "epoch")
    prepared = {name: table[name] for name in keys}
    prepared.update(log_norm=table[f"log_{norm}"], error=table[metric])
    # Only errors are counted; of a mean loss the number of examples says nothing.
    known = ("log_norm_opt", "n_test") if metric == "test_error" else ("log_norm_opt",)
    prepared.update({name: table[name] for name in known if name in table})
    table = _drop_zero_norms(pd.DataFrame(prepared), norm)
    table = _drop_stumps(_with_log_error(table, metric))
    _warn_of_falling_norms(table)
    _warn_of_odd_runs(table)
    return table


def as_curves(table: pd.DataFrame) -> Curves:
    """Return the arrays of a prepared table.

    Parameters
    ----------
    table : DataFrame
        From :func:`prepare`.

    Returns
    -------
    Curves
        Its runs.
    """
    run = table.groupby(["train_size", "seed"], sort=True).ngroup().to_numpy()
    first = np.flatnonzero(np.diff(run, prepend=-1))
    train_sizes, size_of_run = np.unique(
        table["train_size"].to_numpy()[first], return_inverse=True
    )
    n_test = None
    if "n_test" in table and table["n_test"].nunique() == 1:
        n_test = int(table["n_test"].iloc[0])
    return Curves(
        x=table["log_norm"].to_numpy(),
        y=table["log_error"].to_numpy(),
        run=run,
        size_of_run=size_of_run,
        train_sizes=train_sizes,
        last_epoch=table["epoch"].to_numpy()[np.append(first[1:], len(run)) - 1],
        n_test=n_test,
    )


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


def smoothing_weights(
    at: np.ndarray, x: np.ndarray, y: np.ndarray, bandwidth: float
) -> np.ndarray:
    """Return the weights with which :func:`local_linear` averages heights.

    Parameters
    ----------
    at : array of shape (n_curves,)
        Where each curve is evaluated.
    x, y, bandwidth : array of shape (n_curves, n), float
        As in :func:`local_linear`.

    Returns
    -------
    array of shape (n_curves, n)
        The smoothed height is ``sum(weights * y)``; NaN where it is not determined.
    """
    weights = np.empty(x.shape)
    for curve, here in enumerate(at):
        unit_heights = np.where(np.isnan(y[curve]), np.nan, np.eye(x.shape[1]))
        every = np.broadcast_to(x[curve], unit_heights.shape)
        place = np.full((len(every), 1), here)
        weights[curve] = local_linear(place, every, unit_heights, bandwidth)[0][:, 0]
    return weights


def padded(curves: Curves) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y as arrays of shape (n_runs, longest), padded by NaN."""
    bounds = curves.bounds()
    position = np.arange(len(curves.x)) - bounds[:-1][curves.run]
    shape = (curves.n_runs, int(np.diff(bounds).max()))
    x, y = np.full(shape, np.nan), np.full(shape, np.nan)
    x[curves.run, position] = curves.x
    y[curves.run, position] = curves.y
    return x, y


def _check_one_model(table: pd.DataFrame) -> None:
    if "model" in table and table["model"].nunique() > 1:
        names = ", ".join(map(str, table["model"].unique()[:5]))
        raise ValueError(
            f"trajectories mixes {table['model'].nunique()} models ({names}): their "
            "laws differ. Fit one model at a time, or pass the table to "
            "compare_exponents."
        )


def _drop_zero_norms(table: pd.DataFrame, norm: str) -> pd.DataFrame:
    zero = np.isneginf(table["log_norm"].to_numpy())
    if not zero.any():
        return table
    if zero.all():
        raise ValueError(
            f"log_{norm} is minus infinity at every checkpoint: a layer stays at "
            "zero. Initialise all layers with non-zero weights."
        )
    warn_user(
        f"{plural(int(zero.sum()), 'checkpoint')} with log_{norm} of minus infinity "
        "left out: a layer of zeros makes the norm vanish there.",
        ZeroNormWarning,
    )
    return table[~zero].reset_index(drop=True)


def _with_log_error(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Add ``log_error``; an error of zero counts as half an example."""
    error = table["error"].to_numpy()
    if (error < 0).any():
        raise ValueError(
            f"{metric} must not be negative: its logarithm is fitted, got "
            f"{error.min():g}."
        )
    zero = error == 0
    if zero.all():
        raise ValueError(f"{metric} is 0 at every checkpoint: there is nothing to fit.")
    if zero.any() and "n_test" in table and metric == "test_error":
        error = np.where(zero, 0.5 / (table["n_test"].to_numpy() + 1), error)
    elif zero.any():
        text = (
            f"{plural(int(zero.sum()), 'checkpoint')} with {metric} 0 left out, "
            "which flattens the optimum."
        )
        if metric == "test_error":
            text += (
                " Record n_test, the number of test examples, and they count as half "
                "an error."
            )
        warn_user(text, TrajectoryWarning)
        table, error = table[~zero].reset_index(drop=True), error[~zero]
    return table.assign(log_error=np.log(error))


def _drop_stumps(table: pd.DataFrame) -> pd.DataFrame:
    """Leave out runs of which a single checkpoint is left."""
    count = table.groupby(["train_size", "seed"])["epoch"].transform("size")
    stump = count.to_numpy() < 2
    if not stump.any():
        return table
    if stump.all():
        raise ValueError(
            "every run has a single checkpoint left whose norm and error are not zero: "
            "there is nothing to fit."
        )
    warn_user(
        f"{plural(int(stump.sum()), 'run')} left out, of which a single checkpoint has "
        "a norm and an error that are not zero.",
        TrajectoryWarning,
    )
    return table[~stump].reset_index(drop=True)


def _warn_of_odd_runs(table: pd.DataFrame) -> None:
    """Warn of few checkpoints, and of runs that learned much less than the others."""
    run = table.groupby(["train_size", "seed"])
    typical = float(run.size().median())
    if typical < _FEW:
        warn_user(
            f"the runs have {typical:g} checkpoints (median): with fewer than {_FEW} "
            "the law is rejected too often. Record more.",
            TrajectoryWarning,
        )
    fall = run["log_error"].max() - run["log_error"].min()
    length = run["epoch"].max()
    sizes = fall.index.get_level_values("train_size")
    usual, lasting = (v.groupby(sizes).transform("median") for v in (fall, length))
    # A shorter run is told of elsewhere.
    odd = (fall < _LEARNED_LITTLE * usual) & (length >= lasting)
    odd &= fall.groupby(sizes).transform("size") >= 3
    if odd.any():
        size, seed = odd.index[odd][0]
        warn_user(
            f"the error of {plural(int(odd.sum()), 'run')} falls by less than half of "
            f"what is usual at its train size, first (train_size={size}, seed={seed}): "
            "if training has failed there, drop it.",
            TrajectoryWarning,
        )


def _warn_of_falling_norms(table: pd.DataFrame) -> None:
    groups = table.groupby(["train_size", "seed"])["log_norm"]
    step = groups.diff()
    keys = [table["train_size"], table["seed"]]
    fall = (-step.clip(upper=0)).groupby(keys).sum()
    span = groups.max() - groups.min()
    many = int((fall > _FALL * span).sum())
    if many:
        warn_user(
            f"the norm falls during training in {many} of {plural(len(span), 'run')}, "
            "as weight decay makes it do: a law in the norm may not describe "
            "them.",
            TrajectoryWarning,
        )
