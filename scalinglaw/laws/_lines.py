"""Straight lines on log axes, with intervals from Student's t."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import statsmodels.api as sm
from scipy import stats
from statsmodels.regression.linear_model import RegressionResults

from ._estimates import Estimate

__all__ = ["Line", "fit_line", "with_reported_errors"]


@dataclass(frozen=True)
class Line:
    r"""A straight line on log axes, fitted to one point per train size or run.

    Parameters
    ----------
    intercept : float
        Value at ``log_x = 0``, natural logarithm.
    exponent : float
        Positive for growth; see `sign`.
    sign : int
        +1 if y grows with the exponent, -1 if it decays.
    center : float
        Mean of ``log_x``, where slope and height are uncorrelated.
    std_err, height_std_err : float
        Standard errors of the exponent and of the line's height at `center`.
    df : float
        Degrees of freedom of both.
    scatter : float
        Standard deviation of single points around the line, at `center`.
    scatter_growth : float
        How fast the logarithm of their variance grows with ``log_x``.
    """

    intercept: float
    exponent: float
    sign: int
    center: float
    std_err: float
    height_std_err: float
    df: float
    scatter: float = np.nan
    scatter_growth: float = 0.0

    @property
    def estimate(self) -> Estimate:
        """The exponent with its error."""
        return Estimate(self.exponent, self.std_err, self.df)

    def predict(self, log_x: np.ndarray) -> np.ndarray:
        """Return the natural logarithm of y at `log_x`."""
        return self.intercept + self.sign * self.exponent * np.asarray(log_x, float)

    def variance(self, log_x: np.ndarray, *, new_point: bool = False) -> np.ndarray:
        """Return the variance of the line's height, or of a new point's near it.

        Parameters
        ----------
        log_x : array of shape (n,)
            Where, natural logarithm.
        new_point : bool, default=False
            Add the scatter of single points.

        Returns
        -------
        array of shape (n,)
        """
        beyond = np.asarray(log_x, dtype=float) - self.center
        variance = self.height_std_err**2 + (self.std_err * beyond) ** 2
        if new_point:
            variance += self.scatter**2 * np.exp(self.scatter_growth * beyond)
        return variance

    def conf_band(
        self, log_x: np.ndarray, alpha: float = 0.05, *, new_point: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the pointwise interval of the line, or of a new point near it.

        Parameters
        ----------
        log_x : array of shape (n,)
            Where, natural logarithm.
        alpha : float, default=0.05
            Significance level.
        new_point : bool, default=False
            Add the scatter of single points.

        Returns
        -------
        low, high : array of shape (n,)
            Natural logarithms.
        """
        quantile = stats.t.ppf(1 - alpha / 2, self.df)
        half = quantile * np.sqrt(self.variance(log_x, new_point=new_point))
        return self.predict(log_x) - half, self.predict(log_x) + half


def fit_line(log_x: np.ndarray, log_y: np.ndarray, sign: int) -> tuple[Line, Any]:
    """Fit a power law to one point per train size, by least squares.

    Parameters
    ----------
    log_x, log_y : array of shape (n,)
        Natural logarithms.
    sign : {-1, 1}
        -1 if the exponent is positive for decay.

    Returns
    -------
    line : Line
        With n - 2 degrees of freedom; its errors are NaN for n < 3.
    results : statsmodels RegressionResults
        Of the regression on the centred logarithm, with t quantiles.
    """
    center = float(np.mean(log_x))
    design = np.column_stack([np.ones(len(log_x)), log_x - center])
    results = sm.OLS(log_y, design).fit(use_t=True)
    height, slope = results.params
    df = float(len(log_x) - 2)
    if df > 0:
        errors = results.bse
        scatter = float(np.sqrt(results.scale))
    else:
        errors, scatter, df = (np.nan, np.nan), np.nan, np.nan
    line = Line(
        intercept=float(height - slope * center),
        exponent=float(sign * slope),
        sign=sign,
        center=center,
        std_err=float(errors[1]),
        height_std_err=float(errors[0]),
        df=df,
        scatter=scatter,
    )
    return line, results


def with_reported_errors(results: Any, std_errs: Sequence[float], df: float) -> Any:
    """Return a regression again with the errors that are reported of it.

    Parameters
    ----------
    results : statsmodels RegressionResults
        A fitted regression.
    std_errs : sequence of float
        Standard error of each coefficient; their covariances are zero.
    df : float
        Degrees of freedom of the t quantiles.

    Returns
    -------
    statsmodels RegressionResults
        With ``bse``, ``conf_int()`` and ``summary()`` from these errors.
    """
    # statsmodels multiplies by its own estimate of the residual variance.
    scale = max(float(results.scale), 1e-300)
    again = RegressionResults(
        results.model,
        np.asarray(results.params),
        normalized_cov_params=np.diag(np.square(std_errs)) / scale,
        scale=scale,
        use_t=True,
    )
    again.df_resid_inference = df
    return again
