"""The losses of a perceptron, and the finite minimum that a loss may have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit

__all__ = ["LOSSES", "Loss", "find_optimum"]


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
    decays : bool
        Whether the weights of large margins vanish.
    """

    weights: Callable[[np.ndarray], np.ndarray]
    slopes: Callable[[np.ndarray], np.ndarray]
    mean: Callable[[np.ndarray], float]
    decays: bool


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
        decays=True,
    ),
    "square": Loss(
        lambda margin: 1.0 - margin,
        lambda margin: np.full_like(margin, -1.0),
        lambda margin: float(np.mean((1.0 - margin) ** 2) / 2),
        decays=False,
    ),
}


def find_optimum(signed: np.ndarray, loss: str, start: np.ndarray) -> np.ndarray:
    r"""Return the minimiser of the mean loss, near a point where a flow came to rest.

    Parameters
    ----------
    signed : array of shape (n_samples, n_features)
        Inputs times labels -1 and 1.
    loss : {"logistic", "square"}
        Which loss.
    start : array of shape (n_features,)
        Where the flow ended, :math:`\lambda n`.

    Returns
    -------
    array of shape (n_features,)
        Of length :math:`\lambda` at the optimum. Of several it is the one nearest to
        0 (square), or near `start` (logistic): features that are constant stay out.
    """
    if loss == "square":
        return np.linalg.lstsq(signed, np.ones(len(signed)), rcond=None)[0]
    n_samples = len(signed)
    # In units of the start's length, or the trust region would know no scale.
    unit = float(np.linalg.norm(start))

    def value(v: np.ndarray) -> tuple[float, np.ndarray]:
        margin = unit * (signed @ v)
        pull = expit(-2 * margin) @ signed
        return -log_expit(2 * margin).mean(), -2 * unit / n_samples * pull

    def curvature(v: np.ndarray, direction: np.ndarray) -> np.ndarray:
        margin = unit * (signed @ v)
        weight = expit(2 * margin) * expit(-2 * margin)
        return 4 * unit**2 / n_samples * ((weight * (signed @ direction)) @ signed)

    found = minimize(
        value,
        start / unit,
        jac=True,
        hessp=curvature,
        method="trust-ncg",
        options={"gtol": 1e-11, "maxiter": 200},
    )
    return unit * found.x
