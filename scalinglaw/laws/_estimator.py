"""The estimator that turns trajectories into exponents."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._validation import check_fraction, check_option, check_window
from ._base import BaseScalingLaw, check_name, check_smallest
from ._landmarks import average_minima, smoothed_minima
from ._pooled import Options, fit_pooled
from ._prepare import Prepared
from ._results import FittedLaws
from ._window import Window, average_over_seeds

__all__ = ["ScalingLawEstimator"]


class ScalingLawEstimator(BaseScalingLaw):
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
    window : "auto" or (low, high), default="auto"
        Where gamma1 is fitted, in units of the norm at the landmark; None leaves a
        side open. ``"auto"`` finds it from the local slope, and takes gamma1 from the
        fit of whole curves where that resolves a law.
    landmark : {"auto", "knee", "minimum"}, default="auto"
        What gamma2 is fitted to: the knee, where a curve leaves the early law; or
        the lowest error. ``"auto"`` takes the knee where the law is resolved and the
        distance from knee to minimum does not depend on the train size.
    min_train_size : float or None, default=None
        Smallest train size used.
    offset : {"auto", True, False}, default="auto"
        Whether an error :math:`q` that neither norm nor data remove is fitted and
        taken off. ``"auto"`` takes it off where it exceeds its error, and carries
        that error in every interval in either case.
    confidence_level : float, default=0.95
        Level of the intervals in ``exponents_``.

    Attributes
    ----------
    exponents_ : DataFrame
        Index ``gamma1``, ``gamma2``, ``gamma_predicted``, ``gamma_measured``;
        columns ``estimate``, ``std_err``, ``df``, ``ci_low``, ``ci_high``. Positive
        for decay (``gamma1``, ``gamma_*``) and growth (``gamma2``); NaN where the
        data do not support a number, or an interval.
    gamma1_, gamma2_, gamma_predicted_, gamma_measured_ : Estimate
        The same, with ``estimate``, ``std_err``, ``df`` and ``conf_int(alpha)``, and
        usable as numbers.
    consistency_ : Series
        ``difference`` (predicted less measured), ``std_err``, ``df``,
        ``statistic``, ``p_value``; NaN where the law is not tested.
    conclusion_ : str
        One sentence that may be quoted.
    resolved_ : bool
        Whether gamma1 is the exponent of a clean power law.
    remarks_ : list of str
        What must be known of the rows and of the fit.
    collapse_ : Series or None
        How well the curves fall onto one: ``spread`` between train sizes and
        ``spread_seeds`` between seeds (root mean square of the log error), their
        ``ratio``, the stretch ``log_norm_low`` to ``log_norm_high`` that all train
        sizes cover, and a test of equal shapes.
    optima_ : DataFrame
        One row per run: ``train_size``, ``seed``, ``log_norm`` and ``error`` at the
        lowest error, and whether it is ``censored``: at the last checkpoint where the
        error still falls, or of a run that ended long before the optimum of the others
        of its train size.
    landmarks_ : DataFrame
        Place that gamma2 was fitted to and height that gamma_measured was fitted to
        (less the offset), one row per train size: ``train_size``, ``log_norm``,
        ``log_error``, ``censored``, and the standard errors that the seeds show.
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
    offset_ : float
        Error taken off, in the unit of the metric; 0 where there is none.
    offset_estimate_ : Estimate
        Offset that the curves show, with its error; it may be negative by chance.
    results_ : dict of str to statsmodels results
        Regressions by law, with the errors that are reported.
    trajectories_ : DataFrame
        Rows used, with ``log_norm``, ``log_error`` (less the offset) and
        ``in_window``.
    norm_law_, optimum_law_, data_law_ : Line or None
        Fitted lines.
    n_test_ : int or None
        Number of test examples whose noise is in the intervals.
    fitted_ : FittedLaws
        Everything above in one record.

    See Also
    --------
    compare_exponents : Compare the exponents of several models.
    PublishedScalingLaw : The method of the paper.

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
    gamma2                1.0    0.97     1.03
    gamma_predicted       0.5    0.49     0.52
    gamma_measured        0.5    0.48     0.51
    """

    def __init__(
        self,
        norm: str = "spectral_complexity",
        *,
        metric: str = "test_error",
        window: Any = "auto",
        landmark: str = "auto",
        min_train_size: float | None = None,
        offset: bool | str = "auto",
        confidence_level: float = 0.95,
    ):
        self.norm = norm
        self.metric = metric
        self.window = window
        self.landmark = landmark
        self.min_train_size = min_train_size
        self.offset = offset
        self.confidence_level = confidence_level

    def _check_parameters(self) -> None:
        check_name(self, "norm")
        check_name(self, "metric")
        check_option(self.landmark, "landmark", ("auto", "knee", "minimum"))
        check_option(self.offset, "offset", ("auto", True, False))
        check_fraction(self.confidence_level, "confidence_level")
        check_window(self.window)
        self._smallest_train_size()

    def _smallest_train_size(self) -> float:
        return check_smallest(self.min_train_size, "min_train_size")

    def _fit_curves(
        self, prepared: Prepared, learned: Window | None = None
    ) -> FittedLaws:
        return fit_pooled(
            prepared.curves(),
            Options(self.window, self.landmark, self.offset),
            known=prepared.known_optima,
            learned=learned,
            doubts=prepared.doubts,
        )

    def _optima_of(self, prepared: Prepared) -> tuple[np.ndarray, np.ndarray]:
        curves = prepared.curves()
        minima = smoothed_minima(curves, average_over_seeds(curves))
        return curves.train_sizes, average_minima(curves, minima).y
