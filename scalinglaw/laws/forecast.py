"""Forecasts of the error at the optimum, and of whole curves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy import special, stats

from .._validation import check_positive
from .curves import Curves
from .fitted import FittedLaws
from .inference import Estimate, Line, fit_line, satterthwaite
from .landmark import Landmarks, average_minima

__all__ = ["fit_forecast", "forecast_curve", "forecast_optimum", "scatter_growth"]

# Below this p-value the product and the measured exponent are not combined.
_CONTRADICTED = 0.05
_N_BINS = 80
_MOST_GROWTH = 1.0


def fit_forecast(
    curves: Curves,
    optima: Landmarks,
    landmarks: Landmarks,
    usable: np.ndarray,
    predicted: Estimate,
    measured: Estimate,
    consistency: Estimate,
) -> Line | None:
    r"""Return the line that forecasts of the lowest error extend.

    Where the law is not contradicted, its exponent is known twice: as the product
    :math:`\gamma_1\gamma_2`, and as the slope of the minima; they are weighted by
    their inverse variances. What moves one of them mostly moves the other, and the
    variance of their difference tells how much. Otherwise the slope of the minima
    stands alone.

    Parameters
    ----------
    curves : Curves
        All runs.
    optima : Landmarks
        Lowest errors, one per run.
    landmarks : Landmarks
        What gamma2 was fitted to, one per train size.
    usable : array of bool of shape (n_sizes,)
        Train sizes that tell where their landmark is.
    predicted, measured, consistency : Estimate
        The product, the measured exponent, and their difference.

    Returns
    -------
    Line or None
        None where there is no measured exponent.
    """
    if not np.isfinite(measured.estimate):
        return None
    minima = average_minima(curves, optima)
    reached = usable & ~minima.censored
    y = minima.y
    if reached.sum() < max(2, usable.sum() / 2):
        # Most minima lie beyond the end of training: the landmarks, moved to where
        # the others are, stand for them.
        shift = np.mean((minima.y - landmarks.y)[reached if reached.any() else usable])
        y, reached = landmarks.y + shift, usable
    x, y = np.log(curves.train_sizes)[reached], y[reached]
    line, _ = fit_line(x, y, -1)
    runs = usable[curves.size_of_run] & optima.reached
    size = curves.train_sizes[curves.size_of_run[runs]]
    line = replace(line, scatter_growth=scatter_growth(size, optima.y[runs]))
    if not consistency.p_value > _CONTRADICTED or not line.std_err > 0:
        return line
    of_difference = consistency.std_err**2
    exponent, std_err = _weighted_mean(predicted, line.estimate, of_difference)
    residuals = y - y.mean() + exponent * (x - x.mean())
    scatter = float(np.sqrt(np.sum(residuals**2) / line.df))
    return replace(
        line,
        intercept=float(y.mean() + exponent * x.mean()),
        exponent=exponent,
        std_err=std_err,
        height_std_err=scatter / np.sqrt(len(x)),
        scatter=scatter,
    )


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
) -> tuple[float, float]:
    """Return the weighted mean of two estimates of one number, and its error."""
    ours, theirs = first.std_err**2, second.std_err**2
    bound = first.std_err * second.std_err
    shared = float(np.clip((ours + theirs - of_difference) / 2, -bound, bound))
    # Weights that use the correlation would be better if it were known better: it
    # comes from as few points as there are train sizes.
    weight = theirs / (ours + theirs)
    rest = 1.0 - weight
    variance = weight**2 * ours + rest**2 * theirs + 2 * weight * rest * shared
    return weight * first.estimate + rest * second.estimate, float(np.sqrt(variance))


def forecast_optimum(
    train_size: Any, laws: FittedLaws, alpha: float, n_test: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Extend the law of the lowest error to other train sizes.

    Parameters
    ----------
    train_size : array-like of shape (n,)
        Train sizes.
    laws : FittedLaws
        With a law from :func:`fit_forecast`, perhaps of errors less an offset.
    alpha : float
        Significance level of the prediction interval.
    n_test : int, optional
        Test examples: fewer errors are counted at a larger train size, and so with
        more noise than the scatter of the smaller ones shows.

    Returns
    -------
    error, low, high : array of shape (n,)
        Fractions. The interval is symmetric in the logarithm of the error
        :math:`q + e^h`, of variance :math:`(e^h/\epsilon)^2 v_h + (1 + e^h
        dh/dq)^2 v_q/\epsilon^2`, plus that of counting.

    Raises
    ------
    ValueError
        If there is no law, or a train size is not positive.
    """
    log_size = np.log(check_positive(np.atleast_1d(train_size), "train_size"))
    law, offset = laws.forecast_law, laws.offset_test
    if law is None:
        raise ValueError(
            "there is no data law to forecast from: gamma_measured has no number, "
            f"{_why_no_law(len(laws.landmarks.x))}."
        )
    left = np.exp(law.predict(log_size))
    error = laws.offset + left
    variances = [(left / error) ** 2 * law.variance(log_size, new_point=True)]
    dfs = [law.df]
    if n_test is not None:
        seen = laws.offset + np.exp(law.predict(np.array(law.center)))
        variances.append(np.maximum(1 / error - 1 / seen, 0.0) / n_test)
        dfs.append(np.inf)
    if laws.moves:
        of_height = law.sign * laws.moves["forecast_exponent"] * log_size
        of_height = of_height + laws.moves["forecast_intercept"]
        variances.append(((1 + left * of_height) / error * offset.std_err) ** 2)
        dfs.append(offset.df)
    df = [satterthwaite(parts, np.array(dfs)) for parts in np.transpose(variances)]
    half = stats.t.ppf(1 - alpha / 2, df) * np.sqrt(np.sum(variances, axis=0))
    with np.errstate(over="ignore"):
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


def _why_no_law(n_sizes: int) -> str:
    if n_sizes == 1:
        return "because the table has one train size"
    return "because training stopped before the optimum in too many train sizes"
