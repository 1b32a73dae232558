"""Axes of natural logarithms, whatever they reach."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

__all__ = ["LogAxis", "label_decades", "limit", "tick_train_sizes"]

# Above it, exp() of a natural logarithm leaves the range of a float64, and
# matplotlib's logarithmic axis with it.
_LARGEST_LOG = 650.0
# Free room beside the data, as a share of an axis.
_MARGIN = 0.05


@dataclass(frozen=True)
class LogAxis:
    """How natural logarithms go onto one axis.

    Parameters
    ----------
    scale : {"log", "linear"}
        Scale of matplotlib.
    label : str
        Label of the axis.
    factor : float
        What logarithms are multiplied by on a linear axis.
    """

    scale: str
    label: str
    factor: float

    @classmethod
    def fitting(cls, label: str, *logs: Any, is_log: bool = True) -> LogAxis:
        """Return a logarithmic axis, or one of exponents where a float overflows."""
        if not is_log:
            return cls("linear", label, 1.0)
        largest = max(
            (np.abs(values).max() for values in logs if len(values)), default=0
        )
        if largest < _LARGEST_LOG:
            return cls("log", label, 0.0)
        return cls("linear", rf"$\log_{{10}}$ of {label}", 1.0 / np.log(10.0))

    def __call__(self, logs: Any) -> np.ndarray:
        """Return what matplotlib is given."""
        values = np.asarray(logs, dtype=float)
        return np.exp(values) if self.scale == "log" else self.factor * values


def limit(unit: LogAxis, logs: Iterable[np.ndarray]) -> tuple[float, float] | None:
    """Return limits of an axis that show all values with a little room beside them."""
    values = np.concatenate([np.zeros(0), *(np.asarray(part, float) for part in logs)])
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = values.min(), values.max()
    room = _MARGIN * (high - low) or 0.1
    low, high = unit([low - room, high + room])
    return float(low), float(high)


def label_decades(axis: Any, logs: np.ndarray) -> None:
    """Put numbers between the powers of ten where those are too few."""
    span = np.ptp(logs)
    if span > 2 * np.log(10.0):
        return
    if span < np.log(2.5):
        axis.set_major_locator(MaxNLocator(6))
    elif span < np.log(6.0):
        axis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    else:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter("{x:,g}")
    axis.set_minor_formatter(NullFormatter())


def tick_train_sizes(axis: Any, sizes: np.ndarray, *, room: float) -> None:
    """Put ticks on train sizes, those that leave a share of the axis between them."""
    logs = np.log(sizes)
    apart = room * max(float(np.ptp(logs)), 1e-9)
    ticks = [sizes[0]]
    for size, log in zip(sizes[1:], logs[1:], strict=True):
        if log - np.log(ticks[-1]) >= apart:
            ticks.append(size)
    axis.set_minor_locator(NullLocator())
    axis.set_ticks(ticks)
    axis.set_ticklabels([f"{size:,}" for size in ticks])
