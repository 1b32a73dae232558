"""The estimator that turns trajectories into exponents."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .._validation import check_fraction, check_number, check_option, check_window
from .curves import Curves, as_curves, prepare
from .fitted import FittedLaws
from .forecast import forecast_curve, forecast_optimum
from .landmark import average_minima, raw_minima, smoothed_minima
from .pooled import fit_pooled, summarise_sensitivity
from .published import fit_published
from .summary import summarise
from .tables import (
    EXPONENTS,
    annotated_rows,
    consistency_series,
    exponent_table,
    landmark_table,
    offset_series,
    optimum_table,
    window_table,
)
from .window import Window, average_over_seeds

__all__ = ["ScalingLawEstimator"]

_FITTED_EXPONENTS = ("gamma1", "gamma2", "gamma_measured")
_NAMED = {"norm": "spectral_complexity", "metric": "test_error"}


class ScalingLawEstimator(TransformerMixin, BaseEstimator):
    r"""Exponents of dynamical scaling laws, with intervals and a test of the law.

    Fits the norm law :math:`\epsilon = k_1 \lambda^{-\gamma_1}`, the optimum law
    :math:`\lambda_\mathrm{opt} = k_2 P^{\gamma_2}` and the data law
    :math:`\epsilon_\mathrm{opt} \sim P^{-\gamma}`, and tests whether
    :math:`\gamma = \gamma_1\gamma_2`.

    What could mislead: where no clean power law is seen, ``resolved_`` is False and
    ``gamma1`` is an effective maximum slope that no law should be tested with; and an
    optimum at the last checkpoint is no optimum (``optima_["censored"]``).

    Parameters
    ----------
    norm : str, default="spectral_complexity"
        Norm to use: the column ``log_<norm>``.
    metric : str, default="test_error"
        Column of the error.
    method : {"pooled", "published"}, default="pooled"
        ``"pooled"`` fits all runs at once with clustered errors; ``"published"`` is
        the paper's method, whose standard errors are up to three times too small.
    window : "auto" or (low, high), default="auto"
        Where gamma1 is fitted, in units of the norm at the landmark (at the lowest
        point for ``method="published"``); None leaves a side open. ``"auto"`` finds
        it from the local slope.
    landmark : {"auto", "knee", "minimum"}, default="auto"
        What gamma2 is fitted to: the knee, where a curve leaves the early law; or
        the lowest error. ``"auto"`` takes the knee where the crossover is resolved.
    min_train_size : float, dict or None, default=None
        Smallest train size used; a dict gives one by exponent (``"gamma1"``,
        ``"gamma2"``, ``"gamma_measured"``), for ``method="published"`` only.
    offset : bool, default=False
        Fit an error :math:`q_1` that no norm removes, and take it off.
    confidence_level : float, default=0.95
        Of the intervals in ``exponents_``.

    Attributes
    ----------
    exponents_ : DataFrame
        Index ``gamma1``, ``gamma2``, ``gamma_predicted``, ``gamma_measured``;
        columns ``estimate``, ``std_err``, ``df``, ``ci_low``, ``ci_high``. Positive
        for decay (``gamma1``, ``gamma_*``) and growth (``gamma2``); NaN where the
        data do not support a number.
    gamma1_, gamma2_, gamma_predicted_, gamma_measured_ : Estimate
        The same, with ``estimate``, ``std_err``, ``df`` and ``conf_int(alpha)``.
    consistency_ : Series
        ``difference`` (predicted less measured), ``std_err``, ``df``,
        ``statistic``, ``p_value``; NaN where gamma1 is unresolved. Of
        ``method="published"``, which resolves nothing, with the paper's errors.
    optima_ : DataFrame
        One row per run: ``train_size``, ``seed``, ``log_norm`` and ``error`` at the
        lowest error, and whether it is ``censored``: at the last checkpoint, or of a
        run that ended long before the optimum of the others of its train size.
    landmarks_ : DataFrame
        What gamma2 was fitted to, one row per train size: ``train_size``,
        ``log_norm``, ``log_error``, ``censored``.
    landmark_ : str
        ``"knee"`` or ``"minimum"``.
    window_ : tuple of float
        The window, in units of the norm over the norm at the landmark: its
        smallest and largest bound over the train sizes.
    windows_ : DataFrame
        By train size: ``log_norm_low``, ``log_norm_high``, ``n_points``.
    window_sensitivity_ : Series
        Smallest, median and largest gamma1 over all windows one might have chosen,
        and where the chosen one stands (``rank``).
    window_grid_ : DataFrame
        These windows, one per row.
    resolved_ : bool
        Whether a clean power law was seen.
    offset_ : float
        Error taken off; 0 without ``offset``.
    offset_test_ : Series
        ``statistic`` (F), ``df`` and ``p_value`` of an offset in the window.
    results_ : dict of str to statsmodels results
        Regressions by law.
    trajectories_ : DataFrame
        The rows used, with ``log_norm``, ``log_error`` and ``in_window``.
    norm_law_, optimum_law_, data_law_ : Line or None
        The fitted lines.

    See Also
    --------
    compare_exponents : Compare the exponents of several models.

    References
    ----------
    .. [1] D'Amico, Bocchi and Negri (2025), arXiv:2505.13230.

    Examples
    --------
    >>> from scalinglaw import ScalingLawEstimator
    >>> from scalinglaw.datasets import make_trajectories
    >>> law = ScalingLawEstimator().fit(make_trajectories(random_state=0))
    >>> law.exponents_[["estimate", "ci_low", "ci_high"]].round(2)
                     estimate  ci_low  ci_high
    gamma1                0.5    0.50     0.51
    gamma2                1.0    0.99     1.02
    gamma_predicted       0.5    0.50     0.51
    gamma_measured        0.5    0.49     0.51
    """

    def __init__(
        self,
        norm: str = "spectral_complexity",
        *,
        metric: str = "test_error",
        method: str = "pooled",
        window: Any = "auto",
        landmark: str = "auto",
        min_train_size: Any = None,
        offset: bool = False,
        confidence_level: float = 0.95,
    ):
        self.norm = norm
        self.metric = metric
        self.method = method
        self.window = window
        self.landmark = landmark
        self.min_train_size = min_train_size
        self.offset = offset
        self.confidence_level = confidence_level

    def fit(self, trajectories: Any, y: Any = None) -> ScalingLawEstimator:
        """Fit the laws.

        Parameters
        ----------
        trajectories : DataFrame, or list of fitted classifiers
            The trajectory table, rows in any order.
        y : None
            Ignored; here for pipelines.

        Returns
        -------
        ScalingLawEstimator
            Itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter or the table breaks a rule; the message names both.

        Warns
        -----
        UnresolvedExponentWarning, CensoredOptimumWarning
            If the data do not show a clean power law, or optima were not reached.
        TrajectoryWarning, ZeroNormWarning
            If checkpoints or runs had to be left out, or norms fall.
        """
        self._check_parameters()
        smallest = self._smallest_sizes()
        table = prepare(trajectories, self.norm, self.metric)
        table = self._restrict(table, smallest)
        curves = as_curves(table)
        laws = self._fit_curves(table, curves, smallest)
        self._store(table, curves, laws)
        return self

    def transform(self, trajectories: Any) -> pd.DataFrame:
        """Estimate the exponents of other trajectories in the window learned by fit.

        Parameters
        ----------
        trajectories : DataFrame, or list of fitted classifiers
            The trajectory table. Train sizes that `fit` has not seen get the
            window of the others, in units of the norm at the landmark.

        Returns
        -------
        DataFrame
            In the form of ``exponents_``.
        """
        check_is_fitted(self)
        self._check_parameters()
        smallest = self._smallest_sizes()
        table = self._restrict(prepare(trajectories, self.norm, self.metric), smallest)
        curves = as_curves(table)
        laws = self._fit_curves(table, curves, smallest, learned=True)
        return exponent_table(laws, 1 - self.confidence_level)

    def predict(
        self, train_size: Any, return_interval: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Forecast the error at the optimum.

        The exponent is the measured one; where the law is tested and not contradicted,
        the best combination of the measured and the predicted one, which forecasts
        better (``benchmarks/forecast.py``).

        Parameters
        ----------
        train_size : array-like of shape (n,)
            Train sizes, seen or not.
        return_interval : bool, default=False
            Also return a prediction interval for the mean over seeds.

        Returns
        -------
        error : ndarray of shape (n,)
            Fractions.
        low, high : ndarray of shape (n,)
            Only with `return_interval`.

        Raises
        ------
        ValueError
            If a train size is not positive, or the measured exponent has no number.
        """
        check_is_fitted(self)
        error, low, high = forecast_optimum(
            train_size, self._laws, 1 - self.confidence_level, self._n_test
        )
        if self.metric in ("test_error", "train_error"):
            high = np.minimum(high, np.maximum(error, 1.0))  # a fraction
        return (error, low, high) if return_interval else error

    def predict_curve(self, train_size: float, log_norm: Any) -> np.ndarray:
        r"""Forecast the error along a whole run from the collapsed master curve.

        Parameters
        ----------
        train_size : float
            Train size, seen or not.
        log_norm : array-like of shape (n,)
            Natural logarithms of the norm.

        Returns
        -------
        ndarray of shape (n,)
            Errors, no higher than those of the averaged curves; NaN outside the range
            that the collapsed curves cover.

        Raises
        ------
        TypeError, ValueError
            If `train_size` is not one positive number, or a law has no number.
        """
        check_is_fitted(self)
        log_error = forecast_curve(
            train_size, log_norm, self.optimum_law_, self.data_law_, self._master_curve
        )
        return self.offset_ + np.exp(log_error)

    def score(self, trajectories: Any, y: Any = None) -> float:
        """Return R^2 of the log error at the optimum.

        Parameters
        ----------
        trajectories : DataFrame, or list of fitted classifiers
            The trajectory table.
        y : None
            Ignored.

        Returns
        -------
        float
            1 for a perfect forecast, 0 for one as good as the mean of the train
            sizes in `trajectories`; NaN for a single train size.
        """
        check_is_fitted(self)
        curves = as_curves(prepare(trajectories, self.norm, self.metric))
        laws = self._optima_of(curves)
        with np.errstate(divide="ignore"):
            forecast = np.log(self.predict(curves.train_sizes))
        residual = np.sum((laws - forecast) ** 2)
        total = np.sum((laws - laws.mean()) ** 2)
        return float(1 - residual / total) if total > 0 else math.nan

    def conf_int(self, alpha: float = 0.05) -> pd.DataFrame:
        """Return the intervals of all exponents.

        Parameters
        ----------
        alpha : float, default=0.05
            Significance level.

        Returns
        -------
        DataFrame
            Columns ``ci_low`` and ``ci_high``.
        """
        check_is_fitted(self)
        check_fraction(alpha, "alpha")
        return pd.DataFrame(
            {name: e.conf_int(alpha) for name, e in self._laws.exponents.items()},
            index=["ci_low", "ci_high"],
        ).T

    def summary(self) -> Any:
        """Return tables of exponents and of how they were found, and a conclusion.

        Returns
        -------
        statsmodels Summary
            Prints as text; has ``as_html()`` and ``as_latex()``.
        """
        check_is_fitted(self)
        return summarise(self)

    def _repr_html_(self) -> str:
        """Return the exponents for a notebook."""
        if not hasattr(self, "exponents_"):
            return f"<pre>{self!r}</pre>"
        return self.summary().as_html()

    def _check_parameters(self) -> None:
        for name in ("norm", "metric"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(
                    f"{name} must be a name, such as {_NAMED[name]!r}, got "
                    f"{getattr(self, name)!r}."
                )
        check_option(self.method, "method", ("pooled", "published"))
        check_option(self.landmark, "landmark", ("auto", "knee", "minimum"))
        check_option(self.offset, "offset", (False, True))
        check_fraction(self.confidence_level, "confidence_level")
        check_window(self.window)
        if self.method == "published" and (self.offset or self.landmark == "knee"):
            name = "offset" if self.offset else "landmark"
            raise ValueError(
                f"{name}={getattr(self, name)!r} needs method='pooled': the paper's "
                "method takes minima, and nothing off the errors."
            )

    def _smallest_sizes(self) -> dict[str, float]:
        """Return the smallest train size by exponent."""
        sizes = self.min_train_size
        if not isinstance(sizes, Mapping):
            smallest = _smallest(sizes, "min_train_size")
            return dict.fromkeys(_FITTED_EXPONENTS, smallest)
        for name in sizes:
            check_option(name, "min_train_size's key", _FITTED_EXPONENTS)
        if self.method == "pooled":
            raise ValueError(
                "min_train_size must be one number for method='pooled', got a dict: "
                "predicted and measured exponents are compared on the same train sizes."
            )
        return {
            name: _smallest(sizes.get(name), f"min_train_size[{name!r}]")
            for name in _FITTED_EXPONENTS
        }

    def _restrict(
        self, table: pd.DataFrame, smallest: dict[str, float]
    ) -> pd.DataFrame:
        kept = table[table["train_size"] >= min(smallest.values())]
        if max(smallest.values()) > table["train_size"].max():
            raise ValueError(
                f"min_train_size={self.min_train_size} leaves no train size: the "
                f"largest is {table['train_size'].max()}."
            )
        return kept.reset_index(drop=True)

    def _fit_curves(
        self,
        table: pd.DataFrame,
        curves: Curves,
        smallest: dict[str, float],
        learned: bool = False,
    ) -> FittedLaws:
        known = None
        if "log_norm_opt" in table and table["log_norm_opt"].notna().any():
            known = table.groupby("train_size")["log_norm_opt"].first().to_numpy()
        window = self._learned_window(curves) if learned else None
        if self.method == "published":
            return fit_published(
                curves,
                window=self.window,
                known=known,
                min_train_size=smallest,
                learned=window,
            )
        return fit_pooled(
            curves,
            window=self.window,
            landmark=self.landmark,
            offset=self.offset,
            known=known,
            learned=window,
            use_crossover=self._laws.crossover is not None if learned else None,
        )

    def _learned_window(self, curves: Curves) -> Window:
        """Return the window of `fit` for the train sizes of other curves."""
        learned = self._laws.window
        known = dict(
            zip(
                self.windows_["train_size"],
                zip(learned.low, learned.high, strict=True),
                strict=True,
            )
        )
        about = self._laws.landmarks.x
        low, high = np.full((2, curves.n_sizes), np.nan)
        for position, size in enumerate(curves.train_sizes):
            if size in known:
                low[position], high[position] = known[size]
            elif self.optimum_law_ is not None:
                at = float(self.optimum_law_.predict(np.log(size)))
                low[position] = at + np.nanmedian(learned.low - about)
                high[position] = at + np.nanmedian(learned.high - about)
        return Window(low, high, learned.how)

    def _store(self, table: pd.DataFrame, curves: Curves, laws: FittedLaws) -> None:
        self._laws = laws
        # A parameter set after the fit is not that of the intervals.
        self._fitted_level = self.confidence_level
        self.exponents_ = exponent_table(laws, 1 - self.confidence_level)
        for name in EXPONENTS:
            setattr(self, f"{name}_", laws.exponents[name])
        self.consistency_ = consistency_series(laws)
        self.results_ = dict(laws.results)
        self.resolved_ = laws.resolved
        self.norm_law_ = laws.norm_law
        self.optimum_law_ = laws.optimum_law
        self.data_law_ = laws.data_law
        self.optima_ = optimum_table(table, curves, laws)
        self.landmark_ = laws.landmarks.kind
        self.landmarks_ = landmark_table(curves, laws)
        self.windows_ = window_table(curves, laws)
        self.window_ = laws.window.range_about(laws.landmarks.x)
        self.window_grid_ = laws.sensitivity
        self.window_sensitivity_ = summarise_sensitivity(
            laws.sensitivity, laws.exponents["gamma1"].estimate
        )
        self.offset_ = laws.offset
        self.offset_test_ = offset_series(laws)
        self.trajectories_ = annotated_rows(table, curves, laws)
        self.n_features_in_ = table.shape[1]
        self._n_test = curves.n_test
        self._master_curve = self._collapse(curves, laws)

    def _collapse(
        self, curves: Curves, laws: FittedLaws
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the curves relative to their landmarks, and the log errors."""
        if self.method == "published":
            x, y, size = curves.x, curves.y, curves.size
        else:
            means = average_over_seeds(curves.less(laws.offset))
            x, y = means.x.ravel(), means.y.ravel()
            size = np.repeat(np.arange(curves.n_sizes), means.x.shape[1])
        return x - laws.landmarks.x[size], y - laws.landmarks.y[size], y

    def _optima_of(self, curves: Curves) -> np.ndarray:
        """Return the log error at the optimum of other curves, by train size."""
        if self.method == "published":
            return average_minima(curves, raw_minima(curves)).y
        means = average_over_seeds(curves)
        return average_minima(curves, smoothed_minima(curves, means)).y


def _smallest(value: Any, name: str) -> float:
    return 0.0 if value is None else check_number(value, name, minimum=0, strict=False)
