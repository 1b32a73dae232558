"""The points of a power law: checked, and centred on logarithmic axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .._validation import check_positive, check_same_length

__all__ = ["Data", "prepare"]


@dataclass(frozen=True)
class Data:
    """Points on centred logarithmic axes.

    Parameters
    ----------
    u, v : array of shape (n,)
        log x less its mean, and log y less its minimum.
    root_weight : array of shape (n,)
        Square roots of the weights, whose mean is 1.
    group : array of int of shape (n,), or None
        Group of each point.
    own_height : bool
        Whether each group has a height of its own.
    center, unit : float
        What was taken off log x and log y.
    """

    u: np.ndarray
    v: np.ndarray
    root_weight: np.ndarray
    group: np.ndarray | None
    own_height: bool
    center: float
    unit: float

    @property
    def height_of(self) -> np.ndarray:
        """Which height each point has."""
        if self.own_height and self.group is not None:
            return self.group
        return np.zeros(len(self.u), dtype=int)

    @property
    def n_heights(self) -> int:
        """Number of heights."""
        return int(self.height_of.max()) + 1


def prepare(
    x: Any, y: Any, groups: Any, sample_weight: Any, with_offset: bool
) -> tuple[Data, pd.Index]:
    """Return the checked points on centred log axes, and the names of the heights.

    Parameters
    ----------
    x, y, groups, sample_weight : array-like of shape (n,)
        As in :meth:`PowerLawFit.fit`.
    with_offset : bool
        Whether an offset is to be fitted, which needs a point more.

    Returns
    -------
    data : Data
        Points of weight 0 are left out.
    names : Index
        Groups that have a height of their own, or ``"all"``.
    """
    x, y = check_positive(x, "x"), check_positive(y, "y")
    check_same_length(x=x, y=y)
    weight = _check_weights(sample_weight, x)
    codes, names = _check_groups(groups, x)
    kept = weight > 0
    x, y, weight = x[kept], y[kept], weight[kept]
    needed = 4 if with_offset else 3
    if len(np.unique(x)) < needed:
        beside = " with an offset" if with_offset else ""
        raise ValueError(
            f"x must hold at least {needed} different values{beside}, got "
            f"{len(np.unique(x))}: a power law through fewer has no error."
        )
    own_height = False
    if codes is not None:
        codes, left = np.unique(codes[kept], return_inverse=True)[::-1]
        names = names[left]
        spread = pd.Series(x).groupby(codes).agg(["min", "max"])
        own_height = bool((spread["min"] < spread["max"]).sum() > 1)
    if codes is not None and len(names) < 2:
        raise ValueError(
            "groups must hold at least two groups, got one: leave it out for "
            "independent points."
        )
    log_x, log_y = np.log(x), np.log(y)
    data = Data(
        log_x - log_x.mean(),
        log_y - log_y.min(),
        np.sqrt(weight / weight.mean()),
        codes,
        own_height,
        float(log_x.mean()),
        float(log_y.min()),
    )
    n_fitted = data.n_heights + needed - 2
    if len(x) <= n_fitted:
        raise ValueError(
            f"{len(x)} points in {data.n_heights} groups leave no residual beside "
            f"{n_fitted} fitted numbers: use fewer groups, or more points in each."
        )
    return data, names if own_height else pd.Index(["all"])


def _check_weights(sample_weight: Any, x: np.ndarray) -> np.ndarray:
    if sample_weight is None:
        return np.ones(len(x))
    weight = np.asarray(sample_weight, dtype=float)
    if weight.ndim != 1:
        raise ValueError(
            f"sample_weight must be one-dimensional, got shape {weight.shape}."
        )
    check_same_length(x=x, sample_weight=weight)
    bad = ~(np.isfinite(weight) & (weight >= 0))
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(
            "sample_weight must be finite and not negative, got "
            f"sample_weight[{first}]={weight[first]:g}. Weights are inverse variances "
            "of log y."
        )
    return weight


def _check_groups(groups: Any, x: np.ndarray) -> tuple[np.ndarray | None, pd.Index]:
    if groups is None:
        return None, pd.Index([])
    check_same_length(x=x, groups=groups)
    codes, names = pd.factorize(np.asarray(groups))
    if (codes < 0).any():
        raise ValueError(
            "groups must name the group of every point, got a missing one."
        )
    return codes, pd.Index(names)
