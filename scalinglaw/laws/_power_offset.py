"""What an offset, found or looked for in vain, does to the errors of a power law."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from ._estimates import Estimate
from ._power_curve import Curve, identified
from ._power_data import Data

__all__ = [
    "estimates",
    "in_units",
    "joined",
    "offset_moves",
    "seen",
    "why_no_interval",
]

NAMES = ("log_scale", "exponent", "offset")
# "auto" takes an offset whose one-sided p-value is below this.
_SEEN = 0.05
# y must differ from a constant with this p-value for an exponent beside an offset.
_CHANGES, _CHANGES_BY_GROUP = 0.01, 0.05


def in_units(curve: Curve, data: Data) -> dict[str, Estimate]:
    """Return the parameters of a fit at x = 1 and in the unit of y, by name.

    Parameters
    ----------
    curve : Curve
        The fit, on centred axes.
    data : Data
        Its points.

    Returns
    -------
    dict of str to Estimate
        The offset is among them where it was free.
    """
    change = _to_x_of_one(curve, data)
    values = (
        change @ np.array([curve.height, curve.exponent, curve.offset])[: len(change)]
    )
    values[0] += data.unit
    errors = np.sqrt(np.sum((curve.scores @ change.T) ** 2, axis=0))
    # Last, since the square of a tiny unit is zero.
    values[2:] *= np.exp(data.unit)
    errors[2:] *= np.exp(data.unit)
    return {
        name: Estimate(float(value), float(error), float(df))
        for name, value, error, df in zip(NAMES, values, errors, curve.df, strict=False)
    }


def _to_x_of_one(curve: Curve, data: Data) -> np.ndarray:
    """Return what turns the numbers at the mean of log x into those at x = 1."""
    change = np.eye(len(curve.df))
    change[0, 1] = data.center
    return change


def offset_moves(full: Curve, data: Data) -> dict[str, float]:
    """Return the covariance of the offset with the other numbers, by name."""
    change = _to_x_of_one(full, data)
    moves = (change @ full.covariance @ change.T)[2]
    return {name: float(move) for name, move in zip(NAMES[:2], moves, strict=False)}


def joined(
    plain: tuple[Any, Any], full: tuple[Any, Any], moves: Any
) -> tuple[Any, Any]:
    """Return the interval of a number where an offset was looked for and not found.

    Parameters
    ----------
    plain, full : tuple of float or array
        Ends of the intervals without an offset and with one.
    moves : float or array
        Positive where an offset moves the number up, negative where down.

    Returns
    -------
    low, high : float or array
        One end from each.
    """
    up = np.asarray(moves) >= 0
    low = np.where(up, plain[0], np.minimum(plain[0], full[0]))
    return low, np.where(up, np.maximum(plain[1], full[1]), plain[1])


def estimates(curve: Curve, full: Curve | None, data: Data) -> dict[str, Estimate]:
    """Return the parameters as they are reported, by name.

    Parameters
    ----------
    curve : Curve
        The fit that is reported.
    full : Curve or None
        The fit with an offset; None where none was looked for.
    data : Data
        Their points.

    Returns
    -------
    dict of str to Estimate
        Where an offset was looked for and not found, the squared error is the mean
        squared error about the estimate without it: that of the fit with an offset,
        and the squared distance between the two.
    """
    if full is None or curve is full:
        return in_units(curve, data)
    plain = {**in_units(curve, data), "offset": Estimate(0.0, 0.0, np.inf)}
    wide = in_units(full, data)
    return {
        name: Estimate(
            at.estimate,
            float(np.hypot(wide[name].std_err, wide[name].estimate - at.estimate)),
            wide[name].df,
        )
        for name, at in plain.items()
    }


def seen(plain: Curve, full: Curve, data: Data) -> bool:
    """Return whether the points support an offset, by a one-sided test at 5 %."""
    if data.group is not None:
        std_err = float(np.sqrt(full.covariance[2, 2]))
        offset = Estimate(full.offset, std_err, float(full.df[2]))
        return offset.p_value / 2 < _SEEN
    if full.squares == 0:
        return True
    # One-sided, since an offset is never negative.
    statistic = (plain.squares - full.squares) / full.squares * full.df[2]
    return float(stats.f.sf(statistic, 1, full.df[2])) / 2 < _SEEN


def why_no_interval(plain: Curve, full: Curve | None, data: Data) -> str:
    """Return why the exponent has no error, or an empty string.

    Parameters
    ----------
    plain : Curve
        The fit without an offset.
    full : Curve or None
        The fit with an offset; None where none was looked for.
    data : Data
        Their points.

    Returns
    -------
    str
        A sentence with a way out.
    """
    if not np.all(np.isfinite(plain.df)):
        return (
            "one group alone decides the exponent, so that there is no interval: use "
            "smaller groups, or x that differs within each."
        )
    if full is None:
        return ""
    if data.group is None:
        df, left = full.df[0], full.squares
        y = data.root_weight * data.v
        total = y @ y - (data.root_weight @ y) ** 2 / len(y)
        statistic = (total - left) / 2 / (left / df) if left > 0 else np.inf
        changes = stats.f.sf(statistic, 2, df) < _CHANGES
    else:
        std_err = float(np.sqrt(plain.covariance[1, 1]))
        slope = Estimate(plain.exponent, std_err, float(plain.df[1]))
        changes = slope.p_value < _CHANGES_BY_GROUP
    if not changes:
        return (
            "y does not change with x by more than its scatter, so that beside an "
            "offset any exponent would do, and there is no interval. offset=False "
            "gives the slope on log axes."
        )
    if not identified(full):
        return (
            "the exponent and the offset cannot be told apart: there is no interval. "
            "Add points at smaller or larger x, or use offset=False."
        )
    return ""
