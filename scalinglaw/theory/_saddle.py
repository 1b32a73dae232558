"""The saddle-point equations of the fixed norm, solved at many points at once."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, ndtr

from ._numerics import GAUSS_BREAKS, panels, solve_two

__all__ = ["hebb_start", "saddle_points", "slope_in_norm"]

# The sigmoid's poles lie pi off the real axis: panels of this length converge fast.
_U_LENGTH = 2.5
_U_REACH = 35.0
# Nodes of a panel: far from the solution few will do.
_COARSE, _FINE = 5, 16
_NEAR, _SOLVED = 1e-3, 1e-11
_CHUNK = 256


def hebb_start(alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Hebb's log tan(theta) and the log of the proximal step at 0.

    Parameters
    ----------
    alpha : array of shape (n,)
        Loads.

    Returns
    -------
    log_tan, log_step : arrays of shape (n,)
        Where Newton's method starts.
    """
    tan = np.sqrt(np.pi / (2 * alpha))
    overlap = 1 / np.hypot(1, tan)
    return np.log(tan), np.log(np.sqrt(np.pi / 2) * overlap / alpha)


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
        n_nodes: int = _FINE,
    ):
        lam, tan = norm[:, None], np.exp(log_tan)[:, None]
        v0 = np.exp(log_step)[:, None]
        self.sin, self.cos = tan / np.hypot(1, tan), 1 / np.hypot(1, tan)
        u0 = 2 * lam * v0
        edges = _edges(lam, self.sin, v0, u0)
        shift, weight = panels(edges, n_nodes)
        u = u0 + shift
        log_ratio = np.logaddexp(0.0, u0) - np.logaddexp(0.0, u)
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
    n_breaks = len(GAUSS_BREAKS)
    t = np.concatenate(
        [np.tile(GAUSS_BREAKS, (len(lam), 1)), sin * GAUSS_BREAKS], axis=1
    )
    # Newton on the convex proximal equation in log v, from above; edges need not be
    # exact.
    target = np.log(v0) + np.logaddexp(0.0, u0)
    bound = np.maximum(v0, np.logaddexp(0.0, u0) / (2 * lam) - t)
    log_v = np.minimum(np.log(bound), target)
    for _ in range(12):
        v = np.exp(log_v)
        u = 2 * lam * (t + v)
        log_v = log_v - (log_v + np.logaddexp(0.0, u) - target) / (
            1 + 2 * lam * v * expit(u)
        )
    edge = 2 * lam * (t + np.exp(log_v)) - u0
    low, high = edge[:, :1], edge[:, n_breaks - 1 : n_breaks]
    # The sigmoid's own scale, around u = 0 and wherever t is small.
    grid = np.arange(-_U_REACH, _U_REACH + _U_LENGTH, _U_LENGTH)
    around = np.concatenate([edge, np.tile(grid, (len(lam), 1)), grid - u0], axis=1)
    # Above, v has decayed to nothing; below, it is constant and t-edges suffice.
    high = np.minimum(high, _U_REACH)
    return np.sort(np.clip(around, low, np.maximum(high, low)), axis=1)


def saddle_points(
    alpha: np.ndarray,
    norm: np.ndarray,
    start: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return log tan(theta) and log v(0) of many points by Newton's method.

    Parameters
    ----------
    alpha, norm : arrays of shape (n,)
        Loads and norms.
    start : tuple of two arrays, optional
        A solution nearby; Hebb's where none is known.

    Returns
    -------
    log_tan, log_step : arrays of shape (n,)
        The solution.

    Raises
    ------
    RuntimeError
        If Newton's method did not converge.
    """
    log_tan, log_step = hebb_start(alpha) if start is None else start
    log_tan, log_step = log_tan.copy(), log_step.copy()
    for i in range(0, len(alpha), _CHUNK):
        part = np.arange(i, min(i + _CHUNK, len(alpha)))
        # The coarse rule only spares the fine one its first steps.
        left = _newton(alpha, norm, log_tan, log_step, part, _COARSE, _NEAR)
        left = _newton(alpha, norm, log_tan, log_step, part, _FINE, _SOLVED)
        if left.size:
            raise RuntimeError(
                f"the equations were not solved at alpha={alpha[left[0]]:g}, "
                f"norm={norm[left[0]]:g} ({left.size} points)."
            )
    return log_tan, log_step


def _newton(
    alpha: np.ndarray,
    norm: np.ndarray,
    log_tan: np.ndarray,
    log_step: np.ndarray,
    todo: np.ndarray,
    n_nodes: int,
    tolerance: float,
) -> np.ndarray:
    """Improve the points `todo` in place; return those that did not converge."""
    for _ in range(60):
        integrals = _Integrals(norm[todo], log_tan[todo], log_step[todo], n_nodes)
        step = solve_two(integrals.jacobian(), *integrals.residuals(alpha[todo]))
        log_tan[todo] -= step[0]
        log_step[todo] -= step[1]
        todo = todo[np.abs(step).max(axis=0) > tolerance]
        if todo.size == 0:
            break
    return todo


def slope_in_norm(
    norm: np.ndarray, log_tan: np.ndarray, log_step: np.ndarray
) -> np.ndarray:
    """Return d log tan(theta) / d log(norm), by the implicit function theorem.

    Parameters
    ----------
    norm, log_tan, log_step : arrays of shape (n,)
        Norms, and the solution at them.

    Returns
    -------
    array of shape (n,)
        Negative below the optimum.
    """
    slopes = np.empty(len(norm))
    for i in range(0, len(norm), _CHUNK):
        part = slice(i, i + _CHUNK)
        integrals = _Integrals(norm[part], log_tan[part], log_step[part])
        (a, b), (c, d) = integrals.jacobian()
        r1 = integrals.first_by_norm / integrals.first
        r2 = integrals.second_by_norm / integrals.second
        slopes[part] = -(d * r1 - b * r2) / (a * d - b * c)
    return slopes
