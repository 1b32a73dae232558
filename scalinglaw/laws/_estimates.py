"""A number with its standard error and the degrees of freedom of that error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

__all__ = ["Estimate", "difference", "product", "satterthwaite"]


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

    def __float__(self) -> float:
        """Return the number, so that an estimate can be used as one."""
        return float(self.estimate)

    def __format__(self, spec: str) -> str:
        """Return the number in a format of floats; by default with its error."""
        return format(float(self), spec) if spec else str(self)

    def __str__(self) -> str:
        """Return the number with its error and its degrees of freedom."""
        if np.isnan(self.std_err):
            return f"{self.estimate:.4g} (no interval)"
        return f"{self.estimate:.4g} +- {self.std_err:.2g} (df {self.df:.3g})"

    def __add__(self, other: Any) -> float:
        return float(self) + float(other)

    def __sub__(self, other: Any) -> float:
        return float(self) - float(other)

    def __mul__(self, other: Any) -> float:
        return float(self) * float(other)

    def __truediv__(self, other: Any) -> float:
        return float(self) / float(other)

    def __radd__(self, other: Any) -> float:
        return float(other) + float(self)

    def __rsub__(self, other: Any) -> float:
        return float(other) - float(self)

    def __rmul__(self, other: Any) -> float:
        return float(other) * float(self)

    def __rtruediv__(self, other: Any) -> float:
        return float(other) / float(self)

    def __neg__(self) -> float:
        return -float(self)

    def __abs__(self) -> float:
        return abs(float(self))

    def __pow__(self, other: Any) -> float:
        return float(self) ** float(other)

    def __lt__(self, other: Any) -> bool:
        return float(self) < float(other)

    def __le__(self, other: Any) -> bool:
        return float(self) <= float(other)

    def __gt__(self, other: Any) -> bool:
        return float(self) > float(other)

    def __ge__(self, other: Any) -> bool:
        return float(self) >= float(other)

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
