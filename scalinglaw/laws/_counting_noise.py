r"""Noise of counting errors on a test set: known beforehand, and shared by all runs.

Clustering sees what differs between clusters. What all runs owe to one test set is
common to them and stays out of its sight, but its size follows from the number of
examples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["CountingNoise", "Influence", "unexplained_variance"]


@dataclass(frozen=True)
class Influence:
    """How a few numbers move, to first order, with the log errors they come from.

    Parameters
    ----------
    weights : array of shape (k, n)
        Derivative of each number by each log error.
    log_error : array of shape (n,)
        Natural logarithm of the errors.
    """

    weights: np.ndarray
    log_error: np.ndarray

    @classmethod
    def of_heights(cls, log_error: np.ndarray) -> Influence:
        """Return the influence of log errors on themselves."""
        return cls(np.eye(len(log_error)), log_error)

    def __add__(self, other: Influence) -> Influence:
        """Return the influence on the sums of two lists of numbers."""
        return Influence(
            np.hstack([self.weights, other.weights]),
            np.concatenate([self.log_error, other.log_error]),
        )

    def __rmatmul__(self, matrix: np.ndarray) -> Influence:
        """Return the influence on linear combinations, ``matrix @ numbers``."""
        return Influence(np.atleast_2d(matrix) @ self.weights, self.log_error)

    def __rmul__(self, factor: float) -> Influence:
        """Return the influence on multiples of the numbers."""
        return Influence(factor * self.weights, self.log_error)

    # numpy would take the object for a scalar and multiply element by element.
    __array_ufunc__ = None


@dataclass(frozen=True)
class CountingNoise:
    """Noise that errors counted on one test set share.

    Parameters
    ----------
    n_test : int
        Number of test examples.
    """

    n_test: int

    def covariance(self, influence: Influence) -> np.ndarray:
        r"""Return the covariance of a few numbers.

        If all errors :math:`\epsilon_i` are counted on the same examples, and an
        example that is wrong at one error is wrong at every larger one, then
        :math:`\mathrm{Cov}(\log\epsilon_i, \log\epsilon_j) =
        (1/\max(\epsilon_i, \epsilon_j) - 1)/n`.

        Parameters
        ----------
        influence : Influence
            Of k numbers.

        Returns
        -------
        array of shape (k, k)
            An upper bound for weights that sum to zero when errors are less
            dependent than that.
        """
        log_error, weights = influence.log_error, influence.weights
        order = np.argsort(log_error, kind="stable")
        inverse = np.exp(-np.minimum(log_error[order], 0.0)) - 1.0
        # The common noise of all errors up to the i-th is that of steps between
        # neighbours, independent of one another.
        reached = np.cumsum(weights[:, order], axis=1)
        step = inverse - np.append(inverse[1:], 0.0)
        return (reached * step) @ reached.T / self.n_test


def unexplained_variance(x: np.ndarray, y: np.ndarray, known: np.ndarray) -> float:
    r"""Return the variance of points around a line beyond what is known beforehand.

    The residual sum of squares has the mean :math:`\mathrm{tr}(M\Sigma) +
    (n-2)\sigma^2`, with :math:`M` the residual maker and :math:`\Sigma` the known
    covariance, which leaves an estimate of the rest :math:`\sigma^2`.

    Parameters
    ----------
    x, y : array of shape (n,)
        Points, n > 2.
    known : array of shape (n, n)
        Known part :math:`\Sigma` of the covariance of `y`.

    Returns
    -------
    float
        :math:`\sigma^2`, not negative.
    """
    n = len(x)
    design = np.column_stack([np.ones(n), x - x.mean()])
    maker = np.eye(n) - design @ np.linalg.pinv(design)
    return max(float(y @ maker @ y - np.trace(maker @ known)) / (n - 2), 0.0)
