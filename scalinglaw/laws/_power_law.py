"""One power law, with or without an offset, by least squares on log axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from statsmodels.iolib.summary2 import Summary

from .._validation import (
    check_fraction,
    check_option,
    check_positive,
    warn_user,
)
from ..exceptions import UnresolvedExponentWarning
from ._estimates import Estimate
from ._power_curve import Curve, curvature, fit_curve, serial_correlation
from ._power_data import prepare
from ._power_offset import (
    estimates,
    in_units,
    joined,
    offset_moves,
    seen,
    why_no_interval,
)
from ._summary_mixin import SummaryMixin

__all__ = ["PowerLawFit"]

_COV_TYPES = ("HC3", "HC1", "nonrobust")
# p-value of the curvature below which the fit warns.
_BENT = 0.01


class PowerLawFit(SummaryMixin, BaseEstimator):
    r"""Exponent of :math:`y = c\,x^{-\gamma} + q`, by least squares on log axes.

    Minimises the sum of :math:`w\,[\log y - \log(q + c\,x^{-\gamma})]^2`, with
    :math:`q \ge 0`, or :math:`q = 0` without an offset.

    Epochs of one run share their noise. Give the run of each point as ``groups``, or
    the interval can be several times too narrow.

    Parameters
    ----------
    offset : bool or "auto", default=False
        Whether y ends at a constant :math:`q`: an error that no data remove, or the
        entropy of a loss. ``"auto"`` takes one where a one-sided test at 5 % sees it.
    cov_type : {"HC3", "HC1", "nonrobust"}, default="HC3"
        Covariance used without ``groups``; with them it is cluster-robust (CR2,
        Bell and McCaffrey's degrees of freedom).
    confidence_level : float, default=0.95
        Coverage of the intervals.

    Attributes
    ----------
    exponent_ : float
        :math:`\gamma`, without unit; positive when y falls as x grows.
    scale_ : float
        :math:`c`, the fitted y less the offset at x = 1; infinite where a float64
        cannot hold it. The geometric mean where groups have heights of their own.
    scales_ : Series
        :math:`c` of each group; one entry without groups, or where x does not differ
        within them.
    offset_ : float
        :math:`q`, in the unit of y; 0 where there is none.
    params_, bse_, df_ : Series
        Estimates, their standard errors and the degrees of freedom of those, of
        ``log_scale`` (natural), ``exponent`` and, unless ``offset=False``, ``offset``.
        Where no offset was found, the errors hold what one too small to be seen would
        change.
    lack_of_fit_ : Series
        Test of a bend in log x that the curve lacks: ``statistic`` (Student's t,
        positive where the points bend upwards), ``df``, ``p_value``; NaN where no
        point is left for it.
    serial_correlation_ : float
        Correlation of residuals that are neighbours in x, 0 where chance explains it.
        Prediction intervals are the wider for it; those of the parameters are not.

    See Also
    --------
    compare_exponents : Compare the exponents of several fits.

    Notes
    -----
    An offset that is there moves the other numbers one way only. Where none was found,
    their intervals reach from the end that the fit without one gives to the end that
    the fit with one gives. Prediction intervals then hold those of both fits.

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

    def __init__(
        self,
        *,
        offset: bool | str = False,
        cov_type: str = "HC3",
        confidence_level: float = 0.95,
    ):
        self.offset = offset
        self.cov_type = cov_type
        self.confidence_level = confidence_level

    def fit(
        self, x: Any, y: Any, groups: Any = None, sample_weight: Any = None
    ) -> PowerLawFit:
        """Fit the power law.

        Parameters
        ----------
        x, y : array-like of shape (n,)
            Positive numbers.
        groups : array-like of shape (n,), optional
            Run, or other cluster, of each point. Where x differs within groups, each
            has a height (scale) of its own.
        sample_weight : array-like of shape (n,), optional
            Weights: inverse variances of log y, up to a factor. Points of weight 0 are
            left out.

        Returns
        -------
        PowerLawFit
            Fitted estimator.

        Raises
        ------
        ValueError
            If a value is not positive, there are fewer than three different x (four
            with an offset), there is a single group, or the groups leave no residual.
        """
        check_option(self.cov_type, "cov_type", _COV_TYPES)
        check_option(self.offset, "offset", (False, True, "auto"))
        level = check_fraction(self.confidence_level, "confidence_level")
        data, names = prepare(x, y, groups, sample_weight, bool(self.offset))
        curve = plain = fit_curve(data, False, self.cov_type)
        full = fit_curve(data, True, self.cov_type) if self.offset else None
        if full is not None and (self.offset != "auto" or seen(plain, full, data)):
            curve = full if full.offset > 0 else plain
        found = estimates(curve, full, data)
        why_not = why_no_interval(plain, full, data)
        if why_not:
            for name in ("log_scale", "exponent"):
                found[name] = found[name].without_error()
        statistic, df = curvature(data, curve)
        bend = pd.Series(
            {
                "statistic": statistic,
                "df": df,
                "p_value": float(2 * stats.t.sf(abs(statistic), df)),
            },
            name="lack_of_fit",
        )
        self._data, self._curve, self._full = data, curve, full
        self._fitted_level, self._why_no_interval = level, why_not
        self.lack_of_fit_ = bend
        self.serial_correlation_, self._n_places = serial_correlation(
            data, curve.residuals, len(curve.df)
        )
        with np.errstate(over="ignore"):
            heights = curve.heights + curve.exponent * data.center + data.unit
            self.scales_ = pd.Series(np.exp(heights), index=names, name="scale")
            self.scale_ = float(np.exp(found["log_scale"].estimate))
        self.exponent_ = found["exponent"].estimate
        self.offset_ = float(curve.offset * np.exp(data.unit))
        columns = {
            name: [getattr(estimate, name) for estimate in found.values()]
            for name in ("estimate", "std_err", "df")
        }
        self.bse_ = pd.Series(columns["std_err"], index=list(found))
        self.df_ = pd.Series(columns["df"], index=list(found))
        self.params_ = pd.Series(columns["estimate"], index=list(found))
        for remark in filter(None, (why_not, _bend_remark(bend, self.offset_))):
            warn_user(remark, UnresolvedExponentWarning)
        return self

    def predict(self, x: Any, return_interval: bool = False) -> Any:
        """Return the fitted y, and where a new observation is expected.

        Parameters
        ----------
        x : array-like of shape (n,)
            Positive numbers.
        return_interval : bool, default=False
            Also return the ends of the prediction interval of one new observation, of
            mean weight and, with groups, of a new group.

        Returns
        -------
        y : ndarray of shape (n,)
            In the unit of y.
        low, high : ndarray of shape (n,)
            Only with `return_interval`. They hold the errors of the parameters, the
            scatter of the points and, where neighbouring residuals follow one another,
            that they tell less than they are.
        """
        check_is_fitted(self, "params_")
        u = np.log(check_positive(x, "x")) - self._data.center
        unit = self._data.unit
        log_y = self._curve.log_y(u)
        if not return_interval:
            return np.exp(unit + log_y)
        with np.errstate(over="ignore"):
            low, high = self._band(self._curve, u)
            if self._full is not None and self._curve is not self._full:
                # Of a law that is extended neither fit is certain: both count.
                below, above = self._band(self._full, u)
                low, high = np.minimum(low, below), np.maximum(high, above)
            return np.exp(unit + log_y), np.exp(unit + low), np.exp(unit + high)

    def conf_int(self, alpha: float | None = None) -> pd.DataFrame:
        """Return the intervals of the parameters.

        Parameters
        ----------
        alpha : float, optional
            Significance level; by default 1 - ``confidence_level``.

        Returns
        -------
        DataFrame
            Index as ``params_``; columns ``ci_low``, ``ci_high``. An interval lies
            unevenly around its estimate where an offset was looked for and not found.
        """
        check_is_fitted(self, "params_")
        alpha = 1 - self._fitted_level if alpha is None else alpha
        check_fraction(alpha, "alpha")
        rows = {
            str(name): self.estimate(name).conf_int(alpha) for name in self.bse_.index
        }
        if self._full is not None:
            if self._curve is not self._full:
                plain = in_units(self._curve, self._data)
                full = in_units(self._full, self._data)
                rows["offset"] = full["offset"].conf_int(alpha)
                for name, moves in offset_moves(self._full, self._data).items():
                    if np.isfinite(self.bse_[name]):
                        rows[name] = joined(
                            plain[name].conf_int(alpha),
                            full[name].conf_int(alpha),
                            moves,
                        )
            low, high = rows["offset"]
            rows["offset"] = max(0.0, low), max(0.0, high)
        return pd.DataFrame.from_dict(
            rows, orient="index", columns=["ci_low", "ci_high"]
        ).astype(float)

    def estimate(self, name: str = "exponent") -> Estimate:
        """Return one parameter with its error and degrees of freedom.

        Parameters
        ----------
        name : {"exponent", "log_scale", "offset"}, default="exponent"
            Name of the parameter, one of the index of ``params_``.

        Returns
        -------
        Estimate
            As used by ``compare_exponents``.
        """
        check_is_fitted(self, "params_")
        check_option(name, "name", list(self.params_.index))
        return Estimate(
            float(self.params_[name]), float(self.bse_[name]), float(self.df_[name])
        )

    def summary(self) -> Summary:
        """Return the parameters, how they were found, and what to know of them.

        Returns
        -------
        statsmodels Summary
            Prints as text of 80 columns; has ``as_html()``.
        """
        check_is_fitted(self, "params_")
        bend, data = self.lack_of_fit_, self._data
        settings = {"Points": str(len(data.u)), "Covariance": self.cov_type}
        if data.group is not None:
            own = "a height each" if data.own_height else "one height"
            settings["Groups"] = f"{int(data.group.max()) + 1}, {own}"
            settings["Covariance"] = "CR2 by group"
        if np.isfinite(bend["p_value"]):
            settings["Lack of fit"] = (
                f"t({bend['df']:.1f}) = {bend['statistic']:.2f}, "
                f"p = {bend['p_value']:.3g}"
            )
        table = pd.DataFrame(
            {"estimate": self.params_, "std err": self.bse_, "df": self.df_}
        )
        ends = self.conf_int()
        ends.columns = pd.Index([f"[{100 * self._fitted_level:g}%", "CI]"])
        summary = Summary()
        summary.add_title("Power law y = scale * x^-exponent + offset")
        summary.add_dict(settings, ncols=1, align="l")
        summary.add_df(table.join(ends).map("{:.5g}".format))
        for remark in self._remarks():
            summary.add_text(remark)
        return summary

    def _remarks(self) -> list[str]:
        remarks = [self._why_no_interval, _bend_remark(self.lack_of_fit_, self.offset_)]
        looked = self._full is not None and self._curve is not self._full
        if looked and not self._why_no_interval:
            high = float(self.conf_int()["ci_high"]["offset"])
            remarks.append(
                f"No offset was found; one of up to {high:.3g} would not be seen, and "
                "the intervals allow for it."
            )
        if self.serial_correlation_ and self._data.group is None:
            remarks.append(
                "Neighbouring residuals are correlated "
                f"({self.serial_correlation_:.2f}): the errors above are those of "
                "independent points, and too small. Prediction "
                "intervals allow for it; groups do where points are of the same run."
            )
        return [remark for remark in remarks if remark]

    def _band(self, curve: Curve, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of the prediction interval of one of the fits."""
        gradient = curve.gradient(u)
        variance = np.sum((curve.scores @ gradient.T) ** 2, axis=0)
        n, k = len(self._data.u), curve.n_parameters
        if self._data.group is None:
            # Of points that follow one another fewer count (as of an AR(1) process).
            r = self.serial_correlation_
            count = max(self._n_places * (1 - r) / (1 + r), k + 2.0) if r else float(n)
            variance *= n / count
            scatter = curve.squares / n * count / (count - k)
            df = count - k
        else:
            scatter = curve.squares / (n - k)
            df = float(np.min(curve.df[:2]))
        variance += scatter + curve.between * gradient[:, 0] ** 2
        half = stats.t.ppf((1 + self._fitted_level) / 2, df) * np.sqrt(variance)
        log_y = curve.log_y(u)
        return log_y - half, log_y + half


def _bend_remark(bend: pd.Series, offset: float) -> str:
    """Return what to do about a lack of fit, or an empty string."""
    if not bend["p_value"] < _BENT:
        return ""
    test = f"t = {bend['statistic']:.1f}, p = {bend['p_value']:.2g}"
    if bend["statistic"] > 0 and offset == 0:
        remedy = (
            'a constant that x does not remove bends them so: offset="auto" fits one'
        )
        return f"the points bend upwards on log axes ({test}); {remedy}."
    way = "upwards" if bend["statistic"] > 0 else "downwards"
    return (
        f"the points bend {way} around the fitted curve ({test}): they are no one "
        "power law, and the exponent is an average. Fit a narrower range of x."
    )
