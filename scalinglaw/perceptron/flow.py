r"""Gradient flow of a perceptron with its norm, not time, as the clock.

Gradient flow :math:`\dot w = g(w)` needs a time that grows like :math:`e^\lambda` to
reach a norm
:math:`\lambda`. Along the same path the direction :math:`n = w/\|w\|` obeys

.. math::

   \frac{dn}{d\log\lambda} = \frac{g}{n \cdot g} - n,
   \qquad g = \sum_\mu y_\mu x_\mu\, p(\lambda\, y_\mu x_\mu \cdot n),

in which the scale of :math:`g` cancels: the weights :math:`p` are divided by their
largest, so that nothing underflows. The equation is stiff, with rates of the order of
:math:`\lambda`; an implicit solver with the exact Jacobian takes steps that do not
shrink.

References
----------
D'Amico, Bocchi and Negri (2025), arXiv:2505.13230, section 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp
from scipy.special import expit, log_expit

__all__ = ["LOSSES", "FlowPath", "Loss", "hebb_direction", "norm_flow"]

# Below this share of the margins' absolute sum, w.g is a cancellation: the norm has
# stopped growing.
_STALL = 1e-7
_RTOL, _ATOL = 1e-7, 1e-9
# Samples with a smaller relative weight do not move the Jacobian.
_NEGLIGIBLE = 1e-14


@dataclass(frozen=True)
class Loss:
    """What the flow needs of a loss.

    Parameters
    ----------
    weights : callable
        Of the margins, the weights p of the gradient up to a common factor.
    slopes : callable
        Of the margins, the derivative of p, up to the same factor.
    mean : callable
        Of the margins, the mean loss in nats.
    """

    weights: Callable[[np.ndarray], np.ndarray]
    slopes: Callable[[np.ndarray], np.ndarray]
    mean: Callable[[np.ndarray], float]


def _logistic_weights(margin: np.ndarray) -> np.ndarray:
    log_weight = log_expit(-2 * margin)
    return np.exp(log_weight - log_weight.max())


def _logistic_slopes(margin: np.ndarray) -> np.ndarray:
    return -2 * expit(2 * margin) * _logistic_weights(margin)


LOSSES: dict[str, Loss] = {
    "logistic": Loss(
        _logistic_weights,
        _logistic_slopes,
        lambda margin: float(np.mean(-log_expit(2 * margin))),
    ),
    "square": Loss(
        lambda margin: 1.0 - margin,
        lambda margin: np.full_like(margin, -1.0),
        lambda margin: float(np.mean((1.0 - margin) ** 2) / 2),
    ),
}


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


def norm_flow(
    signed: np.ndarray,
    norms: np.ndarray,
    loss: str = "logistic",
    *,
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
    rtol, atol : float
        Tolerances of the direction's components.

    Returns
    -------
    FlowPath
        Fewer records than `norms` where the norm stops growing before the last.
    """
    functions = LOSSES[loss]
    n_features = signed.shape[1]

    def gradient(log_norm: float, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        margin = np.exp(log_norm) * (signed @ n)
        return margin, signed.T @ functions.weights(margin)

    def velocity(log_norm: float, n: np.ndarray) -> np.ndarray:
        _, g = gradient(log_norm, n)
        return g / (n @ g) - n

    def jacobian(log_norm: float, n: np.ndarray) -> np.ndarray:
        margin, g = gradient(log_norm, n)
        slopes = functions.slopes(margin)
        heavy = np.abs(slopes) > _NEGLIGIBLE * np.abs(slopes).max()
        part = signed[heavy]
        turn = np.exp(log_norm) * (part.T @ (slopes[heavy, None] * part))
        growth = n @ g
        result = turn / growth - np.outer(g, g + turn @ n) / growth**2
        result[np.diag_indices(n_features)] -= 1.0
        return result

    def stalled(log_norm: float, n: np.ndarray) -> float:
        margin, _ = gradient(log_norm, n)
        pull = functions.weights(margin) * margin
        return pull.sum() / np.abs(pull).sum() - _STALL

    stalled.terminal = True  # type: ignore[attr-defined]
    stalled.direction = -1  # type: ignore[attr-defined]
    log_norms = np.log(norms)
    solution = solve_ivp(
        velocity,
        (log_norms[0], log_norms[-1]),
        hebb_direction(signed),
        method="BDF",
        t_eval=log_norms,
        jac=jacobian,
        events=stalled,
        rtol=rtol,
        atol=atol / np.sqrt(n_features),
    )
    directions = solution.y.T
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    # The solver gives up (status -1) where w.g passes through zero between steps.
    reason = "max_norm" if solution.status == 0 else "norm_converged"
    return FlowPath(norms[: len(directions)], directions, reason)
