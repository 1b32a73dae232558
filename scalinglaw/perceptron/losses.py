"""The losses of a perceptron, as its flow needs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_expit

__all__ = ["LOSSES", "Loss"]


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
