"""The finite optimum at which the flow of data that are not separable ends."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit

__all__ = ["find_optimum"]


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
