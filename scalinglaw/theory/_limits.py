"""The limits of the perceptron, each from equations of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import log_ndtr, ndtr

from .._validation import check_range
from ._constants import ALPHA_RANGE, check_points
from ._numerics import GAUSS_BREAKS, find_roots, panels, scalar, solve_two
from ._saddle import hebb_start

__all__ = [
    "bayes_error",
    "hebb_error",
    "max_stability_error",
    "square_loss_error",
]


def hebb_error(alpha: Any) -> Any:
    r"""Return the error of Hebb's rule, the limit of vanishing norm.

    Parameters
    ----------
    alpha : float or array
        Load P/N, positive.

    Returns
    -------
    float or ndarray
        :math:`\arctan\sqrt{\pi/(2\alpha)}/\pi`.

    Raises
    ------
    TypeError, ValueError
        If a load is no number, or not positive and finite.
    """
    alpha = check_range(alpha, "alpha", 0.0, np.inf)
    # Neither root overflows, whatever the load.
    return scalar(np.arctan2(np.sqrt(np.pi), np.sqrt(2) * np.sqrt(alpha)) / np.pi)


def square_loss_error(alpha: Any, norm: Any) -> Any:
    r"""Return the error of the square loss at fixed norm: no power law.

    The overlap solves :math:`R^{-2} - 1 = \frac{\pi}{2\alpha}(1 + \lambda^2 -
    2\sqrt{2/\pi}\,\lambda R)`.

    Parameters
    ----------
    alpha, norm : float or array
        Load P/N and norm :math:`\lambda`, broadcast against each other.

    Returns
    -------
    float or ndarray
        Generalisation error, a fraction.

    Raises
    ------
    TypeError, ValueError
        If an argument is no number, or out of its range.
    """
    alpha, norm = check_points(alpha, norm)
    noise = np.pi / (2 * alpha)
    pull = 2 * np.sqrt(2 / np.pi) * norm
    # Convex and falling in R: Newton's method rises to the root from below.
    overlap = 1 / np.sqrt(1 + noise * (1 + norm**2))
    for _ in range(100):
        value = overlap**-2 - 1 - noise * (1 + norm**2 - pull * overlap)
        step = value / (2 * overlap**-3 - noise * pull)
        overlap = overlap + step
        if np.all(np.abs(step) < 1e-15 * overlap):
            break
    tangent = np.sqrt(noise * (1 + norm**2 - pull * overlap))
    return scalar(np.arctan(tangent) / np.pi)


def bayes_error(alpha: Any) -> Any:
    r"""Return the error of the Bayes-optimal student.

    Solves :math:`q = 2\alpha \int D\xi\, \varphi(r\xi)^2 / H(-r\xi)`,
    :math:`r^2 = q/(1-q)`; then :math:`R = \sqrt q`.

    Parameters
    ----------
    alpha : float or array
        Load P/N.

    Returns
    -------
    float or ndarray
        Generalisation error, a fraction.

    Raises
    ------
    TypeError, ValueError
        If a load is no number, or out of its range.
    """
    alpha = check_range(alpha, "alpha", *ALPHA_RANGE)
    shape, alpha = alpha.shape, alpha.ravel()

    def excess(log_r: np.ndarray) -> np.ndarray:
        r = np.exp(log_r)[:, None]
        edges = np.concatenate(
            [np.tile(GAUSS_BREAKS, (len(r), 1)), r * GAUSS_BREAKS], axis=1
        )
        y, weight = panels(np.clip(np.sort(edges, axis=1), -12, 12))
        log_ratio = -(y**2) - np.log(2 * np.pi) - log_ndtr(y)
        gauss = np.exp(-0.5 * (y / r) ** 2) / np.sqrt(2 * np.pi) / r
        integral = np.sum(weight * gauss * np.exp(log_ratio), axis=1)
        return np.log(2 * alpha * integral) + np.log1p(np.exp(-2 * log_r))

    low = np.log(0.05 * np.sqrt(alpha)) - 2.0
    high = np.log(alpha + 1.0) + 3.0
    log_r = find_roots(excess, low, high)
    return scalar((np.arctan(np.exp(-log_r)) / np.pi).reshape(shape))


def max_stability_error(alpha: Any) -> Any:
    r"""Return the error of maximal stability, the limit of infinite norm.

    The proximal step is :math:`v = (\kappa - t)_+` in the same two equations.

    Parameters
    ----------
    alpha : float or array
        Load P/N.

    Returns
    -------
    float or ndarray
        Generalisation error, a fraction.

    Raises
    ------
    TypeError, ValueError
        If a load is no number, or out of its range.
    """
    alpha = check_range(alpha, "alpha", *ALPHA_RANGE)
    shape, alpha = alpha.shape, alpha.ravel()
    log_tan, log_kappa = hebb_start(alpha)

    def residuals(
        log_tan: np.ndarray, log_kappa: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        tan, kappa = np.exp(log_tan)[:, None], np.exp(log_kappa)[:, None]
        sin, cos = tan / np.hypot(1, tan), 1 / np.hypot(1, tan)
        edges = np.concatenate(
            [np.tile(GAUSS_BREAKS, (len(tan), 1)), tan * GAUSS_BREAKS, kappa], axis=1
        )
        t, weight = panels(np.minimum(np.sort(edges, axis=1), kappa))
        gauss = np.exp(-0.5 * t**2) / np.sqrt(2 * np.pi)
        first = np.sum(weight * gauss * ndtr(t / tan) * (kappa - t) ** 2, axis=1)
        z = kappa / sin
        second = kappa * ndtr(z) + sin * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
        return (
            np.log(2 * alpha * first) - 2 * np.log(sin[:, 0]),
            np.log(alpha * np.sqrt(2 / np.pi) * second[:, 0]) - np.log(cos[:, 0]),
        )

    for _ in range(60):
        r1, r2 = residuals(log_tan, log_kappa)
        h = 1e-6
        a1, a2 = residuals(log_tan + h, log_kappa)
        b1, b2 = residuals(log_tan, log_kappa + h)
        jacobian = np.array(
            [[(a1 - r1) / h, (b1 - r1) / h], [(a2 - r2) / h, (b2 - r2) / h]]
        )
        step = solve_two(jacobian, r1, r2)
        log_tan, log_kappa = log_tan - step[0], log_kappa - step[1]
        if np.all(np.abs(step) < 1e-12):
            break
    else:
        raise RuntimeError("the equations of maximal stability were not solved.")
    return scalar((np.arctan(np.exp(log_tan)) / np.pi).reshape(shape))
