r"""Exact generalisation error of the perceptron at fixed norm.

A teacher :math:`w_*` in :math:`R^N` labels :math:`P = \alpha N` Gaussian inputs. The
student minimises the logistic loss at fixed norm :math:`\lambda = \|w\|/\sqrt N`. For
:math:`N \to \infty` its overlap :math:`R = \cos\theta` with the teacher solves the
replica-symmetric equations

.. math::

   1 - R^2 = 2\alpha \int Dt\, H(-Rt/s)\, v(t)^2, \qquad
   R = \alpha \sqrt{2/\pi} \int Dz\, v(sz), \qquad s = \sin\theta,

where :math:`v = 2x\,\sigma(-2\lambda(t + v))` is the proximal step, and
:math:`\epsilon = \theta/\pi`. ``alpha`` is the load :math:`P/N` throughout this module.

References
----------
A. Engel and C. Van den Broeck, "Statistical Mechanics of Learning" (2001), ch. 3-4.
B. Aubin, F. Krzakala, Y. Lu and L. Zdeborova, arXiv:2006.06560 (2020).
F. D'Amico, D. Bocchi and M. Negri, arXiv:2505.13230 (2025).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit, log_ndtr, ndtr

__all__ = [
    "EARLY_PREFACTOR",
    "MAX_STABILITY_CONSTANT",
    "OPTIMAL_NORM_CONSTANT",
    "bayes_error",
    "generalization_error",
    "hebb_error",
    "max_stability_error",
    "optimal_error",
    "optimal_norm",
    "square_loss_error",
]

#: :math:`k_1 = [2\sqrt{2/\pi}(\ln 2 - 1/2)]^{1/2}`: for :math:`\alpha \to \infty` and
#: large norms below the optimum, error / Hebb's error = k1 norm^(-1/2), so that gamma1
#: = 1/2.
EARLY_PREFACTOR = float(np.sqrt(2 * np.sqrt(2 / np.pi) * (np.log(2) - 0.5)))
#: Limit of optimal norm / alpha for :math:`\alpha \to \infty`, so that gamma2 = 1
#: (arXiv:2505.13230).
OPTIMAL_NORM_CONSTANT = 0.883585
#: Limit of alpha times the error of maximal stability for :math:`\alpha \to \infty`.
MAX_STABILITY_CONSTANT = 0.500489

_ALPHA_RANGE = (0.1, 1e6)
_NORM_RANGE = (1e-3, 1e5)
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
# Breakpoints in units of each Gaussian's own scale; beyond nine there is nothing.
_GAUSS_BREAKS = np.array([0.25, 0.6, 1.0, 1.6, 2.3, 3.0, 4.0, 5.0, 6.5, 9.0])
# The sigmoid's poles lie pi off the real axis: panels of this length converge fast.
_U_LENGTH = 2.5
_U_REACH = 35.0
_CHUNK = 256


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
    ValueError
        If a load is not positive.
    """
    alpha = _within(alpha, "alpha", 0.0, np.inf)
    return _scalar(np.arctan(np.sqrt(np.pi / (2 * alpha))) / np.pi)


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
    ValueError
        If an argument is out of its range.
    """
    alpha = _within(alpha, "alpha", *_ALPHA_RANGE)
    norm = _within(norm, "norm", *_NORM_RANGE)
    alpha, norm = np.broadcast_arrays(alpha, norm)
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
    return _scalar(np.arctan(tangent) / np.pi)


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
    ValueError
        If a load is out of range.
    """
    alpha = _within(alpha, "alpha", *_ALPHA_RANGE)
    shape, alpha = alpha.shape, alpha.ravel()
    y_breaks = np.concatenate([-_GAUSS_BREAKS[::-1], [0.0], _GAUSS_BREAKS])

    def excess(log_r: np.ndarray) -> np.ndarray:
        r = np.exp(log_r)[:, None]
        edges = np.concatenate([np.tile(y_breaks, (len(r), 1)), r * y_breaks], axis=1)
        y, weight = _panels(np.clip(np.sort(edges, axis=1), -12, 12))
        log_ratio = -(y**2) - np.log(2 * np.pi) - log_ndtr(y)
        gauss = np.exp(-0.5 * (y / r) ** 2) / np.sqrt(2 * np.pi) / r
        integral = np.sum(weight * gauss * np.exp(log_ratio), axis=1)
        return np.log(2 * alpha * integral) + np.log1p(np.exp(-2 * log_r))

    low = np.log(0.05 * np.sqrt(alpha)) - 2.0
    high = np.log(alpha + 1.0) + 3.0
    log_r = _bisect(excess, low, high, falling=True)
    return _scalar((np.arctan(np.exp(-log_r)) / np.pi).reshape(shape))


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
    ValueError
        If a load is out of range.
    """
    alpha = _within(alpha, "alpha", *_ALPHA_RANGE)
    shape, alpha = alpha.shape, alpha.ravel()
    log_tan, log_kappa = _hebb_start(alpha)

    def residuals(
        log_tan: np.ndarray, log_kappa: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        tan, kappa = np.exp(log_tan)[:, None], np.exp(log_kappa)[:, None]
        sin, cos = tan / np.hypot(1, tan), 1 / np.hypot(1, tan)
        both = np.concatenate([-_GAUSS_BREAKS[::-1], [0.0], _GAUSS_BREAKS])
        edges = np.concatenate(
            [np.tile(both, (len(tan), 1)), tan * both, kappa], axis=1
        )
        t, weight = _panels(np.minimum(np.sort(edges, axis=1), kappa))
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
        step = _solve_two(jacobian, r1, r2)
        log_tan, log_kappa = log_tan - step[0], log_kappa - step[1]
        if np.max(np.abs(step)) < 1e-13:
            break
    return _scalar((np.arctan(np.exp(log_tan)) / np.pi).reshape(shape))


def generalization_error(alpha: Any, norm: Any) -> Any:
    r"""Return the error of the logistic perceptron at fixed norm.

    Parameters
    ----------
    alpha : float or array
        Load P/N, from 0.1 to 1e6.
    norm : float or array
        :math:`\lambda = \|w\|/\sqrt N`, from 1e-3 to 1e5; broadcast against `alpha`.

    Returns
    -------
    float or ndarray
        Generalisation error, a fraction; relative accuracy 1e-9.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    RuntimeError
        If the equations could not be solved, so that no number is returned.

    Examples
    --------
    >>> from scalinglaw import theory
    >>> print(f"{theory.generalization_error(10.0, 1.0):.6f}")
    0.070975
    """
    alpha = _within(alpha, "alpha", *_ALPHA_RANGE)
    norm = _within(norm, "norm", *_NORM_RANGE)
    alpha, norm = np.broadcast_arrays(alpha, norm)
    log_tan, _ = _saddle_points(alpha.ravel(), norm.ravel())
    return _scalar((np.arctan(np.exp(log_tan)) / np.pi).reshape(alpha.shape))


def optimal_norm(alpha: Any) -> Any:
    r"""Return the norm at which the error is lowest.

    The root of :math:`d\epsilon/d\log\lambda`, taken from the equations' derivatives,
    as the minimum itself is too flat to find it by.

    Parameters
    ----------
    alpha : float or array
        Load P/N, from 0.1 to 1e5: the norm must stay within its own range.

    Returns
    -------
    float or ndarray
        :math:`\lambda_\mathrm{opt}`, relative accuracy 1e-6.

    Raises
    ------
    ValueError
        If a load is out of range.
    """
    alpha = _within(alpha, "alpha", _ALPHA_RANGE[0], _NORM_RANGE[1])
    shape, alpha = alpha.shape, alpha.ravel()
    low = np.log(0.3 * alpha + 0.02)
    high = np.log(np.minimum(3.0 * alpha + 3.0, _NORM_RANGE[1]))
    start: tuple[np.ndarray, np.ndarray] | None = None

    def slope(log_norm: np.ndarray) -> np.ndarray:
        nonlocal start
        norm = np.exp(log_norm)
        start = log_tan, log_step = _saddle_points(alpha, norm, start)
        return _slope_in_norm(alpha, norm, log_tan, log_step)

    return _scalar(np.exp(_bisect(slope, low, high, falling=False)).reshape(shape))


def optimal_error(alpha: Any) -> Any:
    r"""Return the lowest error over all norms.

    Parameters
    ----------
    alpha : float or array
        Load P/N, from 0.1 to 1e5.

    Returns
    -------
    float or ndarray
        :math:`\epsilon(\alpha, \lambda_\mathrm{opt})`; for large loads 6.29e-4
        (relative) above Bayes.

    Raises
    ------
    ValueError
        If a load is out of range.
    """
    return generalization_error(alpha, optimal_norm(alpha))


def _within(values: Any, name: str, low: float, high: float) -> np.ndarray:
    """Return an array within a range; the message names what is not."""
    array = np.asarray(values, dtype=float)
    inside = (array >= low) & (array <= high) & (array > 0) & np.isfinite(array)
    if not inside.all():
        worst = array[~inside].flat[0]
        bounds = (
            f"from {low:g} to {high:g}" if np.isfinite(high) else "positive and finite"
        )
        raise ValueError(
            f"{name} must be {bounds}, got {worst:g} ({(~inside).sum()} of "
            f"{array.size} values)."
        )
    return array


def _scalar(values: np.ndarray) -> Any:
    return float(values) if np.ndim(values) == 0 else values


def _panels(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Gauss-Legendre nodes and weights between sorted edges, by row."""
    half = 0.5 * np.diff(edges, axis=1)
    middle = edges[:, :-1] + half
    nodes = middle[:, :, None] + half[:, :, None] * _NODES
    weights = half[:, :, None] * _WEIGHTS
    return nodes.reshape(len(edges), -1), weights.reshape(len(edges), -1)


def _bisect(
    function: Any, low: np.ndarray, high: np.ndarray, falling: bool
) -> np.ndarray:
    """Return roots by bisection, all at once, to the last bits."""
    for _ in range(60):
        middle = 0.5 * (low + high)
        above = (function(middle) > 0) == falling
        low, high = np.where(above, middle, low), np.where(above, high, middle)
        if np.all(high - low < 1e-13 * (1 + np.abs(middle))):
            break
    return 0.5 * (low + high)


def _hebb_start(alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Hebb's log tan(theta) and the log of the proximal step at 0."""
    tan = np.sqrt(np.pi / (2 * alpha))
    overlap = 1 / np.hypot(1, tan)
    return np.log(tan), np.log(np.sqrt(np.pi / 2) * overlap / alpha)


def _solve_two(jacobian: np.ndarray, r1: np.ndarray, r2: np.ndarray) -> np.ndarray:
    """Return the Newton steps of many systems of two equations, at most 1 long."""
    (a, b), (c, d) = jacobian
    determinant = a * d - b * c
    step = np.array([(d * r1 - b * r2) / determinant, (a * r2 - c * r1) / determinant])
    return np.clip(np.nan_to_num(step), -1.0, 1.0)


def _softplus(u: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, u)


class _Integrals:
    r"""The two integrals of the saddle-point equations and their derivatives.

    With :math:`u = 2\lambda(t + v)` the proximal equation is explicit,
    :math:`v = 2x\sigma(-u)` and :math:`t = u/2\lambda - v`: the integrals are taken
    over u, relative to its value at t = 0, and nothing overflows or has to be solved.
    """

    def __init__(
        self,
        norm: np.ndarray,
        log_tan: np.ndarray,
        log_step: np.ndarray,
    ):
        lam, tan = norm[:, None], np.exp(log_tan)[:, None]
        v0 = np.exp(log_step)[:, None]
        self.sin, self.cos = tan / np.hypot(1, tan), 1 / np.hypot(1, tan)
        u0 = 2 * lam * v0
        edges = _edges(lam, self.sin, v0, u0)
        shift, weight = _panels(edges)
        u = u0 + shift
        log_ratio = _softplus(u0) - _softplus(u)
        v = v0 * np.exp(log_ratio)
        t = -v0 * np.expm1(log_ratio) + shift / (2 * lam)
        rate = expit(u)
        slow = 1 + 2 * lam * v * rate
        weight = weight * (1 / (2 * lam) + v * rate)
        y, z = t / tan, t / self.sin
        gauss = np.exp(-0.5 * t**2) / np.sqrt(2 * np.pi)
        first = weight * gauss * ndtr(y) * v
        kernel = weight * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi) / self.sin
        growth = 1 + u0 * expit(u0)
        bend = (u0 * expit(u0) - u * rate) / slow
        turn = -y * np.exp(-0.5 * y**2) / np.sqrt(2 * np.pi)
        self.first = np.sum(first * v, axis=1)
        self.second = np.sum(kernel * v, axis=1)
        self.first_by_tan = np.sum(weight * gauss * turn * v**2, axis=1)
        self.second_by_tan = self.cos[:, 0] ** 2 * np.sum(
            kernel * (z**2 - 1) * v, axis=1
        )
        self.first_by_step = np.sum(growth * 2 * first * v / slow, axis=1)
        self.second_by_step = np.sum(growth * kernel * v / slow, axis=1)
        self.first_by_norm = np.sum(2 * first * v * bend, axis=1)
        self.second_by_norm = np.sum(kernel * v * bend, axis=1)

    def residuals(self, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the logarithms of right over left side of both equations."""
        sin, cos = self.sin[:, 0], self.cos[:, 0]
        return (
            np.log(2 * alpha * self.first) - 2 * np.log(sin),
            np.log(alpha * np.sqrt(2 / np.pi) * self.second) - np.log(cos),
        )

    def jacobian(self) -> np.ndarray:
        """Return the derivatives by log tan(theta) and the log of the step."""
        sin, cos = self.sin[:, 0], self.cos[:, 0]
        return np.array(
            [
                [
                    self.first_by_tan / self.first - 2 * cos**2,
                    self.first_by_step / self.first,
                ],
                [
                    self.second_by_tan / self.second + sin**2,
                    self.second_by_step / self.second,
                ],
            ]
        )


def _edges(
    lam: np.ndarray, sin: np.ndarray, v0: np.ndarray, u0: np.ndarray
) -> np.ndarray:
    """Return panel edges in u - u0: dense enough for each scale of the integrands."""
    both = np.concatenate([-_GAUSS_BREAKS[::-1], [0.0], _GAUSS_BREAKS])
    t = np.concatenate([np.tile(both, (len(lam), 1)), sin * both], axis=1)
    # Newton on the convex proximal equation in log v, from above; edges need not be
    # exact.
    target = np.log(v0) + _softplus(u0)
    bound = np.maximum(v0, _softplus(u0) / (2 * lam) - t)
    log_v = np.minimum(np.log(bound), target)
    for _ in range(12):
        v = np.exp(log_v)
        u = 2 * lam * (t + v)
        log_v = log_v - (log_v + _softplus(u) - target) / (1 + 2 * lam * v * expit(u))
    edge = 2 * lam * (t + np.exp(log_v)) - u0
    low, high = edge[:, :1], edge[:, len(both) - 1 : len(both)]
    # The sigmoid's own scale, around u = 0 and wherever t is small.
    grid = np.arange(-_U_REACH, _U_REACH + _U_LENGTH, _U_LENGTH)
    around = np.concatenate([edge, np.tile(grid, (len(lam), 1)), grid - u0], axis=1)
    # Above, v has decayed to nothing; below, it is constant and t-edges suffice.
    high = np.minimum(high, _U_REACH)
    return np.sort(np.clip(around, low, np.maximum(high, low)), axis=1)


def _saddle_points(
    alpha: np.ndarray,
    norm: np.ndarray,
    start: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return log tan(theta) and log v(0) of many points by Newton's method."""
    if len(alpha) > _CHUNK:
        parts = [slice(i, i + _CHUNK) for i in range(0, len(alpha), _CHUNK)]
        solved = [
            _saddle_points(
                alpha[p], norm[p], None if start is None else (start[0][p], start[1][p])
            )
            for p in parts
        ]
        first, second = zip(*solved, strict=True)
        return np.concatenate(first), np.concatenate(second)
    log_tan, log_step = _hebb_start(alpha) if start is None else start
    log_tan, log_step = log_tan.copy(), log_step.copy()
    todo = np.arange(len(alpha))
    for _ in range(100):
        integrals = _Integrals(norm[todo], log_tan[todo], log_step[todo])
        r1, r2 = integrals.residuals(alpha[todo])
        step = _solve_two(integrals.jacobian(), r1, r2)
        log_tan[todo] -= step[0]
        log_step[todo] -= step[1]
        todo = todo[np.abs(step).max(axis=0) > 1e-11]
        if todo.size == 0:
            return log_tan, log_step
    raise RuntimeError(
        f"the equations were not solved at alpha={alpha[todo[0]]:g}, "
        f"norm={norm[todo[0]]:g} ({todo.size} points)."
    )


def _slope_in_norm(
    alpha: np.ndarray, norm: np.ndarray, log_tan: np.ndarray, log_step: np.ndarray
) -> np.ndarray:
    """Return d log tan(theta) / d log(norm), by the implicit function theorem."""
    slopes = []
    for i in range(0, len(alpha), _CHUNK):
        part = slice(i, i + _CHUNK)
        integrals = _Integrals(norm[part], log_tan[part], log_step[part])
        (a, b), (c, d) = integrals.jacobian()
        r1 = integrals.first_by_norm / integrals.first
        r2 = integrals.second_by_norm / integrals.second
        slopes.append(-(d * r1 - b * r2) / (a * d - b * c))
    return np.concatenate(slopes)
