r"""Gradient flow of a perceptron along the length of its path, not in time.

Gradient flow :math:`\dot w = g(w)` needs a time that grows like :math:`e^\lambda` to
reach a norm :math:`\lambda`. The path itself does not: measured by
:math:`d\ell = \|dw\|/\|w\|`, the direction :math:`n = w/\|w\|` and the norm obey

.. math::

   \frac{dn}{d\ell} = u - (n \cdot u)\,n, \qquad
   \frac{d\log\lambda}{d\ell} = n \cdot u, \qquad
   u = \frac{g}{\|g\|}, \quad
   g = \sum_\mu y_\mu x_\mu\, p(\lambda\, y_\mu x_\mu \cdot n),

in which the scale of :math:`g` cancels: the weights :math:`p` are divided by their
largest, so that nothing underflows. Where all goes well :math:`\ell` is nearly
:math:`\log\lambda`, but it serves also where the norm shrinks for a while. The
equation is stiff, with rates of the order of :math:`\lambda`; an implicit solver with
the exact Jacobian takes steps that do not shrink.

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

from ._losses import LOSSES, Loss

__all__ = ["FlowPath", "NormFlow", "hebb_direction", "norm_flow"]

# Where |g| is a smaller share of its terms' lengths, and some sample is still on the
# wrong side, the flow has come to rest; near rest, a solver that gives up says so too.
_REST, _NEAR_REST = 1e-6, 1e-3
# A path of many times the logarithm of its norm is none that a perceptron takes.
_LONGEST = 1e3
# The test error then has a relative error of the order of 1e-5.
_RTOL, _ATOL = 1e-5, 1e-7
# Samples of a smaller relative weight are left out of the Jacobian, which steers the
# implicit solver and does not enter the path.
_NEGLIGIBLE = 1e-8
# Rows of a block of the Jacobian's sum: bounds the memory of the weighted copy.
_BLOCK = 2048


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
        ``"max_norm"``, or ``"norm_converged"`` where the flow came to rest.
    end : array of shape (n_features,)
        The last point, :math:`\lambda n`.
    """

    norms: np.ndarray
    directions: np.ndarray
    stop_reason: str
    end: np.ndarray


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
    r"""The flow's equation, of the state :math:`(n, \log\lambda)`.

    Parameters
    ----------
    signed : array of shape (n_samples, n_features)
        Inputs times labels -1 and 1.
    loss : Loss
        Which loss.
    """

    def __init__(self, signed: np.ndarray, loss: Loss):
        self.loss = loss
        self.signed = signed
        self._longest = float(np.sqrt(np.einsum("ij,ij->i", signed, signed).max()))
        self._motion = 1.0

    def velocity(self, _: float, state: np.ndarray) -> np.ndarray:
        r"""Return the derivative of the state by the path's length.

        Parameters
        ----------
        _ : float
            The length so far, which does not enter.
        state : array of shape (n_features + 1,)
            :math:`(n, \log\lambda)`.

        Returns
        -------
        array of shape (n_features + 1,)
            Of unit length where n is.
        """
        n = state[:-1]
        _margin, weights, g = self._pull(state)
        self._motion = self._share(weights, g)
        u = g / float(np.linalg.norm(g))
        growth = n @ u
        return np.append(u - growth * n, growth)

    def jacobian(self, _: float, state: np.ndarray) -> np.ndarray:
        r"""Return the derivatives of the velocity, as a matrix.

        Parameters
        ----------
        _ : float
            The length so far, which does not enter.
        state : array of shape (n_features + 1,)
            :math:`(n, \log\lambda)`.

        Returns
        -------
        array of shape (n_features + 1, n_features + 1)
            By the state's components along the second axis.
        """
        n = state[:-1]
        margin, _weights, g = self._pull(state)
        length = float(np.linalg.norm(g))
        u = g / length
        # Minus the derivatives of g by w, times the norm: a sum of x x^T by weight.
        curvatures = -np.exp(state[-1]) * self.loss.slopes(margin)
        curvature = _weighted_gram(self.signed, curvatures) / length
        # The derivatives of u are those of g without their part along u.
        turn = np.outer(u, u @ curvature) - curvature
        along = u + n @ turn
        result = np.empty((len(state), len(state)))
        result[:-1, :-1] = turn - np.outer(n, along)
        result[:-1, :-1][np.diag_indices(len(n))] -= n @ u
        result[:-1, -1] = turn @ n - n * (n @ turn @ n)
        result[-1, :-1] = along
        result[-1, -1] = n @ turn @ n
        return result

    def motion(self, _: float, state: np.ndarray) -> float:
        r"""Return how far the gradient is from rest, for ``solve_ivp``'s events.

        Parameters
        ----------
        _ : float
            The length so far, which does not enter.
        state : array of shape (n_features + 1,)
            :math:`(n, \log\lambda)`.

        Returns
        -------
        float
            The length of g over that of its terms, less the share that counts as
            rest.
        """
        # Far from rest, which the last velocity has seen, there is nothing to sum.
        if self._motion > _NEAR_REST:
            return 1.0
        margin, weights, g = self._pull(state)
        if self.loss.decays and margin.min() > 0:
            return 1.0
        return self._share(weights, g) - _REST

    @property
    def near_rest(self) -> bool:
        """Whether the gradient was next to nothing when last computed."""
        return self._motion < _NEAR_REST

    def _pull(self, state: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the samples' margins and weights, and g."""
        margin = float(np.exp(state[-1])) * (self.signed @ state[:-1])
        weights = self.loss.weights(margin)
        return margin, weights, weights @ self.signed

    def _share(self, weights: np.ndarray, g: np.ndarray) -> float:
        terms = self._longest * np.abs(weights).sum()
        return float(np.linalg.norm(g) / terms)


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
        direction, and is recorded where it first reaches each of the others.
    loss : {"logistic", "square"}
        Which loss.
    rtol, atol : float
        Tolerances of the direction's components.

    Returns
    -------
    FlowPath
        Fewer records than `norms` where the flow comes to rest before the last.

    Raises
    ------
    ValueError
        If the solver can go on neither to the last norm nor to rest.
    """
    flow, n_features = NormFlow(signed, LOSSES[loss]), signed.shape[1]
    log_norms = np.log(norms)
    marks = [_reaches(log_norm) for log_norm in log_norms[1:]]
    marks[-1] = _ending(marks[-1])
    # scipy's BDF subtracts rows that it has not filled yet, and never uses them.
    with np.errstate(invalid="ignore", over="ignore"):
        solution = solve_ivp(
            flow.velocity,
            (0.0, _LONGEST * (1 + log_norms[-1] - log_norms[0])),
            np.append(hebb_direction(signed), log_norms[0]),
            events=[*marks, _ending(flow.motion)],
            rtol=rtol,
            atol=atol / np.sqrt(n_features),
            method="BDF",
            jac=flow.jacobian,
        )
    first_states = [states[0] for states in solution.y_events[:-1] if len(states)]
    directions = np.array([solution.y[:-1, 0], *(y[:-1] for y in first_states)])
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    if len(directions) == len(norms):
        reason = "max_norm"
    elif solution.status == 1 or flow.near_rest:
        reason = "norm_converged"
    else:
        raise ValueError(
            f"the norm flow ended at norm {np.exp(solution.y[-1, -1]):g}, of max_norm="
            f"{norms[-1]:g}: {solution.message} Lower max_norm, or give X features of "
            "about unit variance."
        )
    end = np.exp(solution.y[-1, -1]) * solution.y[:-1, -1]
    return FlowPath(norms[: len(directions)], directions, reason, end)


def _reaches(log_norm: float) -> Callable[[float, np.ndarray], float]:
    """Return the event that the norm grows past a mark."""

    def event(_: float, state: np.ndarray) -> float:
        return float(state[-1] - log_norm)

    event.direction = 1  # type: ignore[attr-defined]
    return event


def _ending(event: Callable[..., Any]) -> Callable[[float, np.ndarray], float]:
    """Return an event at which the solver stops."""

    def ending(length: float, state: np.ndarray) -> float:
        return event(length, state)

    ending.direction = getattr(event, "direction", 0)  # type: ignore[attr-defined]
    ending.terminal = True  # type: ignore[attr-defined]
    return ending


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
