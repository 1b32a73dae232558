r"""An error :math:`q` that neither norm nor data remove: is there one, how large.

It flattens the norm law, whose fit gives it with its error, and it flattens the law of
the train size, where it may show first. Both must tell the same: what one of them alone
shows may be a crossover.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize, stats

from ._counting_noise import CountingNoise, Influence
from ._estimates import Estimate, difference
from ._shared import Shared

__all__ = ["Offset", "choose_offset", "offset_of_data_law"]

# Train sizes below which the law of the train size tells nothing of an offset.
_MIN_SIZES = 5
_CONFLICT = 0.001
# Level at which the data law alone shows an offset.
_SURE = 0.95
_MOST = 0.999
# Standard deviation of what may be anything between zero and one.
_LARGEST_ERROR = 12**-0.5
# The data law tells the offset where its error is a smaller share of the norm law's.
_MUCH_BETTER = 0.4


@dataclass(frozen=True)
class Offset:
    """An offset that is taken off the errors, and how well it is known.

    Parameters
    ----------
    value : float
        What is taken off, a fraction or in nats; zero or more.
    found : Estimate
        Offset that the curves show, with its error; it may be negative by chance.
    shared : Shared
        Error of what is taken off, as the laws share it.
    conflict : bool
        Whether norm law and data law show different ones.
    """

    value: float
    found: Estimate
    shared: Shared
    conflict: bool = False

    @classmethod
    def none(cls) -> Offset:
        """Return the offset of laws that take nothing off."""
        return cls(0.0, Estimate.missing(), Shared.missing(0))

    @property
    def std_err(self) -> float:
        """Standard error that all laws owe to the offset; zero if it is not known."""
        std_err = self.shared.estimate.std_err
        return std_err if np.isfinite(std_err) else 0.0


def offset_of_data_law(
    train_sizes: np.ndarray,
    log_error: np.ndarray,
    used: np.ndarray,
    noise: CountingNoise | None = None,
) -> Shared:
    r"""Fit :math:`\log\epsilon = \log(q + c P^{-\gamma})` to one error per train size.

    Parameters
    ----------
    train_sizes : array of shape (n_sizes,)
        Train sizes.
    log_error : array of shape (n_sizes,)
        Natural logarithm of the lowest errors.
    used : array of bool of shape (n_sizes,)
        Train sizes whose lowest error was reached.
    noise : CountingNoise, optional
        Noise of the test set, if all runs share one.

    Returns
    -------
    Shared
        The offset :math:`q`, with n - 3 degrees of freedom; missing for n < 5 or where
        the errors do not fall.
    """
    nothing = Shared.missing(len(train_sizes))
    y = log_error[used]
    if used.sum() < _MIN_SIZES:
        return nothing
    x = np.log(train_sizes[used]) - np.log(train_sizes[used]).mean()
    lowest = float(np.exp(y.min()))

    def curve(p: np.ndarray) -> np.ndarray:
        law = np.exp(p[1] - np.exp(p[2]) * x)
        return np.log(np.maximum(lowest * p[0] + law, 1e-3 * law))

    best = None
    for share in (0.0, 0.5, 0.9):
        left = np.log(np.exp(y) - share * lowest * 0.99)
        slope, height = np.polyfit(x, left, 1)
        if slope >= 0:
            continue
        found = optimize.least_squares(
            lambda p: y - curve(p),
            [share, height, np.log(-slope)],
            bounds=([-5.0, -np.inf, -7.0], [0.999, np.inf, 3.0]),
        )
        if best is None or found.cost < best.cost:
            best = found
    if best is None:
        return nothing
    df = len(x) - 3
    weights = -lowest * np.linalg.pinv(best.jac)
    leverage = np.clip(np.sum(best.jac * np.linalg.pinv(best.jac).T, axis=1), 0, 0.99)
    variance = float(weights[0] @ weights[0]) * 2 * best.cost / df
    scores = np.zeros(len(train_sizes))
    scores[used] = weights[0] * best.fun / np.sqrt(1 - leverage)
    # An offset lies between zero and the lowest error, whatever a line would allow.
    variance = min(variance, (_LARGEST_ERROR * lowest) ** 2)
    scores *= np.sqrt(variance / max(scores @ scores, 1e-300))
    estimate = Estimate(lowest * float(best.x[0]), float(np.sqrt(variance)), df)
    moved = Influence(weights[:1], y)
    if noise is not None:
        estimate = estimate.widened(float(noise.covariance(moved)[0, 0]))
    return Shared(estimate, 0.0, "train_size", scores, float(df), moved)


def choose_offset(
    norm_law: Shared, data_law: Shared, lowest: float, *, always: bool
) -> Offset:
    """Return the offset that one law shows and the other does not contradict.

    Parameters
    ----------
    norm_law, data_law : Shared
        What each shows; missing where it tells nothing.
    lowest : float
        Lowest error of all checkpoints.
    always : bool
        Take off any positive estimate; otherwise only one that exceeds its error, since
        a smaller one costs more than it gains. Its error is carried in either case.

    Returns
    -------
    Offset
        With its error.
    """
    known = [e for e in (norm_law, data_law) if np.isfinite(e.estimate.std_err)]
    if not known:
        return Offset.none()
    shared, conflict = known[0], False
    if len(known) == 2:
        of_norm, of_data = (e.estimate for e in known)
        conflict = difference(of_norm, of_data).p_value < _CONFLICT
        # A mean weighted by errors that are known from a handful of train sizes is
        # worse than the better of the two, which is the norm law's but for a reason.
        if of_data.std_err < _MUCH_BETTER * of_norm.std_err:
            shared = data_law
    found = shared.estimate
    needed = 0.0 if always else found.std_err
    if not always and shared is data_law:
        # A handful of train sizes bend for many reasons.
        needed *= float(stats.t.ppf(_SURE, found.df))
    taken = found.estimate if found.estimate > needed else 0.0
    # More than nearly all of the lowest error leaves no logarithm.
    taken = float(np.clip(taken, 0.0, _MOST * lowest))
    if taken == 0 or conflict:
        return Offset(0.0, found, _not_taken(shared), conflict)
    return Offset(taken, found, shared)


def _not_taken(shared: Shared) -> Shared:
    """Return the error of laws that have an offset left on.

    Their numbers do not follow the offset that was found, so that its error is no part
    of their noise. What is left is how much the offset may vary, given that it is not
    negative.
    """
    found = shared.estimate
    ratio = found.estimate / max(found.std_err, 1e-300)
    # Variance of a normal distribution cut off at zero.
    hazard = float(np.exp(stats.norm.logpdf(ratio) - stats.norm.logcdf(ratio)))
    square = found.std_err**2 * max(1 - hazard * (hazard + ratio), 0.0)
    size = len(shared.scores)
    estimate = Estimate(0.0, float(np.sqrt(square)), found.df)
    return replace(Shared.missing(size), estimate=estimate, extra=square)
