"""From a user's table to the rows that laws are fitted to, and what is left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from .._rows import check_rows
from .._validation import plural
from ..trajectories import as_trajectories
from ._curves import Curves
from ._remarks import Remark, of_data, of_zero_norms

__all__ = ["Prepared", "prepare"]

_RUN = ["train_size", "seed"]
# A run whose norm falls back by more than this share of its range is reported, and one
# that begins with a fall of more than the smaller share starts where it ends.
_FALL, _FIRST_FALL = 0.1, 0.02
# Checkpoints of a run below which intervals are too narrow; share of the usual fall of
# the log error that a run has at least, if training has not failed.
_FEW = 12
_LEARNED_LITTLE = 0.5
# A checkpoint that departs from the median of its five neighbours by so many standard
# deviations of the noise, and by so much of the log error, is a spike.
_SPIKE, _SMALLEST_SPIKE = 6.0, 0.1
# Of fewer checkpoints, a sharp turn of the curve looks like one.
_ENOUGH_FOR_SPIKES = 20
# A test set is not recognised beyond this number of examples, nor from fewer errors.
_LARGEST_TEST_SET = 1_000_000
_ERRORS_TO_GUESS_FROM = 20


@dataclass(frozen=True)
class Prepared:
    """Rows that laws are fitted to.

    Parameters
    ----------
    table : DataFrame
        ``train_size``, ``seed``, ``epoch``, ``log_norm``, ``error`` (the metric),
        ``log_error``, and ``n_test`` and ``log_norm_opt`` where present.
    remarks : tuple of Remark
        What was left out, or is unusual.
    doubts : tuple of str
        What speaks against any law in the norm.
    """

    table: pd.DataFrame
    remarks: tuple[Remark, ...]
    doubts: tuple[str, ...]

    @property
    def known_optima(self) -> np.ndarray | None:
        """Log norm of an optimum known from elsewhere, one per train size."""
        if "log_norm_opt" not in self.table or self.table["log_norm_opt"].isna().all():
            return None
        return self.table.groupby("train_size")["log_norm_opt"].first().to_numpy()

    def curves(self) -> Curves:
        """Return the rows as arrays."""
        table = self.table
        run = table.groupby(_RUN, sort=True).ngroup().to_numpy()
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
            epoch=table["epoch"].to_numpy(float),
            run=run,
            size_of_run=size_of_run,
            train_sizes=train_sizes,
            n_test=n_test,
        )


def prepare(
    source: Any,
    norm: str,
    metric: str,
    min_train_size: float = 0.0,
    *,
    robust: bool = True,
) -> Prepared:
    """Return the rows that laws are fitted to, sorted, checked and in logs.

    Parameters
    ----------
    source : DataFrame, fitted estimator, or list of those
        The trajectories, rows in any order.
    norm : str
        Name of the norm.
    metric : str
        Column of the error.
    min_train_size : float, default=0
        Smaller train sizes are left out.
    robust : bool, default=True
        Leave out what is no part of a law: norms that fall at first, runs that failed,
        spikes.

    Returns
    -------
    Prepared
        The rows, and what must be known of them.

    Raises
    ------
    ValueError
        If the table breaks a rule, mixes models, or has too few runs.
    """
    table = check_rows(as_trajectories(source), norm=norm, metric=metric, for_laws=True)
    _check_one_model(table)
    table = table[table["train_size"] >= min_train_size].reset_index(drop=True)
    if table.empty:
        raise ValueError(
            f"min_train_size={min_train_size:g} leaves no train size of the table."
        )
    remarks: list[Remark] = []
    say = remarks.append
    # The table is made anew under names of our own, which no norm or metric of the
    # user can take: log_error is a column here, whatever the norm "error" is.
    rows = {name: table[name] for name in (*_RUN, "epoch")}
    rows.update(log_norm=table[f"log_{norm}"], error=table[metric])
    # Only errors are counted; of a mean loss the number of examples says nothing.
    known = ("log_norm_opt", "n_test") if metric == "test_error" else ("log_norm_opt",)
    rows.update({name: table[name] for name in known if name in table})
    table = _drop_zero_norms(pd.DataFrame(rows), norm, say)
    if metric == "test_error":
        table = _with_test_set(table, say)
    table = _drop_stumps(_with_log_error(table, metric, say), say)
    if robust:
        table = _until_largest_norm(_from_smallest_norm(table, say), say)
        table = _drop_failed_runs(table, say)
        table = _drop_spikes(table, say)
    _remark_on_few(table, say)
    doubts = _doubts_about_norms(table, say)
    return Prepared(table, tuple(remarks), doubts)


Say = Callable[[Remark], None]


def _check_one_model(table: pd.DataFrame) -> None:
    if "model" in table and table["model"].nunique() > 1:
        names = ", ".join(map(str, table["model"].unique()[:5]))
        raise ValueError(
            f"trajectories mixes {table['model'].nunique()} models ({names}): their "
            "laws differ. Fit one model at a time, or pass the table to "
            "compare_exponents."
        )


def _run_of(table: pd.DataFrame) -> np.ndarray:
    """Return the number of each row's run, of a sorted table."""
    keys = table[_RUN].to_numpy()
    return np.cumsum(np.any(np.diff(keys, axis=0, prepend=keys[:1]) != 0, axis=1))


def _drop_zero_norms(table: pd.DataFrame, norm: str, say: Say) -> pd.DataFrame:
    zero = np.isneginf(table["log_norm"].to_numpy())
    if not zero.any():
        return table
    if zero.all():
        raise ValueError(
            f"log_{norm} is minus infinity at every checkpoint: a layer stays at "
            "zero. Initialise all layers with non-zero weights."
        )
    say(
        of_zero_norms(
            f"{plural(int(zero.sum()), 'checkpoint')} with log_{norm} of minus "
            "infinity left out: a layer of zeros makes the norm vanish there."
        )
    )
    return table[~zero].reset_index(drop=True)


def _with_log_error(table: pd.DataFrame, metric: str, say: Say) -> pd.DataFrame:
    """Add ``log_error``, of counted errors without the bias of small counts."""
    error = table["error"].to_numpy()
    if (error < 0).any():
        raise ValueError(
            f"{metric} must not be negative: its logarithm is fitted, got "
            f"{error.min():g}."
        )
    zero = error == 0
    if zero.all():
        raise ValueError(f"{metric} is 0 at every checkpoint: there is nothing to fit.")
    if "n_test" in table:
        # The logarithm of a count of mean m is too small by 1/2m on average; that of
        # the count and a half is not, up to 1/m^2, and an error of zero has one too.
        n_test = table["n_test"].to_numpy(float)
        error = (error * n_test + 0.5) / (n_test + 1)
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
        say(of_data(text))
        table, error = table[~zero].reset_index(drop=True), error[~zero]
    return table.assign(log_error=np.log(error))


def _drop_stumps(table: pd.DataFrame, say: Say) -> pd.DataFrame:
    """Leave out runs of which a single checkpoint is left."""
    count = table.groupby(_RUN)["epoch"].transform("size")
    stump = count.to_numpy() < 2
    if not stump.any():
        return table
    if stump.all():
        raise ValueError(
            "every run has a single checkpoint left whose norm and error are not zero: "
            "there is nothing to fit."
        )
    say(
        of_data(
            f"{plural(int(stump.sum()), 'run')} left out, of which a single checkpoint "
            "has a norm and an error that are not zero."
        )
    )
    return table[~stump].reset_index(drop=True)


def _from_smallest_norm(table: pd.DataFrame, say: Say) -> pd.DataFrame:
    """Start each run at the minimum of its norm, if the norm falls to it at first."""
    norm = table["log_norm"].to_numpy()
    bounds = np.flatnonzero(np.diff(_run_of(table), prepend=-1, append=-1))
    keep, many = np.ones(len(norm), bool), 0
    for first, end in zip(bounds[:-1], bounds[1:], strict=True):
        run = norm[first:end]
        # What follows the largest norm may fall below the start: weight decay does so.
        lowest = int(np.argmin(run[: int(np.argmax(run)) + 1]))
        if (
            run[0] - run[lowest] > _FIRST_FALL * np.ptp(run)
            and end - first > lowest + 2
        ):
            keep[first : first + lowest] = False
            many += 1
    if not many:
        return table
    say(
        of_data(
            f"the norm falls at first in {many} of {plural(len(bounds) - 1, 'run')}, "
            "as while the learning rate warms up: they are used from the minimum of "
            "their norm on."
        )
    )
    return table[keep].reset_index(drop=True)


def _until_largest_norm(table: pd.DataFrame, say: Say) -> pd.DataFrame:
    """End each run at the maximum of its norm, if the norm only falls back from it."""
    norm = table["log_norm"].to_numpy()
    bounds = np.flatnonzero(np.diff(_run_of(table), prepend=-1, append=-1))
    keep, many = np.ones(len(norm), bool), 0
    for first, end in zip(bounds[:-1], bounds[1:], strict=True):
        run = norm[first:end]
        highest = int(np.argmax(run))
        back = run[highest] - run[highest:].min()
        if back > _FALL * np.ptp(run) and highest >= _FEW:
            keep[first + highest + 1 : end] = False
            many += 1
    if not many:
        return table
    say(
        of_data(
            f"the norm falls back from its maximum in {many} of "
            f"{plural(len(bounds) - 1, 'run')}, as weight decay makes it do: they are "
            "used up to that maximum."
        )
    )
    return table[keep].reset_index(drop=True)


def _drop_failed_runs(table: pd.DataFrame, say: Say) -> pd.DataFrame:
    """Leave out runs that learned much less than the others of their train size."""
    run = table.groupby(_RUN)
    lowest = run["log_error"].min()
    fall = run["log_error"].max() - lowest
    length = run["epoch"].max()
    sizes = fall.index.get_level_values("train_size")

    def typical(values: pd.Series) -> pd.Series:
        return values.groupby(sizes).transform("median")

    above = lowest - typical(lowest)
    spread = 1.4826 * float(above.abs().median())
    odd = fall < _LEARNED_LITTLE * typical(fall)
    odd |= above > np.maximum(0.3 * typical(fall), 8 * spread)
    # A shorter run is told of elsewhere.
    odd &= length >= typical(length)
    odd &= fall.groupby(sizes).transform("size") >= 3
    if not odd.any():
        return table
    names = [f"(train_size={size}, seed={seed})" for size, seed in odd.index[odd]]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    say(
        of_data(
            f"{plural(len(names), 'run')} left out, stuck or diverged: the error falls "
            "by much less than is usual at its train size, in "
            f"{', '.join(names[:5])}{more}."
        )
    )
    return table[~odd.reindex(_keys(table)).to_numpy()].reset_index(drop=True)


def _keys(table: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(table[_RUN])


def _drop_spikes(table: pd.DataFrame, say: Say) -> pd.DataFrame:
    """Leave out checkpoints whose error departs from that of all around them."""
    y, run = table["log_error"].to_numpy(), _run_of(table)
    if len(y) < 5:
        return table
    around = np.repeat(y[:, None], 5, axis=1)
    for column, shift in enumerate((-2, -1, 1, 2)):
        other = np.roll(y, -shift)
        inside = np.roll(run, -shift) == run
        around[inside, column] = other[inside]
    # The median of five keeps steps and slopes, and stands against two spikes in a row.
    gap = y - np.sort(around, axis=1)[:, 2]
    bend = y - 0.5 * (around[:, 1] + around[:, 2])
    noise = 1.4826 * float(np.median(np.abs(bend))) / np.sqrt(1.5)
    variance = np.full(len(y), noise**2)
    if "n_test" in table:
        # Few errors are counted with much noise, however smooth the rest is.
        variance += np.exp(gap - y) / table["n_test"].to_numpy(float)
    # Errors jump up and not down, and no spike of chance is that of most seeds.
    spike = gap > np.maximum(_SPIKE * np.sqrt(variance), _SMALLEST_SPIKE)
    length = np.bincount(run)
    spike &= (length >= _ENOUGH_FOR_SPIKES)[run] & ~_common(table, run, spike)
    if not spike.any():
        return table
    say(
        of_data(
            f"{plural(int(spike.sum()), 'checkpoint')} of {len(y)} left out, whose "
            "error departs by more than six standard deviations of the noise from "
            "those around it."
        )
    )
    return table[~spike].reset_index(drop=True)


def _common(table: pd.DataFrame, run: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return which checkpoints most runs of their train size depart at."""
    first = np.flatnonzero(np.diff(run, prepend=-1))
    place = np.arange(len(run)) - first[run]
    size = np.unique(table["train_size"].to_numpy(), return_inverse=True)[1]
    shape = (size.max() + 1, place.max() + 3)
    count = np.zeros(shape)
    np.add.at(count, (size, place + 1), found)
    near = count[:, :-2] + count[:, 1:-1] + count[:, 2:]
    n_runs = np.bincount(size[first])
    return near[size, place] >= np.maximum(2, n_runs / 2)[size]


def _remark_on_few(table: pd.DataFrame, say: Say) -> None:
    typical = float(table.groupby(_RUN).size().median())
    if typical < _FEW:
        say(
            of_data(
                f"the runs have {typical:g} checkpoints (median): with fewer than "
                f"{_FEW} the law is rejected too often. Record more."
            )
        )


def _with_test_set(table: pd.DataFrame, say: Say) -> pd.DataFrame:
    """Guess the number of test examples, if the table does not tell it."""
    if "n_test" in table:
        return table
    guess = _granularity(table["error"].to_numpy())
    if guess is None:
        say(
            Remark(
                "n_test is not in the table and cannot be told from the errors: the "
                "noise of a test set that runs share is in no interval."
            )
        )
        return table
    say(
        of_data(
            f"n_test is not in the table; all errors are multiples of 1/{guess}, so "
            f"that one test set of {guess:,} examples is assumed, whose noise is in "
            "every interval. Add a column n_test if that is wrong."
        )
    )
    return table.assign(n_test=guess)


def _granularity(errors: np.ndarray) -> int | None:
    """Return the smallest n of which all errors are multiples of 1/n, or None."""
    values = np.unique(errors)
    if len(values) < _ERRORS_TO_GUESS_FROM:
        return None
    common = 1
    for value in values[:: max(1, len(values) // 200)]:
        # Doubles that were divided, and decimals that were rounded, are as close.
        nearest = Fraction(float(value)).limit_denominator(_LARGEST_TEST_SET)
        if abs(float(nearest) - value) > 1e-12:
            return None
        common = int(np.lcm(common, nearest.denominator))
        if common > _LARGEST_TEST_SET:
            return None
    return common


def _doubts_about_norms(table: pd.DataFrame, say: Say) -> tuple[str, ...]:
    """Remark on norms that fall back, and doubt the law where most do."""
    norms = table["log_norm"].to_numpy()
    run = _run_of(table)
    falls = np.bincount(
        run[1:], np.where(np.diff(run) == 0, -np.diff(norms), 0).clip(0)
    )
    groups = table.groupby(_RUN)["log_norm"]
    span = (groups.max() - groups.min()).to_numpy()
    many = int((falls > _FALL * span).sum())
    if not many:
        return ()
    say(
        of_data(
            f"the norm falls during training in {many} of {plural(len(span), 'run')}, "
            "as weight decay makes it do: a law in the norm may not describe them."
        )
    )
    if many <= len(span) / 3:
        return ()
    return ("the norm falls back during training",)
