r"""Backward differentiation whose linear systems need no matrix.

An implicit step solves :math:`(1 - cJ)\Delta = r`. With a matrix that costs the cube of
the number of unknowns, and the square in memory; here GMRES solves it from products
:math:`Jv` alone, no more closely than Newton's iteration needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.integrate import DenseOutput, OdeSolver
from scipy.sparse.linalg import LinearOperator, gmres

__all__ = ["KrylovBDF"]

_MAX_ORDER = 5
_GAMMA = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, _MAX_ORDER + 1))])
# Shares of the step's tolerance that Newton's last correction and, relative to its
# right side, the linear system's residual may have.
_NEWTON, _LINEAR = 0.03, 0.03
_MAX_NEWTON = 5
_RESTART, _MAX_CYCLES = 100, 4
_SHRINK, _GROW, _SAFETY = 0.2, 10.0, 0.9


class KrylovBDF(OdeSolver):
    r"""Backward differentiation formulas of orders 1 to 5, for ``solve_ivp``.

    Parameters
    ----------
    fun : callable
        The right side, f(t, y).
    t0, t_bound : float
        Where to start and to end.
    y0 : array of shape (n,)
        Where y starts.
    vectorized : bool
        Ignored; ``solve_ivp`` passes it.
    operator : callable
        Of (t, y), returns a function from a vector v to :math:`Jv`.
    rtol, atol : float
        Tolerances of the components.
    **extraneous : dict
        Ignored; ``solve_ivp`` passes options of other methods.

    References
    ----------
    .. [1] L. F. Shampine and M. W. Reichelt, "The MATLAB ODE Suite", SIAM J. Sci.
       Comput. 18 (1997) 1-22, section 2.
    .. [2] P. N. Brown and A. C. Hindmarsh, "Matrix-free methods for stiff systems of
       ODE's", SIAM J. Numer. Anal. 23 (1986) 610-638.
    """

    def __init__(
        self,
        fun: Callable,
        t0: float,
        y0: np.ndarray,
        t_bound: float,
        vectorized: bool = False,
        *,
        operator: Callable,
        rtol: float = 1e-5,
        atol: float = 1e-7,
        **extraneous: Any,
    ):
        super().__init__(fun, t0, y0, t_bound, vectorized)
        self.t: float
        self.y: np.ndarray
        self.operator, self.rtol, self.atol = operator, rtol, atol
        slope = self.fun(self.t, self.y)
        steepness = max(_rms(slope / self._scale(self.y)), 1 / abs(t_bound - t0))
        self._h = 0.1 / steepness
        self._order, self._equal_steps = 1, 0
        # Backward differences of y, the zeroth being y itself.
        self._differences = np.zeros((_MAX_ORDER + 3, self.n))
        self._differences[0], self._differences[1] = self.y, self._h * slope
        self._last_h, self._last_differences = self._h, self._differences[:2].copy()

    def _step_impl(self) -> tuple[bool, str | None]:
        while True:
            if self._h < 10 * np.spacing(abs(self.t)):
                return False, self.TOO_SMALL_STEP
            if self.t + self._h > self.t_bound:
                self._rescale((self.t_bound - self.t) / self._h)
            order, t_new = self._order, self.t + self._h
            predicted = self._differences[: order + 1].sum(axis=0)
            scale = self._scale(predicted)
            d = self._correct(t_new, predicted, scale)
            if d is None:
                self._rescale(0.5)
                continue
            error = _rms(d / scale) / (order + 1)
            if error <= 1:
                break
            self._rescale(max(_SHRINK, _SAFETY * error ** (-1 / (order + 1))))
        self.t, self.y = t_new, predicted + d
        self._update(d)
        self._equal_steps += 1
        if self._equal_steps > order:
            self._choose_order(error, scale)
        return True, None

    def _dense_output_impl(self) -> DenseOutput:
        # The last step's differences: the order may have been changed since.
        return _Interpolant(self.t_old, self.t, self._last_h, self._last_differences)

    def _correct(
        self, t_new: float, predicted: np.ndarray, scale: np.ndarray
    ) -> np.ndarray | None:
        """Return what the implicit formula adds to the prediction, or None."""
        order = self._order
        c = self._h / _GAMMA[order]
        past = _GAMMA[1 : order + 1] @ self._differences[1 : order + 1] / _GAMMA[order]
        d = np.zeros_like(predicted)
        for _ in range(_MAX_NEWTON):
            y = predicted + d
            residual = c * self.fun(t_new, y) - past - d
            if not np.isfinite(residual).all():
                return None
            times = self.operator(t_new, y)
            self.njev += 1
            # In units of the tolerance, so that GMRES measures what the step does.
            system = LinearOperator(
                (self.n, self.n),
                matvec=lambda v, times=times: v - c * times(v * scale) / scale,
                dtype=float,
            )
            step, _ = gmres(
                system,
                residual / scale,
                rtol=_LINEAR,
                atol=0.3 * _NEWTON * np.sqrt(self.n),
                restart=min(_RESTART, self.n),
                maxiter=_MAX_CYCLES,
            )
            d += step * scale
            if _rms(step) < _NEWTON:
                return d
        return None

    def _update(self, d: np.ndarray) -> None:
        """Take the new differences from the correction d."""
        order, differences = self._order, self._differences
        differences[order + 2] = d - differences[order + 1]
        differences[order + 1] = d
        for i in reversed(range(order + 1)):
            differences[i] += differences[i + 1]
        self._last_h = self._h
        self._last_differences = differences[: order + 1].copy()

    def _choose_order(self, error: float, scale: np.ndarray) -> None:
        """Take the order, of three, that allows the longest step."""
        order, factors = self._order, {}
        for other in (order - 1, order, order + 1):
            if 1 <= other <= _MAX_ORDER:
                size = error if other == order else _rms(
                    self._differences[other + 1] / scale
                ) / (other + 1)  # fmt: skip
                factors[other] = max(size, 1e-10) ** (-1 / (other + 1))
        self._order = max(factors, key=lambda other: factors[other])
        self._rescale(min(_GROW, _SAFETY * factors[self._order]))

    def _rescale(self, factor: float) -> None:
        """Turn the differences into those of a step `factor` times as long."""
        order = self._order
        turn = _rescaling(order, factor) @ _rescaling(order, 1.0)
        self._differences[: order + 1] = turn.T @ self._differences[: order + 1]
        self._h *= factor
        self._equal_steps = 0

    def _scale(self, y: np.ndarray) -> np.ndarray:
        return self.atol + self.rtol * np.abs(y)


class _Interpolant(DenseOutput):
    """The polynomial through the last values, from their differences."""

    def __init__(self, t_old: float, t: float, h: float, differences: np.ndarray):
        super().__init__(t_old, t)
        order = np.arange(len(differences) - 1)
        self._nodes, self._widths = t - h * order, h * (1 + order)
        self._differences = differences

    def _call_impl(self, t: np.ndarray) -> np.ndarray:
        products = np.cumprod(
            (np.asarray(t)[..., None] - self._nodes) / self._widths, axis=-1
        )
        values = self._differences[0] + products @ self._differences[1:]
        return values.T


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2)))


def _rescaling(order: int, factor: float) -> np.ndarray:
    """Return the matrix R of Shampine and Reichelt, with a row and column for y."""
    i = np.arange(1, order + 1)
    matrix = np.zeros((order + 1, order + 1))
    matrix[0] = 1.0
    matrix[1:, 1:] = (i[:, None] - 1 - factor * i) / i[:, None]
    return np.cumprod(matrix, axis=0)
