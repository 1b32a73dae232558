"""Standard errors that are honest for few, dependent observations.

Checkpoints of one run share their noise, and so do the runs of one train size.
Covariances are therefore clustered, with the small-sample correction CR2 and
Bell and McCaffrey's degrees of freedom.

References
----------
R. M. Bell and D. F. McCaffrey, "Bias reduction in standard errors for linear
regression with multi-stage samples", Survey Methodology 28 (2002) 169-181.
J. E. Pustejovsky and E. Tipton, "Small-sample methods for cluster-robust
variance estimation", J. Bus. Econ. Stat. 36 (2018) 672-683.
"""

from __future__ import annotations

import numpy as np

from ._estimates import Estimate

__all__ = ["cluster_robust", "cluster_scores", "clustered_wider", "influence"]

# Relative size of an eigenvalue of X'X, columns of unit length, that rounding explains.
_COLLINEAR = 1e-12


def cluster_robust(
    design: np.ndarray, residuals: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the CR2 covariance and Bell and McCaffrey's degrees of freedom.

    With :math:`X_g` the rows of cluster :math:`g`, :math:`M = (X'X)^{-1}`,
    :math:`Z_g = X_g M^{1/2}` and :math:`B_g = Z_g'Z_g`, the adjusted scores
    need only small matrices:
    :math:`(I - X_g M X_g')^{-1/2} X_g M^{1/2} = Z_g (I - B_g)^{-1/2}`.

    Parameters
    ----------
    design : array of shape (n, k)
        Regressors. Effects that are constant within clusters may have been
        absorbed by demeaning: CR2 is the same with or without them.
    residuals : array of shape (n,)
        Of ordinary least squares on `design`.
    groups : array of int of shape (n,)
        Cluster of each row, 0 to n_clusters - 1.

    Returns
    -------
    covariance : array of shape (k, k)
        Of the coefficients; infinite for those that collinear columns leave
        undetermined.
    df : array of shape (k,)
        Degrees of freedom of each coefficient's variance, under independent
        errors of equal variance as the working model.

    References
    ----------
    Bell and McCaffrey (2002); Pustejovsky and Tipton (2018), eqs. 8 and 11.
    """
    scores, df, unknown = cluster_scores(design, residuals, groups)
    covariance = scores.T @ scores
    covariance[unknown] = covariance[:, unknown] = np.inf
    return covariance, df


def cluster_scores(
    design: np.ndarray, residuals: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what each cluster contributes to the error of the coefficients.

    Parameters
    ----------
    design, residuals, groups : array
        As in :func:`cluster_robust`.

    Returns
    -------
    scores : array of shape (n_clusters, k)
        Their sum of squares is the CR2 covariance.
    df : array of shape (k,)
        Degrees of freedom.
    unknown : array of bool of shape (k,)
        Coefficients that collinear columns leave undetermined.
    """
    n_groups, k = int(groups.max()) + 1, design.shape[1]
    # Columns of unit length first, so that what counts as collinear has no unit.
    length = np.sqrt(np.sum(design**2, axis=0))
    length = np.where(length > 0, length, 1.0)
    values, vectors = np.linalg.eigh((design / length).T @ (design / length))
    lost = values <= _COLLINEAR * values[-1]
    root = (vectors / np.sqrt(np.where(lost, np.inf, values))) @ vectors.T
    scaled = (design / length) @ root
    root = root / length
    gram = np.empty((n_groups, k, k))
    score = np.empty((n_groups, k))
    for i in range(k):
        score[:, i] = np.bincount(groups, scaled[:, i] * residuals, n_groups)
        for j in range(i + 1):
            gram[:, i, j] = np.bincount(groups, scaled[:, i] * scaled[:, j], n_groups)
            gram[:, j, i] = gram[:, i, j]
    shrink, basis = np.linalg.eigh(gram)
    # A cluster that alone decides a direction has no residual there: the
    # generalised inverse leaves it out.
    left = np.where(shrink < 1 - 1e-9, 1 - shrink, np.inf)
    adjust = (basis / np.sqrt(left)[:, None, :]) @ basis.transpose(0, 2, 1)
    scores = np.einsum("gij,gj->gi", adjust, score) @ root
    unknown = np.any(np.abs(vectors[:, lost]) > 1e-6, axis=1)
    # One column per coefficient: q_g = (I - B_g)^{-1/2} M^{1/2} e_c.
    contrast = adjust @ root
    pushed = gram @ contrast
    # Omega_gh = own_g [g = h] - pushed_g . pushed_h; df = tr(Omega)^2 / tr(Omega^2),
    # summed without the n_groups x n_groups matrix.
    own = np.einsum("gic,gic->gc", contrast, pushed)
    norm = np.einsum("gic,gic->gc", pushed, pushed)
    outer = np.einsum("gic,gjc->cij", pushed, pushed)
    trace = np.sum(own - norm, axis=0)
    square = np.sum(own**2 - 2 * own * norm, axis=0) + np.sum(outer**2, axis=(1, 2))
    # Where clusters decide every direction alone nothing is left, up to rounding.
    with np.errstate(divide="ignore", invalid="ignore"):
        df = trace**2 / square
    return scores, df, unknown


def clustered_wider(
    slope: float,
    design: np.ndarray,
    residuals: np.ndarray,
    run: np.ndarray,
    size: np.ndarray,
) -> tuple[Estimate, str]:
    """Return the first coefficient with the wider of two clustered errors.

    Parameters
    ----------
    slope : float
        The coefficient of the first column.
    design, residuals : array of shape (n, k), array of shape (n,)
        Of the regression.
    run, size : array of int of shape (n,)
        Run and train size of each row; numbers may be missing.

    Returns
    -------
    estimate : Estimate
        With CR2 errors. Clustering by run alone undercovers when runs of one
        train size share a shock; by train size alone, when there are few.
    clusters : str
        ``"run"`` or ``"train_size"``; ``"none"`` if there is a single run.
    """
    found: list[tuple[Estimate, str]] = []
    for name, groups in (("run", run), ("train_size", size)):
        _, groups = np.unique(groups, return_inverse=True)
        if groups.max() == 0:
            continue
        covariance, df = cluster_robust(design, residuals, groups)
        std_err = float(np.sqrt(covariance[0, 0]))
        found.append((Estimate(slope, std_err, float(df[0])), name))
    if not found:
        return Estimate(slope, np.nan, np.nan), "none"
    return max(found, key=lambda pair: pair[0].half_width())


def influence(design: np.ndarray) -> np.ndarray:
    """Return the weight of each observation in each coefficient.

    Parameters
    ----------
    design : array of shape (n, k)
        Regressors of a least-squares fit.

    Returns
    -------
    array of shape (k, n)
        The pseudo-inverse.
    """
    return np.linalg.pinv(design.T @ design, hermitian=True) @ design.T
