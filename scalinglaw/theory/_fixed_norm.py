"""The logistic perceptron at fixed norm, and the norm that is best."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._validation import check_range
from ._constants import ALPHA_RANGE, check_points
from ._numerics import find_roots, scalar
from ._saddle import saddle_points, slope_in_norm

__all__ = ["generalization_error", "local_slope", "optimal_error", "optimal_norm"]


def generalization_error(alpha: Any, norm: Any) -> Any:
    r"""Return the error of the logistic perceptron at fixed norm.

    Parameters
    ----------
    alpha : float or array
        Load P/N, from 0.1 to 1e6.
    norm : float or array
        :math:`\lambda = \|w\|/\sqrt N`, from 1e-3 to 1e6; broadcast against `alpha`.

    Returns
    -------
    float or ndarray
        Generalisation error, a fraction; relative accuracy 1e-9.

    Raises
    ------
    TypeError, ValueError
        If an argument is no number, or out of its range.

    Examples
    --------
    >>> from scalinglaw import theory
    >>> print(f"{theory.generalization_error(10.0, 1.0):.6f}")
    0.070975
    """
    alpha, norm = check_points(alpha, norm)
    log_tan, _ = saddle_points(alpha.ravel(), norm.ravel())
    return scalar((np.arctan(np.exp(log_tan)) / np.pi).reshape(alpha.shape))


def local_slope(alpha: Any, norm: Any) -> Any:
    r"""Return how fast the error falls with the norm: gamma1 at a finite load.

    Taken from the equations' derivatives, not from differences.

    Parameters
    ----------
    alpha : float or array
        Load P/N, from 0.1 to 1e6.
    norm : float or array
        :math:`\lambda`, from 1e-3 to 1e6; broadcast against `alpha`.

    Returns
    -------
    float or ndarray
        :math:`-d\log\epsilon/d\log\lambda`, positive below the optimum. It nears
        one half where :math:`1 \ll \lambda \ll \alpha`.

    Raises
    ------
    TypeError, ValueError
        If an argument is no number, or out of its range.

    Examples
    --------
    >>> from scalinglaw import theory
    >>> print(f"{theory.local_slope(1e6, 1e2):.3f}")
    0.500
    """
    alpha, norm = check_points(alpha, norm)
    flat = norm.ravel()
    log_tan, log_step = saddle_points(alpha.ravel(), flat)
    tan = np.exp(log_tan)
    by_tan = tan / (1 + tan**2) / np.arctan(tan)
    slope = -by_tan * slope_in_norm(flat, log_tan, log_step)
    return scalar(slope.reshape(alpha.shape))


def optimal_norm(alpha: Any) -> Any:
    r"""Return the norm at which the error is lowest.

    The root of :math:`d\epsilon/d\log\lambda`, taken from the equations' derivatives,
    as the minimum itself is too flat to find it by.

    Parameters
    ----------
    alpha : float or array
        Load P/N, from 0.1 to 1e6.

    Returns
    -------
    float or ndarray
        :math:`\lambda_\mathrm{opt}`, relative accuracy 1e-6.

    Raises
    ------
    TypeError, ValueError
        If a load is no number, or out of its range.
    """
    alpha = check_range(alpha, "alpha", *ALPHA_RANGE)
    shape, alpha = alpha.shape, alpha.ravel()
    low = np.log(0.3 * alpha + 0.02)
    high = np.log(3.0 * alpha + 3.0)
    start: tuple[np.ndarray, np.ndarray] | None = None

    def slope(log_norm: np.ndarray) -> np.ndarray:
        nonlocal start
        norm = np.exp(log_norm)
        start = log_tan, log_step = saddle_points(alpha, norm, start)
        return slope_in_norm(norm, log_tan, log_step)

    log_norm = find_roots(slope, low, high, tolerance=1e-10)
    return scalar(np.exp(log_norm).reshape(shape))


def optimal_error(alpha: Any) -> Any:
    r"""Return the lowest error over all norms.

    Parameters
    ----------
    alpha : float or array
        Load P/N, from 0.1 to 1e6.

    Returns
    -------
    float or ndarray
        :math:`\epsilon(\alpha, \lambda_\mathrm{opt})`; for large loads 6.29e-4
        (relative) above Bayes.

    Raises
    ------
    TypeError, ValueError
        If a load is no number, or out of its range.
    """
    return generalization_error(alpha, optimal_norm(alpha))
