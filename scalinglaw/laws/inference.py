r"""Estimates with errors that are honest for few, dependent observations.

Checkpoints of one run share their noise, and so do the runs of one train size.
Covariances are therefore clustered, with the small-sample correction CR2 and
Bell and McCaffrey's degrees of freedom, and every interval uses Student's t.

References
----------
R. M. Bell and D. F. McCaffrey, "Bias reduction in standard errors for linear
regression with multi-stage samples", Survey Methodology 28 (2002) 169-181.
J. E. Pustejovsky and E. Tipton, "Small-sample methods for cluster-robust
variance estimation", J. Bus. Econ. Stat. 36 (2018) 672-683.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import statsmodels.api as sm
from scipy import stats

__all__ = [
    "Estimate",
    "Line",
    "cluster_robust",
    "cluster_scores",
    "clustered_wider",
    "difference",
    "fit_line",
    "influence",
    "product",
    "satterthwaite",
]

# Relative size of an eigenvalue of X'X, columns of unit length, that rounding explains.
_COLLINEAR = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A number, its standard error and the degrees of freedom of that error.

    Parameters
    ----------
    estimate : float
        The number; NaN when the data do not support one.
    std_err : float
        Its standard error, in the same unit.
    df : float
        Degrees of freedom of the standard error; infinity for a normal one.
    """

    estimate: float
    std_err: float
    df: float

    @classmethod
    def missing(cls) -> Estimate:
        """Return an estimate that says: the data do not support a number."""
        return cls(np.nan, np.nan, np.nan)

    def conf_int(self, alpha: float = 0.05) -> tuple[float, float]:
        """Return the interval that covers with probability 1 - `alpha`.

        Parameters
        ----------
        alpha : float, default=0.05
            Significance level.

        Returns
        -------
        low, high : float
            From quantiles of Student's t.
        """
        half = self.half_width(alpha)
        return self.estimate - half, self.estimate + half

    def half_width(self, alpha: float = 0.05) -> float:
        """Return half the width of :meth:`conf_int`."""
        return float(stats.t.ppf(1 - alpha / 2, self.df) * self.std_err)

    def widened(self, variance: float, df: float = np.inf) -> Estimate:
        """Return the estimate with `variance` added to that of its error.

        Parameters
        ----------
        variance : float
            Of a further, independent error.
        df : float, default=infinity
            Its degrees of freedom; infinite if its size is known.

        Returns
        -------
        Estimate
            With Satterthwaite's degrees of freedom.
        """
        variances = np.array([self.std_err**2, variance])
        df = satterthwaite(variances, np.array([self.df, df]))
        return Estimate(self.estimate, float(np.sqrt(variances.sum())), df)

    def scaled(self, factor: float) -> Estimate:
        """Return the estimate in a unit that is `factor` times smaller."""
        return Estimate(factor * self.estimate, factor * self.std_err, self.df)

    def without_error(self) -> Estimate:
        """Return the number alone, where nothing tells its error."""
        return Estimate(self.estimate, np.nan, np.nan)

    @property
    def statistic(self) -> float:
        """The estimate in units of its standard error."""
        if self.std_err == 0:
            return (
                0.0 if self.estimate == 0 else float(np.copysign(np.inf, self.estimate))
            )
        return self.estimate / self.std_err

    @property
    def p_value(self) -> float:
        """Two-sided p-value of the hypothesis that the true number is zero."""
        return float(2 * stats.t.sf(abs(self.statistic), self.df))


def satterthwaite(variances: np.ndarray, dfs: np.ndarray) -> float:
    r"""Return the degrees of freedom of a sum of independent variances.

    Parameters
    ----------
    variances : array of shape (n,)
        Estimated variances :math:`v_i`.
    dfs : array of shape (n,)
        Degrees of freedom :math:`\nu_i` of each.

    Returns
    -------
    float
        :math:`(\sum v_i)^2 / \sum v_i^2/\nu_i`.

    References
    ----------
    F. E. Satterthwaite, Biometrics Bulletin 2 (1946) 110-114.
    """
    variances, dfs = np.asarray(variances, float), np.asarray(dfs, float)
    total = variances.sum()
    if not np.isfinite(total):
        return np.nan
    if total == 0:
        return float(dfs.min())
    # Relative to the total, or the squares of tiny variances underflow.
    share = variances / total
    inverse = float(np.sum(share**2 / dfs))
    return 1.0 / inverse if inverse > 0 else np.inf


def product(first: Estimate, second: Estimate) -> Estimate:
    r"""Return the product of two independent estimates by the delta method.

    Parameters
    ----------
    first, second : Estimate
        :math:`a` and :math:`b`.

    Returns
    -------
    Estimate
        Variance :math:`b^2 v_a + a^2 v_b`, Satterthwaite's degrees of freedom.
    """
    variances = np.array(
        [
            (second.estimate * first.std_err) ** 2,
            (first.estimate * second.std_err) ** 2,
        ]
    )
    df = satterthwaite(variances, np.array([first.df, second.df]))
    value = first.estimate * second.estimate
    return Estimate(value, float(np.sqrt(variances.sum())), df)


def difference(first: Estimate, second: Estimate, covariance: float = 0.0) -> Estimate:
    """Return the difference of two estimates.

    Parameters
    ----------
    first, second : Estimate
        The second is taken from the first.
    covariance : float, default=0
        Of the two; 0 for independent ones.

    Returns
    -------
    Estimate
        With Welch's degrees of freedom.
    """
    variances = np.array([first.std_err**2, second.std_err**2])
    df = satterthwaite(variances, np.array([first.df, second.df]))
    variance = max(float(variances.sum()) - 2 * covariance, 0.0)
    return Estimate(first.estimate - second.estimate, float(np.sqrt(variance)), df)


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


@dataclass(frozen=True)
class Line:
    r"""A straight line on log axes, fitted to one point per train size or run.

    Parameters
    ----------
    intercept : float
        Value at ``log_x = 0``, natural logarithm.
    exponent : float
        Positive for growth; see `sign`.
    sign : int
        +1 if y grows with the exponent, -1 if it decays.
    center : float
        Mean of ``log_x``, where slope and height are uncorrelated.
    std_err, height_std_err : float
        Standard errors of the exponent and of the line's height at `center`.
    df : float
        Degrees of freedom of both.
    scatter : float
        Standard deviation of single points around the line, at `center`.
    scatter_growth : float
        How fast the logarithm of their variance grows with ``log_x``.
    """

    intercept: float
    exponent: float
    sign: int
    center: float
    std_err: float
    height_std_err: float
    df: float
    scatter: float = np.nan
    scatter_growth: float = 0.0

    @property
    def estimate(self) -> Estimate:
        """The exponent with its error."""
        return Estimate(self.exponent, self.std_err, self.df)

    def predict(self, log_x: np.ndarray) -> np.ndarray:
        """Return the natural logarithm of y at `log_x`."""
        return self.intercept + self.sign * self.exponent * np.asarray(log_x, float)

    def variance(self, log_x: np.ndarray, *, new_point: bool = False) -> np.ndarray:
        """Return the variance of the line's height, or of a new point's near it.

        Parameters
        ----------
        log_x : array of shape (n,)
            Where, natural logarithm.
        new_point : bool, default=False
            Add the scatter of single points.

        Returns
        -------
        array of shape (n,)
        """
        beyond = np.asarray(log_x, dtype=float) - self.center
        variance = self.height_std_err**2 + (self.std_err * beyond) ** 2
        if new_point:
            variance += self.scatter**2 * np.exp(self.scatter_growth * beyond)
        return variance

    def conf_band(
        self, log_x: np.ndarray, alpha: float = 0.05, *, new_point: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the pointwise interval of the line, or of a new point near it.

        Parameters
        ----------
        log_x : array of shape (n,)
            Where, natural logarithm.
        alpha : float, default=0.05
            Significance level.
        new_point : bool, default=False
            Add the scatter of single points.

        Returns
        -------
        low, high : array of shape (n,)
            Natural logarithms.
        """
        quantile = stats.t.ppf(1 - alpha / 2, self.df)
        half = quantile * np.sqrt(self.variance(log_x, new_point=new_point))
        return self.predict(log_x) - half, self.predict(log_x) + half


def fit_line(log_x: np.ndarray, log_y: np.ndarray, sign: int) -> tuple[Line, object]:
    """Fit a power law to one point per train size, by least squares.

    Parameters
    ----------
    log_x, log_y : array of shape (n,)
        Natural logarithms.
    sign : {-1, 1}
        -1 if the exponent is positive for decay.

    Returns
    -------
    line : Line
        With n - 2 degrees of freedom; its errors are NaN for n < 3.
    results : statsmodels RegressionResults
        Of the regression on the centred logarithm, with t quantiles.
    """
    center = float(np.mean(log_x))
    design = np.column_stack([np.ones(len(log_x)), log_x - center])
    results = sm.OLS(log_y, design).fit(use_t=True)
    height, slope = results.params
    df = float(len(log_x) - 2)
    if df > 0:
        errors = results.bse
        scatter = float(np.sqrt(results.scale))
    else:
        errors, scatter, df = (np.nan, np.nan), np.nan, np.nan
    line = Line(
        intercept=float(height - slope * center),
        exponent=float(sign * slope),
        sign=sign,
        center=center,
        std_err=float(errors[1]),
        height_std_err=float(errors[0]),
        df=df,
        scatter=scatter,
    )
    return line, results
