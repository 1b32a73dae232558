"""Soft hinges: flat before zero, of slope one beyond it, and smooth between."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import special

__all__ = ["HINGES", "Hinge"]

Hinge = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Returns the value and the slope of a soft hinge."""

# The width of the third, which gives it the curvature of the other two at zero.
_WIDTH = 4.0 / np.sqrt(2 * np.pi)


def _softplus(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.logaddexp(0.0, u), special.expit(u)


def _sqrt(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    root = np.hypot(u, 2.0)
    return 0.5 * (u + root), 0.5 * (1.0 + u / root)


def _erf(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    v = u / _WIDTH
    slope = special.ndtr(v)
    density = np.exp(-0.5 * np.minimum(np.abs(v), 40.0) ** 2) / np.sqrt(2 * np.pi)
    return _WIDTH * (v * slope + density), slope


HINGES: dict[str, Hinge] = {"softplus": _softplus, "sqrt": _sqrt, "erf": _erf}
"""Hinges by name."""
