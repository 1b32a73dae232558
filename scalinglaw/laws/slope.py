"""gamma1 with every part of its error, kept apart for what is computed from it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .counting_noise import CountingNoise, Influence
from .inference import Estimate, cluster_scores, clustered_wider, influence

__all__ = ["Slope", "slope_with_errors"]


@dataclass(frozen=True)
class Slope:
    """A slope of log error against log norm.

    Parameters
    ----------
    estimate : Estimate
        With the error of all parts.
    extra : float
        Variance of the part that no cluster shows: the choice of a hinge.
    clusters : str
        What was clustered by: ``"run"``, ``"train_size"`` or ``"none"``.
    scores : array of shape (n_sizes,)
        What each train size contributes to the error, CR2-adjusted.
    scores_df : float
        Degrees of freedom of their sum of squares.
    influence : Influence
        Of the log errors, for one number.
    results : statsmodels results or None
        The regression.
    """

    estimate: Estimate
    extra: float
    clusters: str
    scores: np.ndarray
    scores_df: float
    influence: Influence
    results: object | None = None

    @classmethod
    def missing(cls, n_sizes: int) -> Slope:
        """Return a slope that the data do not support."""
        nothing = Influence(np.zeros((1, 0)), np.zeros(0))
        estimate = Estimate.missing()
        return cls(estimate, 0.0, "none", np.zeros(n_sizes), np.inf, nothing)

    def scaled(self, factor: float) -> Slope:
        """Return the slope in another unit of the log norm."""
        return replace(
            self,
            estimate=self.estimate.scaled(factor),
            extra=factor**2 * self.extra,
            scores=factor * self.scores,
            influence=factor * self.influence,
        )


def slope_with_errors(
    slope: float,
    design: np.ndarray,
    residuals: np.ndarray,
    log_error: np.ndarray,
    run: np.ndarray,
    size: np.ndarray,
    *,
    n_sizes: int,
    noise: CountingNoise | None,
    extra: float = 0.0,
) -> Slope:
    """Return the first coefficient of a regression with all parts of its error.

    Parameters
    ----------
    slope : float
        The coefficient.
    design, residuals : array of shape (n, k), array of shape (n,)
        Of the regression, run means taken from the design.
    log_error : array of shape (n,)
        Natural logarithm of the errors.
    run, size : array of int of shape (n,)
        Run and train size of each row; numbers may be missing.
    n_sizes : int
        Number of train sizes.
    noise : CountingNoise or None
        Of the test set, if all runs share one.
    extra : float, default=0
        Variance of a further error.

    Returns
    -------
    Slope
        Clustered by run and by train size, the wider of the two.
    """
    estimate, clusters = clustered_wider(slope, design, residuals, run, size)
    estimate = estimate.widened(extra)
    moved = Influence(influence(design)[:1], log_error)
    if noise is not None and np.isfinite(estimate.std_err):
        estimate = estimate.widened(float(noise.covariance(moved)[0, 0]))
    present, groups = np.unique(size, return_inverse=True)
    scores, scores_df = np.zeros(n_sizes), np.inf
    if len(present) > 1:
        found, df, _ = cluster_scores(design, residuals, groups)
        scores[present], scores_df = found[:, 0], float(df[0])
    else:
        # A single train size contributes all of it.
        extra = estimate.std_err**2
    return Slope(estimate, extra, clusters, scores, scores_df, moved)
