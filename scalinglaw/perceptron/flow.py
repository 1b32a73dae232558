r"""Gradient flow of a perceptron with its norm, not time, as the clock.

Gradient flow :math:`\dot w = g(w)` needs a time that grows like :math:`e^\lambda` to
reach a norm :math:`\lambda`. Along the same path the direction
:math:`n = w/\|w\|` obeys

.. math::

   \frac{dn}{d\log\lambda} = \frac{g}{n \cdot g} - n,
   \qquad g = \sum_\mu y_\mu x_\mu\, p(\lambda\, y_\mu x_\mu \cdot n),

in which the scale of :math:`g` cancels: the weights :math:`p` are divided by their
largest, so that nothing underflows. The equation is stiff, with rates of the order of
:math:`\lambda`; an implicit solver with the exact Jacobian takes steps that do not
shrink. At large norms few samples have a weight that matters, and only these are summed
(:mod:`~scalinglaw.perceptron.screening`).

References
----------
D'Amico, Bocchi and Negri (2025), arXiv:2505.13230, section 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from .krylov import KrylovBDF
from .losses import LOSSES, Loss
from .screening import ScreenedSamples

__all__ = ["FlowPath", "NormFlow", "hebb_direction", "norm_flow"]

# Below this share of the margins' absolute sum, w.g is a cancellation: the norm has
# stopped growing.
_STALL = 1e-7
# The test error then has a relative error of the order of 1e-5.
_RTOL, _ATOL = 1e-5, 1e-7
# Samples of a smaller relative weight are left out of the Jacobian, which steers the
# implicit solver and does not enter the path.
_NEGLIGIBLE = 1e-8
# Rows of a block of the Jacobian's sum: bounds the memory of the weighted copy.
_BLOCK = 2048
# More features than this and the matrices would take hundreds of megabytes.
_LARGEST_MATRIX = 4_000


@dataclass(frozen=True)
class FlowPath:
    r"""Directions along a flow.

    Parameters
    ----------
    norms : array of shape (n_records,)
        :math:`\lambda` of each record.
    directions : array of shape (n_records, n_features)
        Unit vectors n.
    stop_reason : str
        ``"max_norm"``, or ``"norm_converged"`` where the norm stopped growing.
    """

    norms: np.ndarray
    directions: np.ndarray
    stop_reason: str


def hebb_direction(signed: np.ndarray) -> np.ndarray:
    """Return the direction in which the flow leaves the origin.

    Parameters
    ----------
    signed : array of shape (n_samples, n_features)
        Inputs times labels.

    Returns
    -------
    array of shape (n_features,)
        Hebb's rule, of unit length.

    Raises
    ------
    ValueError
        If the samples cancel, so that there is no such direction.
    """
    total = signed.sum(axis=0)
    length = np.linalg.norm(total)
    if not length > 1e-12 * np.abs(signed).sum():
        raise ValueError(
            "the samples of the two classes cancel: the flow has no direction to start "
            "in. Centre the classes apart, or add a constant feature."
        )
    return total / length


class NormFlow:
    r"""The flow's equation, :math:`dn/d\log\lambda = g/(n \cdot g) - n`.

    Parameters
    ----------
    signed : array of shape (n_samples, n_features)
        Inputs times labels -1 and 1.
    loss : Loss
        Which loss.
    """

    def __init__(self, signed: np.ndarray, loss: Loss):
        self.loss = loss
        self.samples = ScreenedSamples(signed, screen=loss.decays)

    def velocity(self, log_norm: float, n: np.ndarray) -> np.ndarray:
        r"""Return the derivative of the direction.

        Parameters
        ----------
        log_norm : float
            :math:`\log\lambda`.
        n : array of shape (n_features,)
            The direction.

        Returns
        -------
        array of shape (n_features,)
            Orthogonal to n at unit length.
        """
        _, _, g = self._pull(log_norm, n)
        return g / (n @ g) - n

    def jacobian(self, log_norm: float, n: np.ndarray) -> np.ndarray:
        r"""Return the derivatives of the velocity, as a matrix.

        Parameters
        ----------
        log_norm : float
            :math:`\log\lambda`.
        n : array of shape (n_features,)
            The direction.

        Returns
        -------
        array of shape (n_features, n_features)
            By the direction's components along the second axis.
        """
        part, margin, g = self._pull(log_norm, n)
        turn = -np.exp(log_norm) * _weighted_gram(part, -self.loss.slopes(margin))
        growth = n @ g
        result = turn / growth - np.outer(g, g + turn @ n) / growth**2
        result[np.diag_indices_from(result)] -= 1.0
        return result

    def operator(
        self, log_norm: float, n: np.ndarray
    ) -> Callable[[np.ndarray], np.ndarray]:
        r"""Return the derivatives of the velocity, as a product with a vector.

        Parameters
        ----------
        log_norm : float
            :math:`\log\lambda`.
        n : array of shape (n_features,)
            The direction.

        Returns
        -------
        callable
            From v to the Jacobian times v, without the matrix.
        """
        part, margin, g = self._pull(log_norm, n)
        weights = -np.exp(log_norm) * self.loss.slopes(margin)
        heavy = weights > _NEGLIGIBLE * weights.max()
        if not heavy.all():
            part, weights = part[heavy], weights[heavy]

        def turn(v: np.ndarray) -> np.ndarray:
            return -((weights * (part @ v)) @ part)

        growth = n @ g
        bend = (g + turn(n)) / growth**2
        return lambda v: turn(v) / growth - g * (bend @ v) - v

    def steadiness(self, log_norm: float, n: np.ndarray) -> float:
        r"""Return w.g over the sum of its terms' absolute values.

        Parameters
        ----------
        log_norm : float
            :math:`\log\lambda`.
        n : array of shape (n_features,)
            The direction.

        Returns
        -------
        float
            1 where all margins are positive, 0 where the norm stops growing.
        """
        _, margin, _ = self._pull(log_norm, n)
        pull = self.loss.weights(margin) * margin
        return float(pull.sum() / np.abs(pull).sum())

    def _pull(
        self, log_norm: float, n: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the samples that matter, their margins, and g."""
        norm = float(np.exp(log_norm))
        part = self.samples.at(norm, n)
        margin = norm * (part @ n)
        return part, margin, self.loss.weights(margin) @ part


def norm_flow(
    signed: np.ndarray,
    norms: np.ndarray,
    loss: str = "logistic",
    *,
    linear_solver: str = "auto",
    rtol: float = _RTOL,
    atol: float = _ATOL,
) -> FlowPath:
    """Follow the gradient flow from Hebb's direction to a large norm.

    Parameters
    ----------
    signed : array of shape (n_samples, n_features)
        Inputs times labels -1 and 1.
    norms : array of shape (n_records,)
        Where to record, increasing; the flow starts at the first along Hebb's
        direction.
    loss : {"logistic", "square"}
        Which loss.
    linear_solver : {"auto", "dense", "krylov"}
        How the implicit steps' systems are solved: by a matrix of the size of the
        features squared, or without one. ``"auto"`` takes the matrix up to 4,000
        features.
    rtol, atol : float
        Tolerances of the direction's components.

    Returns
    -------
    FlowPath
        Fewer records than `norms` where the norm stops growing before the last.
    """
    flow, n_features = NormFlow(signed, LOSSES[loss]), signed.shape[1]
    if linear_solver == "auto":
        linear_solver = "dense" if n_features <= _LARGEST_MATRIX else "krylov"
    options: dict[str, Any] = (
        {"method": "BDF", "jac": flow.jacobian}
        if linear_solver == "dense"
        else {"method": KrylovBDF, "operator": flow.operator}
    )

    def stalled(log_norm: float, n: np.ndarray) -> float:
        return flow.steadiness(log_norm, n) - _STALL

    stalled.terminal = True  # type: ignore[attr-defined]
    stalled.direction = -1  # type: ignore[attr-defined]
    log_norms = np.log(norms)
    solution = solve_ivp(
        flow.velocity,
        (log_norms[0], log_norms[-1]),
        hebb_direction(signed),
        t_eval=log_norms,
        events=stalled,
        rtol=rtol,
        atol=atol / np.sqrt(n_features),
        **options,
    )
    directions = solution.y.T
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    # The solver gives up (status -1) where w.g passes through zero between steps.
    reason = "max_norm" if solution.status == 0 else "norm_converged"
    return FlowPath(norms[: len(directions)], directions, reason)


def _weighted_gram(samples: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the sum of x x^T over samples x by weight, which is not negative."""
    heavy = np.flatnonzero(weights > _NEGLIGIBLE * weights.max())
    total = np.zeros((samples.shape[1], samples.shape[1]))
    for start in range(0, len(heavy), _BLOCK):
        rows = heavy[start : start + _BLOCK]
        block = np.sqrt(weights[rows, None]) * samples[rows]
        # numpy sees the symmetry and does half the work.
        total += block.T @ block
    return total
