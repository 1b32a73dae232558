"""Forecasts of the error at the optimum, and of whole curves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import special, stats

from .._validation import check_positive
from ._estimates import Estimate, satterthwaite
from ._lines import Line, fit_line
from ._offset import Offset

__all__ = [
    "ForecastLaw",
    "fit_forecast",
    "forecast_curve",
    "forecast_optimum",
    "scatter_growth",
]

_N_BINS = 80
_MOST_GROWTH = 1.0


@dataclass(frozen=True)
class ForecastLaw:
    """The line of the lowest error less an offset, and how both are known.

    Parameters
    ----------
    line : Line
        Log error less the offset against log train size.
    offset : Offset
        What was taken off.
    intercept_move, exponent_move : float
        Derivatives of the line by the offset.
    n_test : int or None
        Test examples that errors are counted on, if all runs share one test set.
    """

    line: Line
    offset: Offset
    intercept_move: float
    exponent_move: float
    n_test: int | None = None


def fit_forecast(
    log_size: np.ndarray,
    log_error: np.ndarray,
    offset: Offset,
    *,
    seeds: tuple[np.ndarray, np.ndarray],
    n_test: int | None,
    product: Estimate | None = None,
    product_move: float = 0.0,
    of_difference: float = np.nan,
) -> ForecastLaw | None:
    r"""Return the law that forecasts of the lowest error extend.

    Where the law is not contradicted, its exponent is known twice: as the product
    :math:`\gamma_1\gamma_2`, and as the slope of the minima; they are weighted by
    their inverse variances. What moves one of them mostly moves the other, and the
    variance of their difference tells how much. Otherwise the slope of the minima
    stands alone.

    Parameters
    ----------
    log_size, log_error : array of shape (n,)
        Train sizes whose optimum was reached, and the lowest errors there, in natural
        logarithms.
    offset : Offset
        What is taken off the errors.
    seeds : (array of shape (n_runs,), array of shape (n_runs,))
        Train size and lowest log error of single runs, for how their scatter grows.
    n_test : int or None
        Test examples, if errors are counted on one set.
    product : Estimate, optional
        The predicted exponent, if the law was tested and is not contradicted.
    product_move, of_difference : float
        Its derivative by the offset, and the variance of what it exceeds the measured
        exponent by.

    Returns
    -------
    ForecastLaw or None
        None for fewer than two train sizes.
    """
    if len(log_size) < 2:
        return None
    error = np.exp(log_error)
    left = error - offset.value
    y = np.log(left)
    line, _ = fit_line(log_size, y, -1)
    size, lowest = seeds
    line = replace(line, scatter_growth=scatter_growth(size, lowest))
    centred = log_size - log_size.mean()
    weights = centred / (centred @ centred)
    exponent_move = float(weights @ (1 / left))
    if product is not None and line.std_err > 0:
        weight, exponent, std_err = _weighted_mean(
            product, line.estimate, of_difference
        )
        residuals = y - y.mean() + exponent * centred
        scatter = float(np.sqrt(np.sum(residuals**2) / line.df))
        line = replace(
            line,
            intercept=float(y.mean() + exponent * log_size.mean()),
            exponent=exponent,
            std_err=std_err,
            height_std_err=scatter / np.sqrt(len(y)),
            scatter=scatter,
        )
        exponent_move = weight * product_move + (1 - weight) * exponent_move
    intercept_move = -float(np.mean(1 / left)) + exponent_move * float(log_size.mean())
    return ForecastLaw(line, offset, intercept_move, exponent_move, n_test)


def scatter_growth(train_size: np.ndarray, height: np.ndarray) -> float:
    """Return how fast the variance between seeds grows with the train size.

    Where slopes differ from run to run, so do heights, the more the farther the
    law goes. A variance from k seeds has a logarithm with an error of its own, known
    if heights are normal; what the trend shows is shrunk by what it would show by
    chance (empirical Bayes).

    Parameters
    ----------
    train_size, height : array of shape (n_runs,)
        Train size and log error of each run.

    Returns
    -------
    float
        Of the log variance against the log train size; 0 where seeds do not tell,
        or it falls, which no forecast should rely on.
    """
    sizes, group = np.unique(train_size, return_inverse=True)
    half_df = (np.bincount(group) - 1) / 2
    mean = np.bincount(group, height) / np.bincount(group)
    squares = np.bincount(group, (height - mean[group]) ** 2)
    known = (half_df > 0) & (squares > 0)
    if known.sum() < 3:
        return 0.0
    half_df, log_squares = half_df[known], np.log(squares[known] / 2)
    weight = 1 / special.polygamma(1, half_df)
    x = np.log(sizes[known])
    x = x - np.average(x, weights=weight)
    precision = np.sum(weight * x**2)
    growth = np.sum(weight * x * (log_squares - special.digamma(half_df))) / precision
    if growth <= 0:
        return 0.0
    shrunk = growth * max(0.0, 1 - 1 / (precision * growth**2))
    # Few seeds may show any trend: what grows faster is not extrapolated.
    return float(min(shrunk, _MOST_GROWTH))


def _weighted_mean(
    first: Estimate, second: Estimate, of_difference: float
) -> tuple[float, float, float]:
    """Return the weight of the first of two estimates, their mean, and its error."""
    ours, theirs = first.std_err**2, second.std_err**2
    bound = first.std_err * second.std_err
    shared = float(np.clip((ours + theirs - of_difference) / 2, -bound, bound))
    # Weights that use the correlation would be better if it were known better: it
    # comes from as few points as there are train sizes.
    weight = theirs / (ours + theirs)
    rest = 1.0 - weight
    variance = weight**2 * ours + rest**2 * theirs + 2 * weight * rest * shared
    mean = weight * first.estimate + rest * second.estimate
    return weight, mean, float(np.sqrt(variance))


def forecast_optimum(
    train_size: Any, law: ForecastLaw, alpha: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Extend the law of the lowest error to other train sizes.

    Parameters
    ----------
    train_size : array-like of shape (n,)
        Train sizes.
    law : ForecastLaw
        From :func:`fit_forecast`.
    alpha : float
        Significance level of the prediction interval.

    Returns
    -------
    error, low, high : array of shape (n,)
        In the unit of the errors. The interval is symmetric in the logarithm of the
        error :math:`q + e^h`, of variance :math:`(e^h/\epsilon)^2 v_h + (1 + e^h
        dh/dq)^2 v_q/\epsilon^2`, plus that of counting.

    Raises
    ------
    ValueError
        If a train size is not positive.
    """
    log_size = np.log(check_positive(np.atleast_1d(train_size), "train_size"))
    line, offset = law.line, law.offset
    with np.errstate(over="ignore"):
        left = np.exp(line.predict(log_size))
        error = offset.value + left
        variances = [(left / error) ** 2 * line.variance(log_size, new_point=True)]
        dfs = [line.df]
        if law.n_test is not None:
            # Fewer errors are counted at a larger train size, and so with more noise
            # than the scatter of the smaller ones shows.
            seen = offset.value + np.exp(line.predict(np.array(line.center)))
            variances.append(np.maximum(1 / error - 1 / seen, 0.0) / law.n_test)
            dfs.append(np.inf)
        if offset.std_err > 0:
            of_height = law.intercept_move - law.exponent_move * log_size
            variances.append(((1 + left * of_height) / error * offset.std_err) ** 2)
            dfs.append(offset.found.df)
        df = [satterthwaite(parts, np.array(dfs)) for parts in np.transpose(variances)]
        half = stats.t.ppf(1 - alpha / 2, df) * np.sqrt(np.sum(variances, axis=0))
        return error, error * np.exp(-half), error * np.exp(half)


def forecast_curve(
    train_size: float,
    log_norm: Any,
    optimum_law: Line | None,
    data_law: Line | None,
    master: tuple[np.ndarray, np.ndarray, np.ndarray],
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
        Log norm and log error relative to the landmark, of all train sizes, and the
        log error itself.

    Returns
    -------
    array of shape (n,)
        Natural logarithms of the error; NaN beyond the master curve.

    Raises
    ------
    TypeError, ValueError
        If `train_size` is not one positive number, or one of the laws is missing.
    """
    if np.size(train_size) != 1:
        raise TypeError(
            f"train_size must be one number, got {np.size(train_size)} of them: a call "
            "forecasts one curve."
        )
    log_size = np.log(check_positive(np.ravel(train_size), "train_size"))
    if optimum_law is None or data_law is None:
        raise ValueError(
            "a curve cannot be placed without both the optimum law and the data law, "
            "which have no number: the table has one train size, or training stopped "
            "before the optimum in too many."
        )
    x, y, log_error = master
    known = np.isfinite(x) & np.isfinite(y)
    edges = np.linspace(x[known].min(), x[known].max(), _N_BINS + 1)
    cell = np.clip(np.digitize(x[known], edges) - 1, 0, _N_BINS - 1)
    count = np.bincount(cell, minlength=_N_BINS)
    filled = count > 0
    middle = np.bincount(cell, x[known], _N_BINS)[filled] / count[filled]
    height = np.bincount(cell, y[known], _N_BINS)[filled] / count[filled]
    at = np.asarray(log_norm, dtype=float) - float(optimum_law.predict(log_size)[0])
    relative = np.interp(at, middle, height, left=np.nan, right=np.nan)
    # Plateaus are as high for every train size, and do not collapse.
    highest = np.max(log_error[known])
    return np.minimum(relative + float(data_law.predict(log_size)[0]), highest)
