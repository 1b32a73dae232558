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
data law hold exactly wherever the plateau is out of reach. A transient between plateau
and law, steeper than it, is the same for all train sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats

from .._validation import (
    check_fraction,
    check_integer,
    check_number,
    check_option,
    check_train_sizes,
)

__all__ = ["SCENARIOS", "make_trajectories"]

_STUDENT_DF = 5.0
# Length of a transient, in units of 1/gamma1.
_TRANSIENT = 1 / 3


def _student(u: np.ndarray) -> np.ndarray:
    """Mean of (u - T)+ for T of Student's t: heavy, symmetric tails."""
    t = stats.t(_STUDENT_DF)
    return u * t.cdf(u) + (_STUDENT_DF + u**2) / (_STUDENT_DF - 1) * t.pdf(u)


def _gumbel(u: np.ndarray) -> np.ndarray:
    """Integral of Gumbel's distribution function: abrupt start, slow end."""
    return special.exp1(np.exp(-np.clip(u, -6.0, 500.0)))


def _laplace(u: np.ndarray) -> np.ndarray:
    """Mean of (u - L)+ for L of Laplace: a kink smoothed by exponentials."""
    return np.maximum(u, 0.0) + 0.5 * np.exp(-np.abs(u))


def _quadratic(u: np.ndarray) -> np.ndarray:
    """Mean of (u - V)+ for V uniform: exactly straight outside the crossover."""
    return np.where(u < 2, np.maximum(u + 2, 0.0) ** 2 / 8, u)


# None of them is a hinge that the estimator fits.
_SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "student": _student,
    "gumbel": _gumbel,
    "laplace": _laplace,
    "quadratic": _quadratic,
}

SCENARIOS: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {
        "base": {},
        "slopes": {"slope_sd": 0.05},
        "shocks": {"size_sd": 0.05},
        "cnn": {
            "gamma1": 0.6,
            "knee_width": 0.15,
            "shape": "gumbel",
            "ar_sd": 0.03,
            "n_test": 10_000,
        },
        "tail": {"rise": -0.1, "shape": "laplace"},
        "broad": {"knee_width": 1.2, "plateau_width": 1.2, "stretch": 0.5},
        "budget": {"budget": 0.4},
        "transient": {"transient": 0.7},
    }
)


def make_trajectories(
    *,
    gamma1: float = 0.5,
    gamma2: float = 1.0,
    train_sizes: Sequence[int] = (250, 500, 1000, 2000, 4000, 8000),
    n_seeds: int = 5,
    n_records: int = 50,
    norm: str = "spectral_complexity",
    norm_scale: float = 1.0,
    log_norm_init: float = 3.0,
    stretch: float = 3.5,
    shape: str = "student",
    plateau_width: float = 0.12,
    knee_width: float = 0.12,
    rise: float = 0.1,
    transient: float = 0.0,
    offset: float = 0.0,
    violation: float = 0.0,
    budget: float | None = None,
    run_sd: float = 0.02,
    size_sd: float = 0.0,
    slope_sd: float = 0.0,
    knee_sd: float = 0.02,
    ar_sd: float = 0.02,
    ar_coef: float = 0.8,
    n_test: int | None = None,
    shared_test_set: bool = True,
    random_state: int | np.random.Generator | None = None,
) -> pd.DataFrame:
    r"""Simulate trajectories with known exponents.

    Widths and standard deviations along x are in units of :math:`1/\gamma_1`, the
    distance over which the error falls by a factor e, so that a change of
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
    log_norm_init : float
        Log norm at epoch 0, before `norm_scale`.
    stretch : float
        Length of the early law of the smallest train size.
    shape : {"student", "gumbel", "laplace", "quadratic"}
        Shape of both crossovers.
    plateau_width, knee_width : float
        Widths of the crossovers from the plateau to the law and at the knee.
    rise : float
        Slope :math:`\rho/\gamma_1` beyond the knee: positive for overfitting,
        negative for a slow tail without a minimum.
    transient : float
        What the error loses, in e-folds, in a stretch before the law that is
        steeper than it: the slope there is :math:`(1 + 3\,t)\,\gamma_1` over a
        third of :math:`1/\gamma_1`, :math:`t` this parameter.
    offset : float
        Error :math:`q_1` added to the law, a fraction.
    violation : float
        Relative violation of the law: the early curves of the train sizes are
        shifted so that ``gamma_measured = (1 + violation) * gamma1 * gamma2``.
    budget : float or None
        Fixed training budget: every run ends at the same log norm, that
        fraction of the way from the first to the last knee.
    run_sd, size_sd : float
        Standard deviation of log error shared by a run, and by a train size.
    slope_sd : float
        Relative standard deviation of :math:`\gamma_1` between runs.
    knee_sd : float
        Standard deviation of a run's knee.
    ar_sd, ar_coef : float
        Standard deviation and autocorrelation of the noise between checkpoints.
    n_test : int or None
        Size of the test set, for binomial noise; None for none of it. A test
        example is wrong while the error is above its difficulty, so that the
        noise of consecutive checkpoints is dependent, as in reality.
    shared_test_set : bool
        Whether all runs are tested on the same examples.
    random_state : int, Generator or None
        Source of the noise.

    Returns
    -------
    DataFrame
        A trajectory table; ``.attrs["truth"]`` has the true ``gamma1``,
        ``gamma2``, ``gamma_predicted`` and ``gamma_measured``.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of another kind or out of its range.

    Notes
    -----
    ``SCENARIOS`` names sets of parameters: ``base``, ``slopes`` (slopes differ by
    run), ``shocks`` (by train size), ``cnn`` (asymmetric knee, binomial noise),
    ``tail`` (no rise after the knee), ``broad`` (no clean power law), ``budget``
    (training stops too soon) and ``transient`` (a steeper stretch before the law).

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
        ("transient", transient),
        ("offset", offset),
        ("run_sd", run_sd),
        ("size_sd", size_sd),
        ("slope_sd", slope_sd),
        ("knee_sd", knee_sd),
        ("ar_sd", ar_sd),
    ):
        check_number(value, name, minimum=0.0, strict=False)
    for name, value in (
        ("log_norm_init", log_norm_init),
        ("rise", rise),
        ("violation", violation),
    ):
        check_number(value, name)
    check_number(ar_coef, "ar_coef", minimum=-1.0, maximum=1.0)
    check_option(shape, "shape", tuple(_SHAPES))
    check_integer(n_seeds, "n_seeds")
    check_integer(n_records, "n_records", minimum=2)
    sizes = np.array(check_train_sizes(train_sizes))
    if n_test is not None:
        check_integer(n_test, "n_test")
    if budget is not None:
        check_fraction(budget, "budget")

    rng = np.random.default_rng(random_state)
    hinge = _SHAPES[shape]
    unit = 1.0 / gamma1
    size = np.repeat(np.arange(len(sizes)), n_seeds)
    n_runs = len(size)
    # Where the law starts, where each size leaves it, where its run ends.
    begin = log_norm_init + 4 * unit * plateau_width
    start = begin + unit * _TRANSIENT * (transient > 0)
    growth = gamma2 * np.log(sizes / sizes[0])
    knee = start + unit * stretch / 2 + growth
    last = knee + 1.5 * unit
    if budget is not None:
        last = np.full(len(sizes), knee[0] + budget * (knee[-1] - knee[0]))
    x = np.linspace(0, 1, n_records) * (last - log_norm_init)[size][:, None]
    x += log_norm_init + 0.02 * unit * rng.standard_normal((n_runs, 1))

    slope = gamma1 * (1 + slope_sd * rng.standard_normal(n_runs))
    own_knee = knee[size] + unit * knee_sd * rng.standard_normal(n_runs)

    def soft(distance: np.ndarray, width: float) -> np.ndarray:
        return unit * width * hinge(distance / (unit * width))

    fall = soft(x - begin, plateau_width)
    back = soft(x - own_knee[:, None], knee_width)
    y = np.log(0.9) - slope[:, None] * fall + (slope[:, None] + rise * gamma1) * back
    if transient > 0:
        steep = fall - soft(x - start, plateau_width)
        y -= transient / _TRANSIENT * gamma1 * steep
    y -= violation * gamma1 * growth[size][:, None]
    y += run_sd * rng.standard_normal((n_runs, 1))
    y += size_sd * rng.standard_normal(len(sizes))[size][:, None]
    y += _autoregressive(rng, (n_runs, n_records), ar_sd, ar_coef)
    error = np.clip(np.exp(y) + offset, 0.0, 1.0)
    table = pd.DataFrame(
        {
            "train_size": np.repeat(sizes[size], n_records),
            "seed": np.repeat(np.tile(np.arange(n_seeds), len(sizes)), n_records),
            "epoch": np.tile(np.arange(n_records, dtype=float), n_runs),
            "test_error": error.ravel(),
            f"log_{norm}": norm_scale * x.ravel(),
        }
    )
    if n_test is not None:
        table["test_error"] = _tested(rng, error, n_test, shared_test_set).ravel()
        table["n_test"] = n_test
    table.attrs["truth"] = {
        "gamma1": gamma1 / norm_scale,
        "gamma2": gamma2 * norm_scale,
        "gamma_predicted": gamma1 * gamma2,
        "gamma_measured": gamma1 * gamma2 * (1 + violation),
    }
    return table


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
