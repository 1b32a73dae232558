r"""The curve :math:`y = q + c\,x^{-\gamma}` on arrays: its optimum and its errors.

Everything is done in u = log x less its mean and v = log y less its minimum, so that
no unit matters, and everything is read off one optimum: the errors come from the
Jacobian there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import optimize, stats

from ._clusters import cluster_scores
from ._power_data import Data

__all__ = [
    "Curve",
    "curvature",
    "fit_curve",
    "identified",
    "serial_correlation",
]

# First guesses of the offset, as shares of the lowest point.
_STARTS = (0.3, 0.8, 0.97)
# Root mean square residual of log y that rounding explains.
_ROUNDING = 1e-13
# Beside an offset, how much less the second point may show of the power law than the
# first: an exponent that a single point decides is none.
_STEEPEST = 1e3
# Share of the squares that an offset must take off, or it is none.
_LOWER = 1e-9
# Squared length, relative to its own, of a column that the others explain.
_COLLINEAR = 1e-12


@dataclass(frozen=True)
class Curve:
    """A fitted curve, in centred logarithms.

    Parameters
    ----------
    heights : array of shape (n_heights,)
        log c of each group.
    exponent, offset : float
        The exponent, and the offset in units of the lowest y.
    residuals : array of shape (n,)
        Of log y, times the roots of the weights.
    jacobian : array of shape (n, k)
        Derivatives of the fitted log y, times the roots of the weights, by the mean
        log c, the exponent and, where it was free, the offset. With heights by group
        the first column is zero and the others are what no height explains.
    scores : array of shape (n or n_groups, k)
        What each point or group contributes to the error of those k numbers.
    df : array of shape (k,)
        Degrees of freedom of each one's error.
    between : float
        Variance of the heights between groups; 0 with one height.
    """

    heights: np.ndarray
    exponent: float
    offset: float
    residuals: np.ndarray
    jacobian: np.ndarray
    scores: np.ndarray
    df: np.ndarray
    between: float

    @property
    def height(self) -> float:
        """Mean of the heights."""
        return float(self.heights.mean())

    @property
    def covariance(self) -> np.ndarray:
        """Covariance of the k numbers."""
        return self.scores.T @ self.scores

    @property
    def squares(self) -> float:
        """Weighted sum of squared residuals."""
        return float(self.residuals @ self.residuals)

    @property
    def n_parameters(self) -> int:
        """Number of fitted numbers, heights included."""
        return len(self.heights) + len(self.df) - 1

    def log_y(self, u: np.ndarray) -> np.ndarray:
        """Return the fitted log y at `u`, at the mean height."""
        return _log_curve(u, self.height, self.exponent, self.offset)

    def gradient(self, u: np.ndarray) -> np.ndarray:
        """Return the derivatives of :meth:`log_y`, of shape (n, k)."""
        full = _derivatives(u, self.height, self.exponent, self.offset)
        return full[:, : len(self.df)]


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def fit_curve(data: Data, with_offset: bool, cov_type: str) -> Curve:
    """Fit the curve by least squares on log y.

    Parameters
    ----------
    data : Data
        The points.
    with_offset : bool
        Whether the offset is free; it is never negative.
    cov_type : {"HC3", "HC1", "nonrobust"}
        Covariance without groups; with them it is cluster-robust.

    Returns
    -------
    Curve
        Its squares never exceed those of the fit without an offset.
    """
    heights, exponent = _straight_line(data)
    offset = 0.0
    if with_offset:
        heights, exponent, offset = _with_offset(data, heights, exponent)
    fitted = _log_curve(data.u, heights[data.height_of], exponent, offset)
    residuals = data.root_weight * (data.v - fitted)
    jacobian = _derivatives(data.u, heights[data.height_of], exponent, offset)
    jacobian = jacobian[:, : 3 if with_offset else 2] * data.root_weight[:, None]
    between = 0.0
    if data.group is None:
        scores = _independent_scores(jacobian, residuals, cov_type)
        df = np.full(jacobian.shape[1], float(len(residuals) - jacobian.shape[1]))
    elif not data.own_height:
        scores, _, _ = cluster_scores(jacobian, residuals, data.group)
        # The degrees of freedom are those of log c at x = 1, which is reported.
        at_one = jacobian.copy()
        at_one[:, 1] -= data.center * jacobian[:, 0]
        _, df, _ = cluster_scores(at_one, residuals, data.group)
    else:
        height, slopes = jacobian[:, 0], jacobian[:, 1:]
        left, explained = _less_heights(data, height, slopes)
        scores, df, _ = cluster_scores(left, residuals, data.group)
        n_groups = data.n_heights
        between = float(heights.var(ddof=1))
        # What each group moves the mean height by: its own height, and through the
        # exponent (and offset) the heights of all.
        own = (heights - heights.mean()) / np.sqrt(n_groups * (n_groups - 1))
        scores = np.column_stack([own - scores @ explained.mean(axis=0), scores])
        df = np.concatenate([[n_groups - 1.0], df])
        jacobian = np.column_stack([np.zeros(len(left)), left])
    return Curve(heights, exponent, offset, residuals, jacobian, scores, df, between)


def _straight_line(data: Data) -> tuple[np.ndarray, float]:
    """Return the heights and the exponent of the power law without an offset."""
    ones = data.root_weight
    columns = np.column_stack([-data.u, data.v]) * ones[:, None]
    left, _ = _less_heights(data, ones, columns)
    exponent = float(left[:, 0] @ left[:, 1] / (left[:, 0] @ left[:, 0]))
    total = np.bincount(data.height_of, ones**2 * (data.v + exponent * data.u))
    return total / np.bincount(data.height_of, ones**2), exponent


def _with_offset(
    data: Data, heights: np.ndarray, exponent: float
) -> tuple[np.ndarray, float, float]:
    """Return the optimum, which is the given one where no offset is better."""
    which, k = data.height_of, len(heights)
    rows = np.arange(len(data.u))

    # The offset is the square of what is varied: never negative, and with no bound
    # for the optimiser to stumble over.
    def unpack(theta: np.ndarray) -> tuple[np.ndarray, float, float]:
        return theta[2:], float(theta[0]), float(theta[1] ** 2)

    def residuals(theta: np.ndarray) -> np.ndarray:
        h, g, q = unpack(theta)
        return data.root_weight * (data.v - _log_curve(data.u, h[which], g, q))

    def jacobian(theta: np.ndarray) -> np.ndarray:
        h, g, q = unpack(theta)
        parts = _derivatives(data.u, h[which], g, q) * -data.root_weight[:, None]
        full = np.zeros((len(rows), 2 + k))
        full[:, 0] = parts[:, 1]
        full[:, 1] = parts[:, 2] * 2 * theta[1]
        full[rows, 2 + which] = parts[:, 0]
        return full

    at_zero = np.concatenate([[exponent, 0.0], heights])
    best, lowest = at_zero, float(np.sum(residuals(at_zero) ** 2))
    places = np.unique(data.u)
    steepest = np.log(_STEEPEST) / (places[[1, -1]] - places[[0, -2]])
    for share in _STARTS:
        # An error of log y is magnified by y / (y - q) in log(y - q).
        kept = 1 - share * np.exp(-data.v)
        weight = data.root_weight * kept
        start = replace(data, v=data.v + np.log(kept), root_weight=weight)
        first_heights, first = _straight_line(start)
        theta = np.concatenate([[first, np.sqrt(share)], first_heights])
        # Steps far beyond the optimum overflow, and are taken back.
        found = optimize.least_squares(
            residuals, theta, jacobian, method="lm", xtol=1e-14, ftol=1e-14
        )
        if not -steepest[1] <= found.x[0] <= steepest[0]:
            continue
        if 2 * found.cost < lowest * (1 - _LOWER) - len(rows) * _ROUNDING**2:
            best, lowest = found.x, 2 * found.cost
    return unpack(best)


def _log_curve(
    u: np.ndarray, height: Any, exponent: float, offset: float
) -> np.ndarray:
    line = height - exponent * u
    return np.logaddexp(line, np.log(offset)) if offset > 0 else line


def _derivatives(
    u: np.ndarray, height: Any, exponent: float, offset: float
) -> np.ndarray:
    """Return the derivatives of log y by height, exponent and offset."""
    log_y = _log_curve(u, height, exponent, offset)
    share = np.exp(height - exponent * u - log_y)  # of y that is no offset
    return np.column_stack([share, -u * share, np.exp(-log_y)])


def _less_heights(
    data: Data, height: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the heights do not explain of columns, and what they do.

    Parameters
    ----------
    data : Data
        The points.
    height : array of shape (n,)
        Derivative by the height of each point's group.
    columns : array of shape (n, k)
        Other derivatives.

    Returns
    -------
    left : array of shape (n, k)
    explained : array of shape (n_heights, k)
        How far each height moves when another number moves and the fit follows.
    """
    which = data.height_of
    square = np.bincount(which, height**2)
    square = np.where(square > 0, square, 1.0)
    explained = np.column_stack(
        [np.bincount(which, height * column) / square for column in columns.T]
    )
    return columns - height[:, None] * explained[which], explained


def _independent_scores(
    jacobian: np.ndarray, residuals: np.ndarray, cov_type: str
) -> np.ndarray:
    """Return scores whose squares sum to statsmodels' covariance of that name."""
    n, k = jacobian.shape
    length = np.sqrt(np.sum(jacobian**2, axis=0))
    length = np.where(length > 0, length, 1.0)
    unit = jacobian / length
    influence = np.linalg.pinv(unit).T
    if cov_type == "nonrobust":
        size = np.sqrt(residuals @ residuals / (n - k))
    elif cov_type == "HC1":
        size = residuals * np.sqrt(n / (n - k))
    else:
        leverage = np.sum(unit * influence, axis=1)
        # A point that alone decides a number has no residual.
        size = residuals / np.maximum(1 - leverage, 1e-9)
    return influence * np.reshape(size, (-1, 1)) / length


def identified(curve: Curve) -> bool:
    """Return whether no fitted number can be traded for the others."""
    columns = curve.jacobian[:, 1:] if len(curve.heights) > 1 else curve.jacobian
    length = np.sqrt(np.sum(columns**2, axis=0))
    if not np.all(length > 0) or not np.all(np.isfinite(curve.df)):
        return False
    values = np.linalg.eigvalsh((columns / length).T @ (columns / length))
    return bool(values[0] > _COLLINEAR)


def curvature(data: Data, curve: Curve) -> tuple[float, float]:
    """Return the t statistic, and its df, of a bend that the curve lacks.

    The square of log x is added to the regression at the optimum; the statistic is
    positive where the points curve upwards around the curve.
    """
    jacobian = curve.jacobian
    if curve.offset == 0:
        jacobian = jacobian[:, :2]
    bend = data.root_weight * data.u**2
    if data.own_height:
        height = _derivatives(
            data.u, curve.heights[data.height_of], curve.exponent, curve.offset
        )[:, 0]
        left, _ = _less_heights(data, height * data.root_weight, bend[:, None])
        bend, jacobian = left[:, 0], jacobian[:, 1:]
    full_length = bend @ bend
    bend = bend - jacobian @ np.linalg.lstsq(jacobian, bend, rcond=None)[0]
    df = float(len(bend) - jacobian.shape[1] - 1)
    if data.own_height:
        df -= data.n_heights
    if df < 1 or not bend @ bend > _COLLINEAR * full_length:
        return np.nan, np.nan
    weight = bend @ curve.residuals / (bend @ bend)
    residuals = curve.residuals - weight * bend
    if curve.squares <= len(bend) * _ROUNDING**2:
        return 0.0, df
    std_err = np.sqrt(residuals @ residuals / df / (bend @ bend))
    if data.group is not None:
        columns = np.column_stack([jacobian, bend])
        scores, dfs, _ = cluster_scores(columns, residuals, data.group)
        std_err, df = np.sqrt(scores[:, -1] @ scores[:, -1]), float(dfs[-1])
    return float(weight / std_err), df


def serial_correlation(
    data: Data, residuals: np.ndarray, n_fitted: int
) -> tuple[float, int]:
    """Return the correlation of neighbouring residuals, and the number of places.

    A smooth departure from the curve, or noise that neighbours share, leaves residuals
    that follow one another. Of points at one x the mean counts.

    Parameters
    ----------
    data : Data
        The points.
    residuals : array of shape (n,)
        As in :class:`Curve`.
    n_fitted : int
        How many numbers were fitted.

    Returns
    -------
    correlation : float
        Corrected for the bias that the fit brings; 0 where chance explains it.
    n_places : int
        Number of different x.
    """
    _, place = np.unique(data.u, return_inverse=True)
    weight = np.bincount(place, data.root_weight**2)
    mean = np.bincount(place, data.root_weight * residuals) / weight
    n, k = len(mean), n_fitted
    if not mean @ mean > n * _ROUNDING**2:
        return 0.0, n
    found = float(mean[:-1] @ mean[1:] / (mean @ mean))
    # Kendall's bias, (1 + 3 r)/n for a mean, with k numbers fitted in place of one.
    if (found + k / n) * np.sqrt(n) < stats.norm.ppf(0.95):
        return 0.0, n
    return min(found + (k + (k + 2) * found) / n, 0.98), n
