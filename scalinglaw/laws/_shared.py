"""Numbers that all train sizes share, with every part of their errors kept apart.

gamma1 and the offset are such numbers: what is computed from them for each train size
moves with them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ._clusters import cluster_scores, clustered_wider, influence
from ._counting_noise import CountingNoise, Influence
from ._estimates import Estimate

__all__ = ["Shared", "shared_with_errors"]


@dataclass(frozen=True)
class Shared:
    """A number that all train sizes share.

    Parameters
    ----------
    estimate : Estimate
        The number, with the error of all parts.
    extra : float
        Variance of the part that no cluster shows: the choice of a hinge.
    clusters : str
        What was clustered by: ``"run"``, ``"train_size"`` or ``"none"``.
    scores : array of shape (n_sizes,)
        What each train size contributes to the error, CR2-adjusted.
    scores_df : float
        Degrees of freedom of their sum of squares.
    influence : Influence
        Influence of the log errors on the number.
    results : statsmodels results or None
        Regression that it comes from.
    """

    estimate: Estimate
    extra: float
    clusters: str
    scores: np.ndarray
    scores_df: float
    influence: Influence
    results: object | None = None

    @classmethod
    def missing(cls, n_sizes: int) -> Shared:
        """Return a number that the data do not support."""
        nothing = Influence(np.zeros((1, 0)), np.zeros(0))
        estimate = Estimate.missing()
        return cls(estimate, 0.0, "none", np.zeros(n_sizes), np.inf, nothing)

    def scaled(self, factor: float) -> Shared:
        """Return the number in another unit."""
        return replace(
            self,
            estimate=self.estimate.scaled(factor),
            extra=factor**2 * self.extra,
            scores=factor * self.scores,
            influence=factor * self.influence,
        )


def shared_with_errors(
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
) -> Shared:
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
    Shared
        Clustered by run and by train size, the wider of the two.
    """
    if design.shape[1] == 0:
        alone = Estimate(slope, np.nan, np.nan)
        return replace(Shared.missing(n_sizes), estimate=alone)
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
    return Shared(estimate, extra, clusters, scores, scores_df, moved)
