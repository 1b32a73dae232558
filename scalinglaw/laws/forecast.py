"""Forecasts of the error at the optimum, and of whole curves."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._validation import check_positive
from .inference import Line

__all__ = ["forecast_curve", "forecast_optimum"]

_N_BINS = 80


def forecast_optimum(
    train_size: Any, law: Line | None, shift: float, alpha: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Extend the data law to other train sizes.

    Parameters
    ----------
    train_size : array-like of shape (n,)
        Train sizes.
    law : Line or None
        The data law, at the landmark.
    shift : float
        Log error at the optimum less that at the landmark.
    alpha : float
        Significance level of the prediction interval.

    Returns
    -------
    log_error, low, high : array of shape (n,)
        Natural logarithms.

    Raises
    ------
    ValueError
        If there is no data law, or a train size is not positive.
    """
    log_size = np.log(check_positive(np.atleast_1d(train_size), "train_size"))
    if law is None:
        raise ValueError(
            "there is no data law to forecast from: gamma_measured has no number, "
            "because training stopped before the optimum in too many train sizes."
        )
    low, high = law.conf_band(log_size, alpha, new_point=True)
    return law.predict(log_size) + shift, low + shift, high + shift


def forecast_curve(
    train_size: float,
    log_norm: Any,
    optimum_law: Line | None,
    data_law: Line | None,
    master: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Place the collapsed master curve at a train size.

    Parameters
    ----------
    train_size : float
        Train size.
    log_norm : array-like of shape (n,)
        Natural logarithms of the norm.
    optimum_law, data_law : Line or None
        Where the curve goes.
    master : tuple of arrays
        Log norm and log error relative to the landmark, of all train sizes.

    Returns
    -------
    array of shape (n,)
        Natural logarithms of the error; NaN beyond the master curve.

    Raises
    ------
    ValueError
        If one of the laws is missing.
    """
    log_size = np.log(check_positive(np.atleast_1d(train_size), "train_size"))
    if optimum_law is None or data_law is None:
        raise ValueError(
            "a curve cannot be placed without both the optimum law and the data law: "
            "train longer, so that the optima are reached."
        )
    x, y = (np.asarray(values, dtype=float) for values in master)
    known = np.isfinite(x) & np.isfinite(y)
    edges = np.linspace(x[known].min(), x[known].max(), _N_BINS + 1)
    cell = np.clip(np.digitize(x[known], edges) - 1, 0, _N_BINS - 1)
    count = np.bincount(cell, minlength=_N_BINS)
    filled = count > 0
    middle = np.bincount(cell, x[known], _N_BINS)[filled] / count[filled]
    height = np.bincount(cell, y[known], _N_BINS)[filled] / count[filled]
    at = np.asarray(log_norm, dtype=float) - float(optimum_law.predict(log_size)[0])
    relative = np.interp(at, middle, height, left=np.nan, right=np.nan)
    return relative + float(data_law.predict(log_size)[0])
