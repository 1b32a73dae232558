"""The paper's own method, step by step, for comparison with the pooled one.

Its standard errors treat interpolated, seed-averaged points as independent: they
are up to three times too small. It is offered so that published exponents can be
reproduced, not because its intervals can be trusted.

References
----------
D'Amico, Bocchi and Negri (2025), arXiv:2505.13230.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._validation import check_fraction, check_option, check_window
from ._base import BaseScalingLaw, check_name, check_smallest
from ._curves import Curves
from ._estimates import Estimate, difference, product
from ._forecast import fit_forecast
from ._landmarks import Landmarks, average_minima, raw_minima
from ._lines import Line, fit_line
from ._offset import Offset
from ._prepare import Prepared
from ._remarks import Remark
from ._results import FittedLaws
from ._window import Window, rows_inside, window_around, window_sensitivity

__all__ = ["PublishedScalingLaw"]

_N_GRID = 50
_FITTED = ("gamma1", "gamma2", "gamma_measured")


class PublishedScalingLaw(BaseScalingLaw):
    r"""The paper's own method, so that published exponents can be reproduced.

    Errors are averaged over seeds on a grid of the log norm, gamma1 is the mean of the
    slopes of straight lines in a hand-picked window, and gamma2 and gamma_measured are
    slopes against :math:`\log P` [1]_.

    What could mislead: its standard errors take interpolated points of averaged curves
    for independent and are up to three times too small. Nothing is resolved or tested
    with them.

    Parameters
    ----------
    norm : str, default="spectral_complexity"
        Norm to use: the column ``log_<norm>``.
    metric : str, default="test_error"
        Column of the error.
    window : "auto" or (low, high), default="auto"
        Where gamma1 is fitted, in units of the norm at the lowest point of each
        averaged curve; None leaves a side open. ``"auto"`` takes everything up to it.
    min_train_size : float, dict or None, default=None
        Smallest train size used; a dict gives one by exponent (``"gamma1"``,
        ``"gamma2"``, ``"gamma_measured"``).
    confidence_level : float, default=0.95
        Level of the intervals in ``exponents_``.

    Attributes
    ----------
    exponents_ : DataFrame
        In the form of :class:`ScalingLawEstimator`, as are ``gamma1_``,
        ``gamma2_``, ``gamma_predicted_``, ``gamma_measured_``, ``consistency_``,
        ``optima_``, ``landmarks_``, ``window_``, ``windows_``, ``window_grid_``,
        ``window_sensitivity_``, ``results_``, ``trajectories_`` and ``conclusion_``.
    resolved_ : bool
        False.

    See Also
    --------
    ScalingLawEstimator : Intervals that cover, and a test of the law.

    References
    ----------
    .. [1] D'Amico, Bocchi and Negri (2025), arXiv:2505.13230.

    Examples
    --------
    >>> from scalinglaw import PublishedScalingLaw
    >>> from scalinglaw.datasets import make_trajectories
    >>> law = PublishedScalingLaw(window=(0.02, 0.3))
    >>> law.fit_transform(make_trajectories(random_state=0))["estimate"].round(2)
    gamma1             0.50
    gamma2             1.02
    gamma_predicted    0.51
    gamma_measured     0.50
    Name: estimate, dtype: float64
    """

    # The paper leaves nothing out.
    _robust = False

    def __init__(
        self,
        norm: str = "spectral_complexity",
        *,
        metric: str = "test_error",
        window: Any = "auto",
        min_train_size: Any = None,
        confidence_level: float = 0.95,
    ):
        self.norm = norm
        self.metric = metric
        self.window = window
        self.min_train_size = min_train_size
        self.confidence_level = confidence_level

    def _check_parameters(self) -> None:
        check_name(self, "norm")
        check_name(self, "metric")
        check_fraction(self.confidence_level, "confidence_level")
        check_window(self.window)
        self._smallest_by_exponent()

    def _smallest_by_exponent(self) -> dict[str, float]:
        sizes = self.min_train_size
        if not isinstance(sizes, Mapping):
            sizes = dict.fromkeys(_FITTED, sizes)
        for name in sizes:
            check_option(name, "min_train_size's key", _FITTED)
        return {
            name: check_smallest(sizes.get(name), f"min_train_size[{name!r}]")
            for name in _FITTED
        }

    def _smallest_train_size(self) -> float:
        return min(self._smallest_by_exponent().values())

    def _fit_curves(
        self, prepared: Prepared, learned: Window | None = None
    ) -> FittedLaws:
        smallest = self._smallest_by_exponent()
        curves = prepared.curves()
        if max(smallest.values()) > curves.train_sizes[-1]:
            raise ValueError(
                f"min_train_size={self.min_train_size} leaves no train size: the "
                f"largest is {curves.train_sizes[-1]}."
            )
        return fit_published(
            curves,
            window=self.window,
            known=prepared.known_optima,
            min_train_size=smallest,
            learned=learned,
        )

    def _optima_of(self, prepared: Prepared) -> tuple[np.ndarray, np.ndarray]:
        curves = prepared.curves()
        return curves.train_sizes, average_minima(curves, raw_minima(curves)).y


def fit_published(
    curves: Curves,
    *,
    window: Any,
    known: np.ndarray | None = None,
    min_train_size: Mapping[str, float],
    learned: Window | None = None,
) -> FittedLaws:
    """Fit the laws as the paper does.

    Parameters
    ----------
    curves : Curves
        All runs.
    window : "auto" or (low, high)
        In units of the norm at the lowest point of each averaged curve; "auto"
        takes everything up to it.
    known : array of shape (n_sizes,), optional
        Log norms of optima known from elsewhere.
    min_train_size : dict of str to float
        Smallest train size by exponent.
    learned : Window, optional
        Take this window instead.

    Returns
    -------
    FittedLaws
        Standard errors as the paper defines them.
    """
    optima = raw_minima(curves)
    curve_x, curve_y = _averaged_curves(curves)
    lowest = np.array([int(np.nanargmin(y)) for y in curve_y])
    rows = np.arange(curves.n_sizes)
    minimum_x, minimum_y = curve_x[rows, lowest], curve_y[rows, lowest]
    landmark_x = _mean_norm_at_optimum(curves, optima)
    if known is not None:
        landmark_x = np.where(np.isfinite(known), known, landmark_x)

    low, high = (None, 1.0) if isinstance(window, str) else window
    found = learned or window_around(minimum_x, low, high)
    sizes = {
        name: np.flatnonzero(curves.train_sizes >= smallest)
        for name, smallest in min_train_size.items()
    }
    gamma1 = _mean_slope(curve_x, curve_y, found, sizes["gamma1"])
    log_size = np.log(curves.train_sizes)
    gamma2, optimum_law, optimum_results = _law(
        log_size, landmark_x, sizes["gamma2"], 1
    )
    measured, data_law, data_results = _law(
        log_size, minimum_y, sizes["gamma_measured"], -1
    )
    inside = rows_inside(curves, found) & np.isin(curves.size, sizes["gamma1"])
    predicted = product(gamma1, gamma2)
    landmarks = Landmarks(
        landmark_x,
        minimum_y,
        np.bincount(curves.size_of_run, optima.censored, curves.n_sizes) > 0,
    )
    reason = "the paper's method gives no interval that covers"
    return FittedLaws(
        curves=curves,
        exponents={
            "gamma1": gamma1,
            "gamma2": gamma2,
            "gamma_predicted": predicted,
            "gamma_measured": measured,
        },
        consistency=difference(predicted, measured),
        norm_law=_norm_line(curves, inside, gamma1),
        optimum_law=optimum_law,
        data_law=data_law,
        forecast_law=fit_forecast(
            log_size,
            minimum_y,
            Offset.none(),
            seeds=(curves.train_sizes[curves.size_of_run], optima.y),
            n_test=curves.n_test,
        ),
        optima=optima,
        minima=landmarks,
        landmarks=landmarks,
        window=found,
        inside=inside,
        sensitivity=window_sensitivity(curves, minimum_x),
        reasons=(reason,),
        untested=reason,
        remarks=(
            Remark(
                "the paper's standard errors take interpolated points of averaged "
                "curves for independent: they are up to three times too small."
            ),
        ),
        method="root mean square of the curves' own OLS errors, as in the paper",
        clusters="none",
        results={
            name: results
            for name, results in (
                ("optimum_law", optimum_results),
                ("data_law", data_results),
            )
            if results is not None
        },
    )


def _averaged_curves(curves: Curves) -> tuple[np.ndarray, np.ndarray]:
    """Average the error over seeds on a log grid of the norm, NaN beyond the runs.

    A train size with a single run is left on its own checkpoints.
    """
    bounds = curves.bounds()
    width = max(_N_GRID, int(np.diff(bounds).max()))
    grid, mean = np.full((2, curves.n_sizes, width), np.nan)
    for size in range(curves.n_sizes):
        runs = [slice(bounds[r], bounds[r + 1]) for r in curves.runs_of(size)]
        if len(runs) == 1:
            n = runs[0].stop - runs[0].start
            grid[size, :n], mean[size, :n] = curves.x[runs[0]], curves.y[runs[0]]
            continue
        low = min(curves.x[run].min() for run in runs)
        high = max(curves.x[run].max() for run in runs)
        grid[size, :_N_GRID] = np.linspace(low, high, _N_GRID)
        errors = []
        for run in runs:
            order = np.argsort(curves.x[run], kind="stable")
            x, y = curves.x[run][order], np.exp(curves.y[run][order])
            errors.append(
                np.interp(grid[size, :_N_GRID], x, y, left=np.nan, right=np.nan)
            )
        present = ~np.isnan(errors)
        total = np.where(present, errors, 0.0).sum(0)
        count = present.sum(0)
        mean[size, :_N_GRID] = np.log(
            np.where(count > 0, total / np.maximum(count, 1), np.nan)
        )
    return grid, mean


def _mean_norm_at_optimum(curves: Curves, optima: Landmarks) -> np.ndarray:
    """Return the log of the mean norm at each run's lowest error, as in the paper.

    The mean is of norms and not of their logs; it is taken relative to the
    largest, which a float64 could not hold.
    """
    means = np.empty(curves.n_sizes)
    for size in range(curves.n_sizes):
        x = optima.x[curves.runs_of(size)]
        means[size] = x.max() + np.log(np.mean(np.exp(x - x.max())))
    return means


def _mean_slope(
    curve_x: np.ndarray, curve_y: np.ndarray, window: Window, sizes: np.ndarray
) -> Estimate:
    """Return the mean over train sizes of the slopes of straight lines.

    Its error, as in the paper's files, is the root mean square of the errors of
    the single slopes, with points of one curve taken for independent.
    """
    lines = []
    for size in sizes:
        x, y = curve_x[size], curve_y[size]
        with np.errstate(invalid="ignore"):
            inside = (x >= window.low[size]) & (x <= window.high[size]) & ~np.isnan(y)
        if inside.sum() >= 2:
            lines.append(fit_line(x[inside], y[inside], -1)[0])
    if not lines:
        raise ValueError(
            f"no train size has two points in the window ({window.how}). Widen it: "
            "it is in units of the norm at the optimum."
        )
    variances = np.array([line.std_err**2 for line in lines])
    return Estimate(
        float(np.mean([line.exponent for line in lines])),
        float(np.sqrt(variances.mean())),
        float(np.sum([line.df for line in lines])),
    )


def _law(
    log_size: np.ndarray, height: np.ndarray, sizes: np.ndarray, sign: int
) -> tuple[Estimate, Line | None, object | None]:
    if len(sizes) < 2:
        return Estimate.missing(), None, None
    line, results = fit_line(log_size[sizes], height[sizes], sign)
    return line.estimate, line, results


def _norm_line(curves: Curves, inside: np.ndarray, gamma1: Estimate) -> Line | None:
    if not inside.any():
        return None
    x, y = curves.x[inside], curves.y[inside]
    return Line(
        intercept=float(np.mean(y + gamma1.estimate * x)),
        exponent=gamma1.estimate,
        sign=-1,
        center=float(x.mean()),
        std_err=gamma1.std_err,
        height_std_err=0.0,
        df=gamma1.df,
    )
