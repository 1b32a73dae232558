r"""Laws of the train size: one number per size, and how it grows with log P.

The optimum law, the data law, the product of exponents and the test of the law are
all slopes against :math:`\log P`. The last two depend on gamma1 as well, which comes
from the same runs: their errors are added up train size by train size, so that what
moves both moves them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from .counting_noise import CountingNoise, Influence, unexplained_variance
from .inference import Estimate, Line, cluster_scores, fit_line, satterthwaite
from .landmark import Landmarks
from .slope import Slope

__all__ = [
    "MIN_SIZES",
    "Heights",
    "SizeLaws",
    "fit_growth",
    "fit_size_laws",
    "growth_with_slope",
]

# Fewer train sizes give a number and no interval.
MIN_SIZES = 4
_MISSING = Estimate.missing()


@dataclass(frozen=True)
class SizeLaws:
    """The exponents that rest on one landmark per train size.

    Parameters
    ----------
    gamma2, measured, predicted, difference : Estimate
        Of the optimum law and of the data law, their product with gamma1, and what it
        exceeds the measured one by; missing where the data do not support a number.
    optimum_law, data_law : Line or None
        The fitted lines.
    results : dict of str to statsmodels results
        The regressions.
    """

    gamma2: Estimate = _MISSING
    measured: Estimate = _MISSING
    predicted: Estimate = _MISSING
    difference: Estimate = _MISSING
    optimum_law: Line | None = None
    data_law: Line | None = None
    results: Mapping[str, object] = field(default_factory=dict)

    def untested(self) -> SizeLaws:
        """Return the same without the test of the law."""
        results = {k: v for k, v in self.results.items() if k != "consistency"}
        return replace(self, difference=_MISSING, results=results)


def fit_size_laws(
    log_size: np.ndarray,
    landmarks: Landmarks,
    usable: np.ndarray,
    slope: Slope,
    *,
    noise: CountingNoise | None,
) -> SizeLaws:
    """Fit the laws of the train size to landmarks, on the same train sizes.

    Parameters
    ----------
    log_size : array of shape (n_sizes,)
        Natural logarithm of the train sizes.
    landmarks : Landmarks
        One per train size.
    usable : array of bool of shape (n_sizes,)
        Which tell where the landmark is.
    slope : Slope
        gamma1.
    noise : CountingNoise or None
        Of the test set, if all runs share one.

    Returns
    -------
    SizeLaws
        Without intervals where fewer than four train sizes are usable, and without
        numbers where fewer than two are.
    """
    n_usable = int(usable.sum())
    if n_usable < 2:
        return SizeLaws()
    gamma1 = slope.estimate.estimate
    moved_x, moved_y = landmarks.influence_on_x(gamma1), landmarks.influence_on_y
    x = Heights(log_size, landmarks.x, moved_x).taken(usable)
    y = Heights(log_size, landmarks.y, moved_y).taken(usable)
    if n_usable < MIN_SIZES or not np.isfinite(gamma1):
        noise = None
    gamma2, optimum_law, optimum_results = fit_growth(x, 1, noise)
    measured, data_law, data_results = fit_growth(y, -1, noise)
    # Both contain gamma1, and change by gamma2 where it changes by one.
    with_slope = gamma2.estimate, slope, usable, noise
    predicted, _ = growth_with_slope(gamma1 * x, *with_slope)
    difference, z_results = growth_with_slope(y + gamma1 * x, *with_slope)
    laws = SizeLaws(
        gamma2=gamma2,
        measured=measured,
        predicted=predicted,
        difference=difference,
        optimum_law=optimum_law,
        data_law=data_law,
        results={
            "optimum_law": optimum_results,
            "data_law": data_results,
            "consistency": z_results,
        },
    )
    if n_usable < MIN_SIZES:
        return replace(
            laws.untested(),
            gamma2=gamma2.without_error(),
            measured=measured.without_error(),
            predicted=predicted.without_error(),
        )
    return laws


@dataclass(frozen=True)
class Heights:
    """A number of each train size, on a log axis.

    Parameters
    ----------
    log_size : array of shape (n,)
        Natural logarithm of the train sizes.
    value : array of shape (n,)
        The numbers.
    influence : Influence
        How they move with the log errors.
    """

    log_size: np.ndarray
    value: np.ndarray
    influence: Influence

    def __add__(self, other: Heights) -> Heights:
        """Return the sums of two numbers of each train size."""
        return replace(
            self,
            value=self.value + other.value,
            influence=self.influence + other.influence,
        )

    def __rmul__(self, factor: float) -> Heights:
        """Return multiples of the numbers."""
        return replace(
            self, value=factor * self.value, influence=factor * self.influence
        )

    def taken(self, kept: np.ndarray) -> Heights:
        """Return those of some train sizes.

        Parameters
        ----------
        kept : array of bool of shape (n,)
            Which.

        Returns
        -------
        Heights
            As many as are kept.
        """
        return Heights(
            self.log_size[kept],
            self.value[kept],
            np.eye(len(kept))[kept] @ self.influence,
        )

    @property
    def weights(self) -> np.ndarray:
        """Weight of each number in the slope against log P."""
        centred = self.log_size - self.log_size.mean()
        return centred / (centred @ centred)


def fit_growth(
    heights: Heights, sign: int, noise: CountingNoise | None
) -> tuple[Estimate, Line, object]:
    r"""Fit a straight line against log P, with the error of its slope.

    Parameters
    ----------
    heights : Heights
        At least three.
    sign : {-1, 1}
        -1 if the exponent is positive for decay.
    noise : CountingNoise or None
        Of the test set, if all runs share one. Their noise is largest where errors are
        fewest, at the far end of the line, and a handful of residuals cannot tell.

    Returns
    -------
    exponent : Estimate
        With variance :math:`w'\Sigma w + \sigma^2/S_{xx}`, :math:`\Sigma` the known
        covariance and :math:`\sigma^2` the rest that residuals show.
    line : Line
        With the same errors.
    results : statsmodels RegressionResults
        Of the regression.
    """
    line, results = fit_line(heights.log_size, heights.value, sign)
    rest, counted = _variances(heights, line, noise)
    df = satterthwaite(np.array([rest, counted]), np.array([line.df, np.inf]))
    std_err = float(np.sqrt(rest + counted))
    line = replace(line, std_err=std_err, df=df)
    return line.estimate, line, results


def growth_with_slope(
    heights: Heights,
    factor: float,
    slope: Slope,
    used: np.ndarray,
    noise: CountingNoise | None,
) -> tuple[Estimate, object]:
    r"""Return a slope against log P whose numbers contain gamma1.

    To first order, numbers :math:`h_P` that contain :math:`\gamma_1` have the slope
    :math:`b = \sum_P u_P h_P + f\,(\hat\gamma_1 - \gamma_1)`. The variance is
    :math:`\sum_P (u_P e_P + f s_P)^2`, with residuals :math:`e_P` scaled to the
    variance of the line and :math:`s_P` what train size :math:`P` contributes to the
    error of :math:`\gamma_1`.

    Parameters
    ----------
    heights : Heights
        With gamma1 at its estimate, of the train sizes used.
    factor : float
        Derivative of the slope by gamma1.
    slope : Slope
        gamma1.
    used : array of bool of shape (n_sizes,)
        Which train sizes `heights` has.
    noise : CountingNoise or None
        Of the test set, if all runs share one.

    Returns
    -------
    slope : Estimate
        At most as many degrees of freedom as the line leaves, or more where the choice
        of a hinge or the noise of a test set, whose sizes are known, are a part.
    results : statsmodels RegressionResults
        Of the regression, which takes gamma1 for known.
    """
    line, results = fit_line(heights.log_size, heights.value, 1)
    rest, _ = _variances(heights, line, noise)
    n = len(heights.value)
    design = np.column_stack([heights.log_size - line.center, np.ones(n)])
    residuals = heights.value - line.predict(heights.log_size)
    scores = np.zeros(len(used))
    scores[used] = cluster_scores(design, residuals, np.arange(n))[0][:, 0]
    total = float(np.sqrt(scores @ scores))
    if total > 0:
        scores *= np.sqrt(rest) / total
    ours = factor * slope.scores
    varied, known = float(np.sum((scores + ours) ** 2)), factor**2 * slope.extra
    # No more than the line's, since both parts may vary together.
    parts = np.array([scores @ scores, ours @ ours])
    df = min(line.df, satterthwaite(parts, np.array([line.df, slope.scores_df])))
    if noise is not None:
        moved = heights.weights @ heights.influence + factor * slope.influence
        known += float(noise.covariance(moved)[0, 0])
    df = satterthwaite(np.array([varied, known]), np.array([df, np.inf]))
    return Estimate(line.exponent, float(np.sqrt(varied + known)), df), results


def _variances(
    heights: Heights, line: Line, noise: CountingNoise | None
) -> tuple[float, float]:
    """Return the variance of a slope that residuals show, and the known part."""
    if noise is None:
        return line.std_err**2, 0.0
    known = noise.covariance(heights.influence)
    total = float(np.sum((heights.log_size - heights.log_size.mean()) ** 2))
    rest = unexplained_variance(heights.log_size, heights.value, known)
    return rest / total, float(heights.weights @ known @ heights.weights)
