"""All laws of curves less an offset, whose error is in every interval.

At a given offset the laws are fitted as without one. How each number moves with the
offset is found by fitting them again at one standard error less and more; what it owes
to the error of the offset is added to its variance. Own error and that of the offset
are taken for independent: least squares leaves a slope at a given bend, and the bend,
uncorrelated.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .curves import Curves
from .fitted import FittedLaws
from .inference import Estimate, Line
from .offset import fit_offset
from .tables import EXPONENTS

__all__ = ["fit_less_offset"]

Fit = Callable[..., FittedLaws]
"""Fits curves; takes ``landmark``, ``learned`` and ``use_crossover``."""


def fit_less_offset(curves: Curves, fit: Fit) -> FittedLaws:
    """Fit an offset, take it off, and fit all laws to what is left.

    Parameters
    ----------
    curves : Curves
        All runs.
    fit : callable
        Fits the laws to curves.

    Returns
    -------
    FittedLaws
        With wider intervals than at a known offset.
    """
    offset = fit_offset(curves)
    laws = fit(curves.less(offset.estimate))
    move = _derivative(curves, offset, laws, fit)
    *of_exponents, of_difference, of_intercept, of_exponent = move.tolist()

    def widened(estimate: Estimate, derivative: float) -> Estimate:
        return estimate.widened((derivative * offset.std_err) ** 2, offset.df)

    exponents = {
        name: widened(laws.exponents[name], derivative)
        for name, derivative in zip(EXPONENTS, of_exponents, strict=True)
    }
    return replace(
        laws,
        exponents=exponents,
        consistency=widened(laws.consistency, of_difference),
        norm_law=_with_error_of(laws.norm_law, exponents["gamma1"]),
        optimum_law=_with_error_of(laws.optimum_law, exponents["gamma2"]),
        data_law=_with_error_of(laws.data_law, exponents["gamma_measured"]),
        offset=offset.estimate,
        offset_test=offset,
        forecast_move=(of_intercept, of_exponent),
    )


def _derivative(
    curves: Curves, offset: Estimate, laws: FittedLaws, fit: Fit
) -> np.ndarray:
    """Return how the numbers of the laws move with the offset."""
    lowest = float(np.exp(curves.y.min()))
    step = np.fmin(offset.std_err, (lowest - offset.estimate) / 2)
    points = [(0.0, _numbers(laws))]
    for change in (-step, step):
        with warnings.catch_warnings():
            # The fit at the offset itself has said all there is to say.
            warnings.simplefilter("ignore")
            moved = fit(
                curves.less(offset.estimate + change),
                landmark=laws.landmarks.kind,
                learned=laws.window if laws.inside.any() else None,
                use_crossover=laws.crossover is not None,
            )
        # Numbers of another kind tell nothing of how these move.
        if (moved.crossover is None) == (laws.crossover is None):
            points.append((change, _numbers(moved)))
    (first, low), (last, high) = min(points, key=_at), max(points, key=_at)
    if first == last:
        return np.full_like(low, np.nan)
    return (high - low) / (last - first)


def _at(point: tuple[float, np.ndarray]) -> float:
    return point[0]


def _numbers(laws: FittedLaws) -> np.ndarray:
    """Return exponents, their difference, and intercept and exponent of forecasts."""
    line = laws.forecast_law
    forecast = (np.nan, np.nan) if line is None else (line.intercept, line.exponent)
    exponents = [laws.exponents[name].estimate for name in EXPONENTS]
    return np.array([*exponents, laws.consistency.estimate, *forecast])


def _with_error_of(line: Line | None, estimate: Estimate) -> Line | None:
    if line is None:
        return None
    return replace(line, std_err=estimate.std_err, df=estimate.df)
