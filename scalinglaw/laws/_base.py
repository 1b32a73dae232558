"""What every estimator of laws does once its curves are fitted."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .._validation import as_floats, check_fraction, check_number, warn_user
from ..trajectories import as_trajectories
from ._forecast import forecast_curve, forecast_optimum
from ._prepare import Prepared, prepare
from ._remarks import Remark
from ._results import EXPONENTS, FittedLaws
from ._summary import conclude, summarise
from ._tables import (
    annotated_rows,
    consistency_series,
    exponent_table,
    landmark_table,
    optimum_table,
    sensitivity_series,
    window_table,
)
from ._window import Window

__all__ = ["BaseScalingLaw", "check_name", "check_smallest"]

_NAMED = {"norm": "spectral_complexity", "metric": "test_error"}
Law = TypeVar("Law", bound="BaseScalingLaw")


class BaseScalingLaw(TransformerMixin, BaseEstimator):
    """Laws fitted to a table of trajectories, as an estimator.

    A subclass stores its parameters, checks them, and fits curves.
    """

    norm: str
    metric: str
    confidence_level: float
    _robust = True

    def fit(self: Law, trajectories: Any, y: Any = None) -> Law:
        """Fit the laws.

        Parameters
        ----------
        trajectories : DataFrame, or list of fitted classifiers
            The trajectory table, rows in any order.
        y : None
            Ignored; here for pipelines.

        Returns
        -------
        estimator
            Fitted estimator.

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
        # Made into a table once: a list of classifiers has no columns to count.
        table = as_trajectories(trajectories)
        prepared = self._prepare(table)
        laws = self._fit_curves(prepared)
        self._store(prepared, laws)
        if isinstance(table, pd.DataFrame):
            self.n_features_in_ = table.shape[1]
            self.feature_names_in_ = np.array(table.columns, dtype=object)
        for remark in self.remarks_of(prepared, laws):
            if remark.category is not None:
                warn_user(remark.text, remark.category)
        return self

    def fit_transform(
        self, trajectories: Any, y: Any = None, **fit_params: Any
    ) -> pd.DataFrame:
        """Fit the laws and return their exponents.

        Parameters
        ----------
        trajectories : DataFrame, or list of fitted classifiers
            The trajectory table, rows in any order.
        y : None
            Ignored; here for pipelines.
        **fit_params : dict
            Refused: `fit` takes none.

        Returns
        -------
        DataFrame
            ``exponents_``.
        """
        return self.fit(trajectories, y, **fit_params).exponents_

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
        check_is_fitted(self, "exponents_")
        self._check_parameters()
        prepared = self._prepare(trajectories)
        learned = self._learned_window(prepared)
        laws = self._fit_curves(prepared, learned=learned)
        for remark in self.remarks_of(prepared, laws):
            if remark.category is not None:
                warn_user(remark.text, remark.category)
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
            In the unit of the metric.
        low, high : ndarray of shape (n,)
            Only with `return_interval`.

        Raises
        ------
        ValueError
            If a train size is not positive, or the measured exponent has no number.
        """
        check_is_fitted(self, "exponents_")
        if not isinstance(train_size, pd.DataFrame):
            train_size = as_floats(train_size, "train_size")
        if np.ndim(train_size) > 1:
            raise ValueError(
                "predict takes train sizes, one number each, got an array of shape "
                f"{np.shape(train_size)}. A pipeline hands its own X on: call the law "
                "itself, as in pipeline[-1].predict([64_000])."
            )
        law = self.fitted_.forecast_law
        if law is None:
            raise ValueError(
                "there is no data law to forecast from: gamma_measured has no number, "
                "because fewer than two train sizes have an optimum that was reached."
            )
        error, low, high = forecast_optimum(train_size, law, 1 - self.confidence_level)
        if self.metric in ("test_error", "train_error"):
            high = np.minimum(high, np.maximum(error, 1.0))  # a fraction
        return (error, low, high) if return_interval else error

    def predict_curve(self, train_size: float, log_norm: Any) -> np.ndarray:
        """Forecast the error along a whole run from the collapsed master curve.

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
        check_is_fitted(self, "exponents_")
        laws = self.fitted_
        left = laws.curves.less(laws.offset.value)
        size = left.size
        log_error = forecast_curve(
            train_size,
            log_norm,
            self.optimum_law_,
            self.data_law_,
            (left.x - laws.landmarks.x[size], left.y - laws.landmarks.y[size], left.y),
        )
        return self.offset_ + np.exp(log_error)

    def score(self, trajectories: Any, y: Any = None) -> float:
        """Return R^2 of the log error at the optimum.

        Parameters
        ----------
        trajectories : DataFrame, or list of fitted classifiers
            The trajectory table; `min_train_size` holds for it as well.
        y : None
            Ignored.

        Returns
        -------
        float
            1 for a perfect forecast, 0 for one as good as the mean of the train
            sizes in `trajectories`; NaN for a single train size.
        """
        check_is_fitted(self, "exponents_")
        lowest = self.lowest_errors(trajectories)
        observed = np.log(lowest.to_numpy())
        with np.errstate(divide="ignore"):
            forecast = np.log(self.predict(lowest.index.to_numpy(float)))
        residual = np.sum((observed - forecast) ** 2)
        total = np.sum((observed - observed.mean()) ** 2)
        return float(1 - residual / total) if total > 0 else math.nan

    def lowest_errors(self, trajectories: Any) -> pd.Series:
        """Return the lowest error of each train size, as this estimator reads it.

        Parameters
        ----------
        trajectories : DataFrame, or list of fitted classifiers
            The trajectory table; `min_train_size` holds for it as well.

        Returns
        -------
        Series
            Geometric mean over seeds, in the unit of the metric; the index is
            ``train_size``.
        """
        self._check_parameters()
        train_sizes, log_error = self._optima_of(self._prepare(trajectories))
        index = pd.Index(train_sizes, name="train_size")
        return pd.Series(np.exp(log_error), index=index, name=self.metric)

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
        check_is_fitted(self, "exponents_")
        check_fraction(alpha, "alpha")
        return pd.DataFrame(
            {name: e.conf_int(alpha) for name, e in self.fitted_.exponents.items()},
            index=["ci_low", "ci_high"],
        ).T

    def summary(self) -> Any:
        """Return the conclusion, the exponents, and how they were found.

        Returns
        -------
        Summary
            Prints as text of at most 80 columns; has ``as_html()``.
        """
        check_is_fitted(self, "exponents_")
        return summarise(self)

    def _repr_html_(self) -> str:
        """Return the summary for a notebook."""
        if not hasattr(self, "exponents_"):
            return f"<pre>{self!r}</pre>"
        return self.summary().as_html()

    @staticmethod
    def remarks_of(prepared: Prepared, laws: FittedLaws) -> tuple[Remark, ...]:
        """Return what must be known of the rows and of the fit."""
        return (*prepared.remarks, *laws.remarks)

    @abstractmethod
    def _check_parameters(self) -> None:
        """Raise if a parameter breaks a rule."""

    @abstractmethod
    def _fit_curves(
        self, prepared: Prepared, learned: Window | None = None
    ) -> FittedLaws:
        """Fit the laws, in a given window if there is one."""

    @abstractmethod
    def _optima_of(self, prepared: Prepared) -> tuple[np.ndarray, np.ndarray]:
        """Return train sizes and the log errors at their optimum."""

    def _smallest_train_size(self) -> float:
        return 0.0

    def _prepare(self, trajectories: Any) -> Prepared:
        return prepare(
            trajectories,
            self.norm,
            self.metric,
            self._smallest_train_size(),
            robust=self._robust,
        )

    def _learned_window(self, prepared: Prepared) -> Window:
        """Return the window of `fit` for the train sizes of other curves."""
        laws = self.fitted_
        learned, about = laws.window, laws.landmarks.x
        seen = {int(size): k for k, size in enumerate(laws.curves.train_sizes)}
        sizes = np.unique(prepared.table["train_size"])
        low, high = np.full((2, len(sizes)), np.nan)
        for position, size in enumerate(sizes):
            if size in seen:
                low[position] = learned.low[seen[size]]
                high[position] = learned.high[seen[size]]
            elif self.optimum_law_ is not None:
                at = float(self.optimum_law_.predict(np.log(size)))
                low[position] = at + np.nanmedian(learned.low - about)
                high[position] = at + np.nanmedian(learned.high - about)
        return Window(low, high, learned.how)

    def _store(self, prepared: Prepared, laws: FittedLaws) -> None:
        curves = laws.curves
        self.fitted_ = laws
        # A parameter set after the fit is not that of the tables and figures.
        self.confidence_level_ = self.confidence_level
        self.exponents_ = exponent_table(laws, 1 - self.confidence_level)
        for name in EXPONENTS:
            setattr(self, f"{name}_", laws.exponents[name])
        self.consistency_ = consistency_series(laws)
        self.collapse_ = laws.collapse
        self.results_ = dict(laws.results)
        self.resolved_ = laws.resolved
        self.norm_law_ = laws.norm_law
        self.optimum_law_ = laws.optimum_law
        self.data_law_ = laws.data_law
        self.optima_ = optimum_table(prepared.table, laws)
        self.landmark_ = laws.landmarks.kind
        self.landmarks_ = landmark_table(laws)
        self.windows_ = window_table(laws)
        self.window_ = laws.window.range_about(laws.landmarks.x)
        self.window_grid_ = laws.sensitivity
        self.window_sensitivity_ = sensitivity_series(laws)
        self.offset_ = laws.offset.value
        self.offset_estimate_ = laws.offset.found
        self.n_test_ = curves.n_test
        self.trajectories_ = annotated_rows(prepared.table, laws)
        self.remarks_ = [remark.text for remark in self.remarks_of(prepared, laws)]
        self.conclusion_ = conclude(laws, 1 - self.confidence_level)


def check_name(estimator: BaseScalingLaw, name: str) -> None:
    """Raise unless a parameter is a name of a norm or of a column."""
    value = getattr(estimator, name)
    if not isinstance(value, str):
        raise TypeError(
            f"{name} must be a name, such as {_NAMED[name]!r}, got {value!r}."
        )
    if name == "norm" and value.startswith("log_"):
        raise ValueError(
            f"norm must be the name without 'log_': write norm={value[4:]!r} for the "
            f"column {value!r}."
        )


def check_smallest(value: Any, name: str) -> float:
    """Return the smallest train size that is used; None stands for all of them."""
    return 0.0 if value is None else check_number(value, name, minimum=0, strict=False)
