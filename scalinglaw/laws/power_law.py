"""One power law, by least squares on log axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import optimize
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from .._validation import (
    check_fraction,
    check_option,
    check_positive,
    check_same_length,
)
from .inference import Estimate, cluster_robust

__all__ = ["PowerLawFit"]

_COV_TYPES = ("HC3", "HC1", "nonrobust")
_NAMES = ["log_scale", "exponent"]


class PowerLawFit(BaseEstimator):
    r"""Exponent of :math:`y = c\,x^{-\gamma}\;(+\,q)`, by least squares on log axes.

    Epochs of one run share their noise. Give the run of each point as ``groups``, or
    the interval can be several times too narrow.

    Parameters
    ----------
    offset : bool, default=False
        Fit a constant :math:`q \ge 0` as well. Its uncertainty enters that of the
        exponent.
    cov_type : {"HC3", "HC1", "nonrobust"}, default="HC3"
        Covariance used without ``groups``; with them it is cluster-robust (CR2,
        Bell and McCaffrey's degrees of freedom).

    Attributes
    ----------
    exponent_ : float
        :math:`\gamma`, without unit; positive when y falls as x grows.
    scale_ : float
        :math:`c`, the fitted y at x = 1; infinite where a float64 cannot hold it.
    offset_ : float
        :math:`q`, in the unit of y; 0 without ``offset``.
    params_, bse_ : Series
        Estimates and standard errors of ``log_scale`` (natural) and ``exponent``.
    df_ : Series
        Degrees of freedom of each standard error.
    results_ : statsmodels RegressionResults
        The regression on log axes.

    References
    ----------
    .. [1] D'Amico, Bocchi and Negri (2025), arXiv:2505.13230.

    Examples
    --------
    >>> from scalinglaw import PowerLawFit
    >>> fit = PowerLawFit().fit([1e3, 1e4, 1e5, 1e6], [0.4, 0.2, 0.1, 0.05])
    >>> print(f"{fit.exponent_:.3f}")
    0.301
    """

    def __init__(self, *, offset: bool = False, cov_type: str = "HC3"):
        self.offset = offset
        self.cov_type = cov_type

    def fit(self, x: Any, y: Any, groups: Any = None) -> PowerLawFit:
        """Fit the power law.

        Parameters
        ----------
        x, y : array-like of shape (n,)
            Positive numbers.
        groups : array-like of shape (n,), optional
            Run, or other cluster, of each point.

        Returns
        -------
        PowerLawFit
            Itself.

        Raises
        ------
        ValueError
            If a value is not positive, there are fewer than three points (four
            with an offset), x is constant, or there is a single group.
        """
        check_option(self.cov_type, "cov_type", _COV_TYPES)
        check_option(self.offset, "offset", (False, True))
        x, y = check_positive(x, "x"), check_positive(y, "y")
        check_same_length(x=x, y=y)
        codes = _group_codes(groups, x)
        needed = 4 if self.offset else 3
        if len(np.unique(x)) < needed:
            raise ValueError(
                f"x must hold at least {needed} different values, got "
                f"{len(np.unique(x))}: a power law through fewer has no error."
            )
        self.offset_ = _best_offset(np.log(x), y) if self.offset else 0.0
        design, target = _regression(np.log(x), y, self.offset_, self.offset)
        self._store(design, target, codes)
        return self

    def predict(self, x: Any) -> np.ndarray:
        """Return the fitted y.

        Parameters
        ----------
        x : array-like of shape (n,)
            Positive numbers.

        Returns
        -------
        ndarray of shape (n,)
            In the unit of y.
        """
        check_is_fitted(self)
        log_x = np.log(check_positive(x, "x"))
        log_y = self.params_["log_scale"] - self.exponent_ * log_x
        return self.offset_ + np.exp(log_y)

    def conf_int(self, alpha: float = 0.05) -> pd.DataFrame:
        """Return the intervals of the parameters.

        Parameters
        ----------
        alpha : float, default=0.05
            Significance level.

        Returns
        -------
        DataFrame
            Index ``log_scale``, ``exponent``; columns ``ci_low``, ``ci_high``.
        """
        check_is_fitted(self)
        check_fraction(alpha, "alpha")
        rows = {name: self.estimate(name).conf_int(alpha) for name in _NAMES}
        return pd.DataFrame.from_dict(
            rows, orient="index", columns=["ci_low", "ci_high"]
        )

    def estimate(self, name: str = "exponent") -> Estimate:
        """Return one parameter with its error and degrees of freedom.

        Parameters
        ----------
        name : {"exponent", "log_scale"}, default="exponent"
            Which.

        Returns
        -------
        Estimate
            As used by ``compare_exponents``.
        """
        check_is_fitted(self)
        check_option(name, "name", _NAMES)
        return Estimate(self.params_[name], self.bse_[name], self.df_[name])

    def summary(self) -> pd.DataFrame:
        """Return the parameters with errors, degrees of freedom and 95 % intervals.

        Returns
        -------
        DataFrame
            One row per parameter.
        """
        check_is_fitted(self)
        table = pd.DataFrame(
            {"estimate": self.params_, "std_err": self.bse_, "df": self.df_}
        )
        return table.join(self.conf_int())

    def _store(
        self, design: np.ndarray, target: np.ndarray, codes: np.ndarray | None
    ) -> None:
        model = sm.OLS(target, design)
        if codes is None:
            self.results_ = model.fit(cov_type=self.cov_type, use_t=True)
            errors = np.asarray(self.results_.bse)
            df = np.full(design.shape[1], float(self.results_.df_resid))
        else:
            self.results_ = model.fit(
                cov_type="cluster", cov_kwds={"groups": codes}, use_t=True
            )
            residuals = np.asarray(self.results_.resid)
            covariance, df = cluster_robust(design, residuals, codes)
            errors = np.sqrt(np.diag(covariance))
        self.params_ = pd.Series(self.results_.params[:2], index=_NAMES)
        self.bse_ = pd.Series(errors[:2], index=_NAMES)
        self.df_ = pd.Series(df[:2], index=_NAMES)
        self.exponent_ = float(self.params_["exponent"])
        with np.errstate(over="ignore"):
            self.scale_ = float(np.exp(self.params_["log_scale"]))


def _group_codes(groups: Any, x: np.ndarray) -> np.ndarray | None:
    if groups is None:
        return None
    check_same_length(x=x, groups=groups)
    codes, names = pd.factorize(np.asarray(groups))
    if (codes < 0).any():
        raise ValueError(
            "groups must name the group of every point, got a missing one."
        )
    if len(names) < 2:
        raise ValueError(
            "groups must hold at least two groups, got one: leave it out for "
            "independent points."
        )
    return codes


def _regression(
    log_x: np.ndarray, y: np.ndarray, offset: float, with_offset: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the regressors of (log scale, exponent, offset) and the target."""
    columns = [np.ones_like(log_x), -log_x]
    if with_offset:
        # Linearised: what a change of the offset does to log(y - offset), as a share of
        # the smallest, so that the unit of y does not matter.
        columns.append(-(y - offset).min() / (y - offset))
    return np.column_stack(columns), np.log(y - offset)


def _best_offset(log_x: np.ndarray, y: np.ndarray) -> float:
    """Return the offset whose straight line fits log y best."""
    largest = (1 - 1e-6) * float(y.min())

    def misfit(offset: float) -> float:
        left = y - offset
        weight = left / y  # an error of log y is magnified by y / left
        design = np.column_stack([np.ones_like(log_x), log_x]) * weight[:, None]
        target = weight * np.log(left)
        solution = np.linalg.lstsq(design, target, rcond=None)[0]
        return float(np.sum((target - design @ solution) ** 2))

    # The tolerance is in the unit of y.
    tolerance = {"xatol": 1e-12 * largest}
    found = optimize.minimize_scalar(
        misfit, bounds=(0.0, largest), method="bounded", options=tolerance
    )
    return float(found.x) if found.fun < misfit(0.0) else 0.0
