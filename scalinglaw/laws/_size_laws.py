r"""Laws of the train size: one number per size, and how it grows with log P.

The optimum law, the data law, the product of exponents and the test of the law are
all slopes against :math:`\log P`. The last two depend on gamma1 as well, which comes
from the same runs: their errors are added up train size by train size, so that what
moves both moves them together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ._clusters import cluster_scores
from ._counting_noise import CountingNoise, Influence, unexplained_variance
from ._estimates import Estimate, satterthwaite
from ._landmarks import Landmarks
from ._lines import Line, fit_line, with_reported_errors
from ._shared import Shared

__all__ = [
    "MIN_SIZES",
    "Heights",
    "SizeLaws",
    "fit_growth",
    "fit_size_laws",
    "growth_with",
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
        Regressions, with the errors that are reported.
    product_move : float
        Derivative of the predicted exponent by the offset.
    """

    gamma2: Estimate = _MISSING
    measured: Estimate = _MISSING
    predicted: Estimate = _MISSING
    difference: Estimate = _MISSING
    optimum_law: Line | None = None
    data_law: Line | None = None
    results: Mapping[str, object] = field(default_factory=dict)
    product_move: float = 0.0


def fit_size_laws(
    log_size: np.ndarray,
    landmarks: Landmarks,
    slope: Shared,
    offset: Shared,
    drift: Shared,
    *,
    slope_move: float,
    place_moves: np.ndarray,
    placed: np.ndarray,
    seen: np.ndarray,
    noise: CountingNoise | None,
) -> SizeLaws:
    """Fit the laws of the train size to landmarks.

    Parameters
    ----------
    log_size : array of shape (n_sizes,)
        Natural logarithm of the train sizes.
    landmarks : Landmarks
        One per train size, of errors less the offset.
    slope, offset : Shared
        gamma1, at the offset taken off, and what is known of the offset.
    drift : Shared
        Growth of the distance from the places to the minima they stand for, which has
        been added to the places.
    slope_move, place_moves : float, array of shape (n_sizes,)
        Derivatives by the offset of gamma1 and of the places.
    placed, seen : array of bool of shape (n_sizes,)
        Which landmarks have a place on the norm axis, and which a height.
    noise : CountingNoise or None
        Noise of the test set, if all runs share one.

    Returns
    -------
    SizeLaws
        Without intervals where fewer than four train sizes are usable, and without
        numbers where fewer than two are. The law is tested only where `placed` and
        `seen` are the same train sizes.
    """
    gamma1 = slope.estimate.estimate
    moved_x, moved_y = landmarks.influence_on_x(gamma1), landmarks.influence_on_y
    x = Heights(log_size, landmarks.x, moved_x, landmarks.scatter_x).subset(placed)
    y = Heights(log_size, landmarks.y, moved_y, landmarks.scatter_y).subset(seen)
    laws, move_y, move_x = SizeLaws(), 0.0, 0.0
    if seen.sum() >= 2:
        move_y = float(y.weights @ -np.exp(-landmarks.y[seen]))
        measured, data_law, results = fit_growth(y, -1, [(move_y, offset)], seen, noise)
        laws = replace(
            laws, measured=measured, data_law=data_law, results={"data_law": results}
        )
    if placed.sum() >= 2:
        move_x = float(x.weights @ place_moves[placed])
        gamma2, optimum_law, results = fit_growth(
            x, 1, [(move_x, offset), (1.0, drift)], placed, noise
        )
        # The product contains gamma1, and changes by gamma2 where it changes by one.
        move = slope_move * gamma2.estimate + gamma1 * move_x
        parts = [(gamma2.estimate, slope), (move, offset), (gamma1, drift)]
        laws = replace(
            laws,
            gamma2=gamma2,
            predicted=growth_with(gamma1 * x, parts, placed, noise),
            optimum_law=optimum_law,
            results={**laws.results, "optimum_law": results},
            product_move=move,
        )
    if np.array_equal(placed, seen) and placed.sum() >= MIN_SIZES:
        parts = [
            (laws.gamma2.estimate, slope),
            (laws.product_move + move_y, offset),
            (gamma1, drift),
        ]
        z = growth_with(y + gamma1 * x, parts, seen, noise)
        laws = replace(laws, difference=z)
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
        Influence of the log errors on them.
    scatter : array of shape (n, n_runs) or None
        What the scatter of each run contributes to their errors.
    """

    log_size: np.ndarray
    value: np.ndarray
    influence: Influence
    scatter: np.ndarray | None = None

    def __add__(self, other: Heights) -> Heights:
        """Return the sums of two numbers of each train size."""
        return replace(
            self,
            value=self.value + other.value,
            influence=self.influence + other.influence,
            # Both come from the same runs, and one mostly follows the other.
            scatter=None,
        )

    def __rmul__(self, factor: float) -> Heights:
        """Return multiples of the numbers."""
        scatter = None if self.scatter is None else factor * self.scatter
        return replace(
            self,
            value=factor * self.value,
            influence=factor * self.influence,
            scatter=scatter,
        )

    def subset(self, kept: np.ndarray) -> Heights:
        """Return those of some train sizes.

        Parameters
        ----------
        kept : array of bool of shape (n,)
            Which train sizes.

        Returns
        -------
        Heights
            As many as are kept.
        """
        return Heights(
            self.log_size[kept],
            self.value[kept],
            np.eye(len(kept))[kept] @ self.influence,
            None if self.scatter is None else self.scatter[kept],
        )

    @property
    def weights(self) -> np.ndarray:
        """Weight of each number in the slope against log P."""
        centred = self.log_size - self.log_size.mean()
        return centred / (centred @ centred)


Part = tuple[float, Shared]
"""Derivative of a slope by a number that all train sizes share, and that number."""


def fit_growth(
    heights: Heights,
    sign: int,
    parts: Sequence[Part],
    used: np.ndarray,
    noise: CountingNoise | None,
) -> tuple[Estimate, Line, Any]:
    """Fit a straight line against log P, and give its slope as an exponent.

    Parameters
    ----------
    heights : Heights
        At least two.
    sign : {-1, 1}
        -1 if the exponent is positive for decay.
    parts, used, noise : as in :func:`growth_with`

    Returns
    -------
    exponent : Estimate
        Without an error for fewer than four train sizes.
    line : Line
        With the same errors.
    results : statsmodels RegressionResults
        Of the regression, with the errors that are reported.
    """
    line, results = fit_line(heights.log_size, heights.value, sign)
    if len(heights.value) < MIN_SIZES:
        return line.estimate.without_error(), line, results
    slope = growth_with(heights, parts, used, noise)
    line = replace(line, std_err=slope.std_err, df=slope.df)
    results = with_reported_errors(
        results, (line.height_std_err, line.std_err), line.df
    )
    return line.estimate, line, results


def growth_with(
    heights: Heights,
    parts: Sequence[Part],
    used: np.ndarray,
    noise: CountingNoise | None,
) -> Estimate:
    r"""Return a slope against log P of numbers that contain what all sizes share.

    To first order, numbers :math:`h_P` that contain a :math:`\theta` which all train
    sizes share have the slope :math:`b = \sum_P u_P h_P + f\,(\hat\theta - \theta)`.
    The variance is :math:`\sum_P (u_P e_P + f s_P)^2`, residuals :math:`e_P` scaled
    to the variance of the line and :math:`s_P` what train size :math:`P` contributes to
    the error of :math:`\theta`; what no train size shows is added.

    Parameters
    ----------
    heights : Heights
        With every :math:`\theta` at its estimate, of the train sizes used.
    parts : sequence of (float, Shared)
        Each derivative :math:`f`, with its :math:`\theta`.
    used : array of bool of shape (n_sizes,)
        Which train sizes `heights` has.
    noise : CountingNoise or None
        Noise of the test set, if all runs share one. It is largest where errors are
        fewest, at the far end of the line, and a handful of residuals cannot tell.

    Returns
    -------
    Estimate
        At most as many degrees of freedom as the line leaves, or more where the choice
        of a hinge or the noise of a test set, whose sizes are known, are a part;
        without an error for fewer than four train sizes.
    """
    line, _ = fit_line(heights.log_size, heights.value, 1)
    n = len(heights.value)
    if n < MIN_SIZES:
        return line.estimate.without_error()
    known_parts = [
        (factor, shared)
        for factor, shared in parts
        if factor != 0 and np.isfinite(shared.estimate.std_err)
    ]
    rest = _unexplained(heights, line, noise)
    design = np.column_stack([heights.log_size - line.center, np.ones(n)])
    residuals = heights.value - line.predict(heights.log_size)
    scores = np.zeros(len(used))
    scores[used] = cluster_scores(design, residuals, np.arange(n))[0][:, 0]
    total = float(np.sqrt(scores @ scores))
    if total > 0:
        scores *= np.sqrt(rest) / total
    squares, dfs = [float(scores @ scores)], [line.df]
    known, moved = 0.0, heights.weights @ heights.influence
    for factor, shared in known_parts:
        ours = factor * shared.scores
        scores = scores + ours
        squares.append(float(ours @ ours))
        dfs.append(shared.scores_df)
        known += factor**2 * shared.extra
        if len(shared.influence.log_error):
            moved = moved + factor * shared.influence
    varied = float(scores @ scores)
    # No more than the line's, since all parts may vary together.
    df = min(line.df, satterthwaite(np.array(squares), np.array(dfs)))
    if noise is not None:
        known += float(noise.covariance(moved)[0, 0])
    df = satterthwaite(np.array([varied, known]), np.array([df, np.inf]))
    return Estimate(line.exponent, float(np.sqrt(varied + known)), df)


def _unexplained(heights: Heights, line: Line, noise: CountingNoise | None) -> float:
    """Return the variance of a slope that residuals or seeds show."""
    shown = line.std_err**2
    if noise is not None:
        known = noise.covariance(heights.influence)
        total = float(np.sum((heights.log_size - heights.log_size.mean()) ** 2))
        shown = unexplained_variance(heights.log_size, heights.value, known) / total
    if heights.scatter is not None:
        # A train size far from the others has no residual of its own: the line goes
        # through it, wherever its seeds happen to lie.
        shown = max(shown, float(np.sum((heights.weights @ heights.scatter) ** 2)))
    return shown
