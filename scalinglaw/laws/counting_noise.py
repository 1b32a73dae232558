r"""Noise of counting errors on a test set: known beforehand, and shared by all runs.

Clustering sees what differs between clusters. What all runs owe to one test set is
common to them and stays out of its sight, but its size follows from the number of
examples.
"""

from __future__ import annotations

import numpy as np

from .inference import Estimate, satterthwaite

__all__ = ["counting_covariance", "counting_variance", "with_known_noise"]


def counting_variance(weights: np.ndarray, log_error: np.ndarray, n_test: int) -> float:
    r"""Return the variance that one shared test set adds to a linear estimate.

    If all errors :math:`\epsilon_i` are counted on the same examples, and an example
    that is wrong at one error is wrong at every larger one, then
    :math:`\mathrm{Cov}(\log\epsilon_i, \log\epsilon_j) =
    (1/\max(\epsilon_i, \epsilon_j) - 1)/n`.

    Parameters
    ----------
    weights : array of shape (n,)
        The estimate is ``weights @ log_error``.
    log_error : array of shape (n,)
        Natural logarithm of the errors.
    n_test : int
        Number of test examples.

    Returns
    -------
    float
        An upper bound for weights that sum to zero when errors are less
        dependent than that.
    """
    order = np.argsort(log_error, kind="stable")
    weights = weights[order]
    inverse = np.exp(-np.minimum(log_error[order], 0.0)) - 1.0
    before = np.cumsum(weights) - weights
    total = np.sum(inverse * weights * (2 * before + weights))
    return float(max(total, 0.0)) / n_test


def counting_covariance(log_error: np.ndarray, n_test: int) -> np.ndarray:
    r"""Return the covariance that one shared test set gives a few log errors.

    Parameters
    ----------
    log_error : array of shape (n,)
        Natural logarithm of the errors.
    n_test : int
        Number of test examples.

    Returns
    -------
    array of shape (n, n)
        :math:`(1/\max(\epsilon_i, \epsilon_j) - 1)/n`; see :func:`counting_variance`.
    """
    inverse = np.exp(-np.minimum(log_error, 0.0)) - 1.0
    return np.minimum(inverse[:, None], inverse[None, :]) / n_test


def with_known_noise(
    slope: Estimate, x: np.ndarray, y: np.ndarray, known: np.ndarray
) -> Estimate:
    r"""Return a slope with the error of noise that is partly known beforehand.

    The noise of a test set is largest where errors are fewest, at the far end of the
    line, and a handful of residuals cannot tell. Their sum of squares has the mean
    :math:`\mathrm{tr}(M\Sigma) + (n-2)\sigma^2`, with :math:`M` the residual maker and
    :math:`\Sigma` the known covariance, which leaves an estimate of the rest
    :math:`\sigma^2`.

    Parameters
    ----------
    slope : Estimate
        Of a straight line by least squares.
    x, y : array of shape (n,)
        Its points, n > 2.
    known : array of shape (n, n)
        Known part :math:`\Sigma` of the covariance of `y`.

    Returns
    -------
    Estimate
        With variance :math:`w'\Sigma w + \sigma^2/S_{xx}`.
    """
    n = len(x)
    design = np.column_stack([np.ones(n), x - x.mean()])
    maker = np.eye(n) - design @ np.linalg.pinv(design)
    rest = max((y @ maker @ y - np.trace(maker @ known)) / (n - 2), 0.0)
    total = design[:, 1] @ design[:, 1]
    weights = design[:, 1] / total
    variances = np.array([weights @ known @ weights, rest / total])
    df = satterthwaite(variances, np.array([np.inf, n - 2.0]))
    return Estimate(slope.estimate, float(np.sqrt(variances.sum())), df)
