"""Quadrature, Newton steps and roots of many problems at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["GAUSS_BREAKS", "find_roots", "panels", "scalar", "solve_two"]

# Breakpoints in units of a Gaussian's own scale; beyond nine there is nothing.
_HALF = np.array([0.25, 0.6, 1.0, 1.6, 2.3, 3.0, 4.0, 5.0, 6.5, 9.0])
GAUSS_BREAKS = np.concatenate([-_HALF[::-1], [0.0], _HALF])


def scalar(values: np.ndarray) -> Any:
    """Return a float for an array without dimensions, else the array."""
    return float(values) if np.ndim(values) == 0 else values


def panels(edges: np.ndarray, n_nodes: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Return Gauss-Legendre nodes and weights between sorted edges, by row.

    Parameters
    ----------
    edges : array of shape (n_rows, n_edges)
        In increasing order along each row; equal ones cost time only.
    n_nodes : int
        Nodes of each panel.

    Returns
    -------
    nodes, weights : arrays of shape (n_rows, (n_edges - 1) * n_nodes)
        Of the integral from the first to the last edge.
    """
    unit_nodes, unit_weights = np.polynomial.legendre.leggauss(n_nodes)
    half = 0.5 * np.diff(edges, axis=1)
    used = half.any(axis=0)
    half, middle = half[:, used], (edges[:, :-1] + half)[:, used]
    nodes = middle[:, :, None] + half[:, :, None] * unit_nodes
    weights = half[:, :, None] * unit_weights
    shape = (len(edges), middle.shape[1] * n_nodes)
    return nodes.reshape(shape), weights.reshape(shape)


def solve_two(jacobian: np.ndarray, r1: np.ndarray, r2: np.ndarray) -> np.ndarray:
    """Return the Newton steps of many systems of two equations, at most 1 long.

    Parameters
    ----------
    jacobian : array of shape (2, 2, n)
        Derivatives of the residuals.
    r1, r2 : arrays of shape (n,)
        Residuals.

    Returns
    -------
    array of shape (2, n)
        What to subtract from the unknowns.
    """
    (a, b), (c, d) = jacobian
    determinant = a * d - b * c
    step = np.array([(d * r1 - b * r2) / determinant, (a * r2 - c * r1) / determinant])
    return np.clip(np.nan_to_num(step), -1.0, 1.0)


def find_roots(
    function: Callable[[np.ndarray], np.ndarray],
    low: np.ndarray,
    high: np.ndarray,
    *,
    tolerance: float = 1e-13,
) -> np.ndarray:
    """Return a root of each of many functions, bracketed, by Chandrupatla's method.

    Parameters
    ----------
    function : callable
        Takes and returns an array, entry by entry.
    low, high : arrays of shape (n,)
        Between these the function changes its sign.
    tolerance : float
        Of the roots, relative where they exceed 1.

    Returns
    -------
    array of shape (n,)
        The roots.

    Raises
    ------
    RuntimeError
        If a bracket does not hold a change of sign.

    References
    ----------
    T. R. Chandrupatla, Advances in Engineering Software 28 (1997) 145-149.
    """
    a, b = high, low
    fa, fb = function(a), function(b)
    if not np.all(np.sign(fa) * np.sign(fb) <= 0):
        raise RuntimeError("a bracket holds no root.")
    share = np.full_like(low, 0.5)
    for _ in range(100):
        x = a + share * (b - a)
        fx = function(x)
        same = np.sign(fx) == np.sign(fa)
        c, fc = np.where(same, a, b), np.where(same, fa, fb)
        b, fb = np.where(same, b, a), np.where(same, fb, fa)
        a, fa = x, fx
        width = np.abs(b - a)
        slack = 0.5 * tolerance * (1 + np.abs(x))
        if np.all((width < 2 * slack) | (fx == 0)):
            break
        # Inverse quadratic interpolation where three points allow it, else halves.
        with np.errstate(divide="ignore", invalid="ignore"):
            xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
            guess = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (
                fc - fa
            ) * fb / (fc - fb)
            least = np.minimum(slack / width, 0.5)
        fits = (1 - np.sqrt(np.clip(1 - xi, 0, 1)) < phi) & (
            phi < np.sqrt(np.clip(xi, 0, 1))
        )
        share = np.where(fits & np.isfinite(guess), guess, 0.5)
        share = np.where(np.isfinite(least), np.clip(share, least, 1 - least), 0.5)
    return np.where(np.abs(fa) < np.abs(fb), a, b)
