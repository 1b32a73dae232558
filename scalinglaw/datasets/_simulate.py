r"""Simulated trajectories whose exponents are known.

Every run follows, in :math:`x = \log\lambda` and :math:`y = \log\epsilon`,

.. math::

   y = y_0 - \gamma_1 s(x - x_0) + (\gamma_1 + \rho)\, s(x - x_P),
   \qquad x_P = x_1 + \gamma_2 \log P,

where :math:`s` is a soft hinge (0 far to the left, its argument far to the right)
whose shape is chosen. The error stays on a plateau up to :math:`x_0`, falls with
slope :math:`\gamma_1`, and leaves the law at the knee :math:`x_P`; beyond it, it
rises with slope :math:`\rho`, or falls more slowly if :math:`\rho` is negative.
The optimum lies at a fixed distance from the knee, so that the optimum law and the
data law hold exactly wherever the plateau is out of reach; the parameters that end
in ``_growth`` let what follows the knee depend on :math:`P`, and break them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .._validation import (
    check_fraction,
    check_integer,
    check_number,
    check_option,
    check_train_sizes,
)
from ._curves import SHAPES, Curves

__all__ = ["make_trajectories"]

# Shares of the checkpoints in which the norm falls, at the beginning and at the end.
_WARMUP, _FOLD = 0.12, 0.25


def make_trajectories(
    *,
    gamma1: float = 0.5,
    gamma2: float = 1.0,
    train_sizes: Sequence[int] = (250, 500, 1000, 2000, 4000, 8000),
    n_seeds: int = 5,
    n_records: int = 50,
    norm: str = "spectral_complexity",
    norm_scale: float = 1.0,
    metric: str = "test_error",
    offset: float = 0.0,
    shape: str = "student",
    plateau_length: float = 0.48,
    plateau_width: float = 0.12,
    start_growth: float = 0.0,
    warmup: float = 0.0,
    transient: float = 0.0,
    stretch: float = 1.75,
    curvature: float = 0.0,
    violation: float = 0.0,
    knee_width: float = 0.12,
    tail: float = 0.0,
    tail_growth: float = 0.0,
    rise: float = 0.1,
    rise_growth: float = 0.0,
    end_growth: float = 0.0,
    budget: float | None = None,
    lr_drop: float = 0.0,
    peak: float = 0.0,
    fold_back: float = 0.0,
    run_sd: float = 0.02,
    size_sd: float = 0.0,
    slope_sd: float = 0.0,
    knee_sd: float = 0.02,
    ar_sd: float = 0.02,
    ar_coef: float = 0.8,
    spikes: float = 0.0,
    failed_seeds: int = 0,
    n_test: int | None = None,
    test_set: str = "shared",
    random_state: int | np.random.Generator | None = None,
) -> pd.DataFrame:
    r"""Simulate trajectories with known exponents.

    Lengths, widths and standard deviations along x are in units of :math:`1/\gamma_1`,
    the distance over which the error falls by a factor e, so that a change of
    `gamma1` changes the units of the norm and not the difficulty of the fit.

    Parameters
    ----------
    gamma1, gamma2 : float
        Exponents of the norm law (decay) and of the optimum law (growth).
    train_sizes : sequence of int
        Train sizes :math:`P`.
    n_seeds : int
        Runs of each train size.
    n_records : int
        Checkpoints of each run, evenly spaced in the log norm.
    norm : str
        Name of the norm: the column is ``log_<norm>``.
    norm_scale : float
        Multiplies every log norm, which divides :math:`\gamma_1` and multiplies
        :math:`\gamma_2`; 20 or so gives the norms of a vision transformer.
    metric : {"test_error", "test_loss"}
        Column of the error: a fraction that starts at 0.9, or a loss that starts at
        3 nats above its `offset`.
    offset : float
        Error :math:`q_1` added to the law: a fraction, or the entropy of the data in
        nats.
    shape : {"student", "gumbel", "laplace", "quadratic"}
        Shape of all crossovers.
    plateau_length : float
        Distance from the first checkpoint of the smallest train size to the end of
        the plateau, negative for runs that start within the law.
    plateau_width : float
        Width of the crossover from the plateau to the law.
    start_growth : float
        How much further the runs of larger train sizes start, as a fraction of how
        much further their knees are.
    warmup : float
        How far the norm falls, in the first eighth of the checkpoints, before it
        grows.
    transient : float
        What the error loses, in e-folds, in a stretch before the law that is
        steeper than it: the slope there is :math:`(1 + 3\,t)\,\gamma_1` over a
        third of :math:`1/\gamma_1`, :math:`t` this parameter.
    stretch : float
        Length of the early law of the smallest train size, in e-folds of its error.
    curvature : float
        Relative change of the slope over one unit of the early curve; no power law
        is there unless it is 0.
    violation : float
        Relative violation of the law: the early curves of the train sizes are
        shifted so that ``gamma_measured = (1 + violation) * gamma1 * gamma2``.
    knee_width : float
        Width of the crossovers at the knee and at the end of a tail.
    tail, tail_growth : float
        Slope, relative to :math:`\gamma_1`, of a slow fall of length 1.5 between the
        knee and the rise, and its change over an e-fold of train size.
    rise, rise_growth : float
        Slope :math:`\rho/\gamma_1` beyond the knee (positive for overfitting,
        negative for a slow tail without a minimum), and its change over an e-fold of
        train size.
    end_growth : float
        How much longer the runs of larger train sizes go on beyond their knee, as
        a fraction of how much further their knees are.
    budget : float or None
        Fixed training budget: every run ends at the same log norm, that
        fraction of the way from the first to the last knee.
    lr_drop : float
        What the error loses, in e-folds, at a step of the learning rate half a unit
        beyond the knee.
    peak : float
        Height, in e-folds, of a peak of double descent beyond the knee.
    fold_back : float
        How far the norm falls in the last quarter of the checkpoints, the error
        staying what it is, as weight decay makes it.
    run_sd, size_sd : float
        Standard deviation of log error shared by a run, and by a train size.
    slope_sd : float
        Relative standard deviation of :math:`\gamma_1` between runs.
    knee_sd : float
        Standard deviation of a run's knee.
    ar_sd, ar_coef : float
        Standard deviation and autocorrelation of the noise between checkpoints.
    spikes : float
        Share of checkpoints whose error is higher by an e-fold on average.
    failed_seeds : int
        Runs of each train size that never learn or, as often, diverge.
    n_test : int or None
        Size of the test set, for binomial noise; None for none of it. A test
        example is wrong while the error is above its difficulty, so that the
        noise of consecutive checkpoints is dependent, as in reality.
    test_set : {"shared", "unknown", "own"}
        Whether all runs are tested on the same examples and the column ``n_test``
        says so, the same without that column, or each run on examples of its own,
        without that column.
    random_state : int, Generator or None
        Source of the noise.

    Returns
    -------
    DataFrame
        A trajectory table; ``.attrs["truth"]`` has the true ``gamma1``, ``gamma2``
        (of the norm at the lowest error; of the knee where errors fall to the end),
        ``gamma_predicted``, ``gamma_measured`` (of the lowest error, less the offset)
        and ``offset``, and whether the ``law_holds``, to 2 % of its exponent.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of another kind or out of its range.

    Notes
    -----
    ``SCENARIOS`` names sets of parameters; the page of the guide on coverage says
    what each stands for.

    References
    ----------
    .. [1] D'Amico, Bocchi and Negri (2025), arXiv:2505.13230.

    Examples
    --------
    >>> from scalinglaw.datasets import SCENARIOS, make_trajectories
    >>> table = make_trajectories(**SCENARIOS["shocks"], random_state=0)
    >>> table.shape
    (1500, 5)
    >>> table.attrs["truth"]["gamma_predicted"]
    0.5
    """
    for name, value in (
        ("gamma1", gamma1),
        ("gamma2", gamma2),
        ("norm_scale", norm_scale),
        ("plateau_width", plateau_width),
        ("knee_width", knee_width),
        ("stretch", stretch),
    ):
        check_number(value, name, minimum=0.0)
    for name, value in (
        ("offset", offset),
        ("warmup", warmup),
        ("transient", transient),
        ("lr_drop", lr_drop),
        ("peak", peak),
        ("fold_back", fold_back),
        ("run_sd", run_sd),
        ("size_sd", size_sd),
        ("slope_sd", slope_sd),
        ("knee_sd", knee_sd),
        ("ar_sd", ar_sd),
    ):
        check_number(value, name, minimum=0.0, strict=False)
    for name, value in (
        ("plateau_length", plateau_length),
        ("start_growth", start_growth),
        ("curvature", curvature),
        ("violation", violation),
        ("tail", tail),
        ("tail_growth", tail_growth),
        ("rise", rise),
        ("rise_growth", rise_growth),
        ("end_growth", end_growth),
    ):
        check_number(value, name)
    check_number(ar_coef, "ar_coef", minimum=-1.0, maximum=1.0)
    check_number(spikes, "spikes", minimum=0.0, maximum=1.0, strict=False)
    check_option(metric, "metric", ("test_error", "test_loss"))
    check_option(shape, "shape", tuple(SHAPES))
    check_option(test_set, "test_set", ("shared", "unknown", "own"))
    check_integer(n_seeds, "n_seeds")
    check_integer(n_records, "n_records", minimum=2)
    check_integer(failed_seeds, "failed_seeds", minimum=0)
    if failed_seeds >= n_seeds:
        raise ValueError(
            f"failed_seeds must be below n_seeds={n_seeds}, got {failed_seeds}: one "
            "run of each train size has to learn."
        )
    sizes = np.array(check_train_sizes(train_sizes))
    if n_test is not None:
        check_integer(n_test, "n_test")
        if metric == "test_loss":
            raise ValueError(
                f"n_test must be None for metric='test_loss', got {n_test}: only "
                "errors are counted."
            )
    if budget is not None:
        check_fraction(budget, "budget")

    curves = Curves(
        log_ratio=np.log(sizes / sizes[0]),
        gamma1=gamma1,
        gamma2=gamma2,
        shape=shape,
        plateau_length=plateau_length,
        plateau_width=plateau_width,
        start_growth=start_growth,
        transient=transient,
        stretch=stretch,
        curvature=curvature,
        violation=violation,
        knee_width=knee_width,
        tail=tail,
        tail_growth=tail_growth,
        rise=rise,
        rise_growth=rise_growth,
        end_growth=end_growth,
        lr_drop=lr_drop,
        peak=peak,
    )
    unit, knee = curves.unit, curves.knee
    first, last = curves.first, curves.last
    if budget is not None:
        last = np.full(len(sizes), knee[0] + budget * (knee[-1] - knee[0]))
    if np.any(last <= first):
        raise ValueError(
            f"runs of train size {sizes[np.argmax(last <= first)]} would end before "
            "they start. Choose a smaller start_growth or a larger end_growth."
        )

    rng = np.random.default_rng(random_state)
    size = np.repeat(np.arange(len(sizes)), n_seeds)
    n_runs = len(size)
    # The norm's own way: it may fall first, and at the end.
    time = np.linspace(0, 1, n_records)
    early, late = _WARMUP * (warmup > 0), _FOLD * (fold_back > 0)
    grown = np.clip((time - early) / (1 - early - late), 0.0, 1.0)
    x = grown * (last - first)[size][:, None] + first[size][:, None]
    x += 0.02 * unit * rng.standard_normal((n_runs, 1))

    slope = gamma1 * (1 + slope_sd * rng.standard_normal(n_runs))
    own_knee = knee[size] + unit * knee_sd * rng.standard_normal(n_runs)
    height = np.log(0.9 if metric == "test_error" else 3.0)
    y = height + curves.log_error(x, size, slope, own_knee)
    y += run_sd * rng.standard_normal((n_runs, 1))
    y += size_sd * rng.standard_normal(len(sizes))[size][:, None]
    y += _autoregressive(rng, (n_runs, n_records), ar_sd, ar_coef)
    if warmup > 0:
        x = x + warmup * unit * np.clip(1 - time / _WARMUP, 0.0, 1.0)
    if fold_back > 0:
        x = x - fold_back * unit * np.clip((time - 1) / _FOLD + 1, 0.0, 1.0)
    if spikes > 0:
        y += (rng.random(y.shape) < spikes) * rng.exponential(1.0, y.shape)
    for run in np.flatnonzero(np.tile(np.arange(n_seeds), len(sizes)) < failed_seeds):
        _fail(rng, x[run], y[run], height, unit)
    with np.errstate(over="ignore"):
        error = np.exp(y) + offset
    if metric == "test_error":
        error = np.clip(error, 0.0, 1.0)
    table = pd.DataFrame(
        {
            "train_size": np.repeat(sizes[size], n_records),
            "seed": np.repeat(np.tile(np.arange(n_seeds), len(sizes)), n_records),
            "epoch": np.tile(np.arange(n_records, dtype=float), n_runs),
            metric: error.ravel(),
            f"log_{norm}": norm_scale * x.ravel(),
        }
    )
    if n_test is not None:
        table[metric] = _tested(rng, error, n_test, test_set != "own").ravel()
        if test_set == "shared":
            table["n_test"] = n_test
    truth = curves.exponents()
    truth["gamma1"] /= norm_scale
    truth["gamma2"] *= norm_scale
    table.attrs["truth"] = truth | {"offset": float(offset)}
    return table


def _fail(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, height: float, unit: float
) -> None:
    """Turn a run, in place, into one that never learns or that diverges."""
    noise = 0.01 * rng.standard_normal(len(y))
    if rng.random() < 0.5:
        x[:] = x[0] + 0.3 * (x - x[0])
        y[:] = height + noise
    else:
        begin = rng.integers(len(y) // 4, 3 * len(y) // 4 + 1)
        x[begin:] += 2 * unit
        y[begin:] = height + noise[begin:]


def _autoregressive(
    rng: np.random.Generator, shape: tuple[int, int], sd: float, coef: float
) -> np.ndarray:
    """Return stationary AR(1) noise along the last axis."""
    noise = rng.standard_normal(shape)
    noise[:, 1:] *= np.sqrt(1 - coef**2)
    for step in range(1, shape[1]):
        noise[:, step] += coef * noise[:, step - 1]
    return sd * noise


def _tested(
    rng: np.random.Generator, error: np.ndarray, n_test: int, shared: bool
) -> np.ndarray:
    """Return the errors counted on test examples of random difficulty."""
    if shared:
        difficulty = np.sort(rng.random(n_test))
        return np.searchsorted(difficulty, error) / n_test
    return np.array(
        [np.searchsorted(np.sort(rng.random(n_test)), run) / n_test for run in error]
    )
