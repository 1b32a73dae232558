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
from operator import itemgetter

import numpy as np

from .curves import Curves
from .fitted import FittedLaws
from .inference import Estimate, Line
from .offset import fit_offset
from .tables import EXPONENTS

__all__ = ["fit_less_offset"]

Fit = Callable[..., FittedLaws]
"""Fits curves; takes ``learned`` and ``use_crossover``."""


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
    moves = _derivatives(curves, offset, laws, fit)
    laws = replace(laws, offset=offset.estimate, offset_test=offset, moves=moves)
    exponents = {name: laws.widened(laws.exponents[name], name) for name in EXPONENTS}
    return replace(
        laws,
        exponents=exponents,
        consistency=laws.widened(laws.consistency, "difference"),
        norm_law=_with_error_of(laws.norm_law, exponents["gamma1"]),
        optimum_law=_with_error_of(laws.optimum_law, exponents["gamma2"]),
        data_law=_with_error_of(laws.data_law, exponents["gamma_measured"]),
    )


def _derivatives(
    curves: Curves, offset: Estimate, laws: FittedLaws, fit: Fit
) -> dict[str, float]:
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
                learned=laws.window if laws.inside.any() else None,
                use_crossover=laws.crossover is not None,
            )
        # Numbers of another kind tell nothing of how these move.
        if _kind(moved) == _kind(laws):
            points.append((change, _numbers(moved)))
    points.sort(key=itemgetter(0))
    (first, low), (last, high) = points[0], points[-1]
    width = last - first if last > first else np.nan
    return {name: (high[name] - low[name]) / width for name in low}


def _kind(laws: FittedLaws) -> tuple[str, bool]:
    return laws.landmarks.kind, laws.crossover is None


def _numbers(laws: FittedLaws) -> dict[str, float]:
    """Return what moves with the offset, by name."""
    line = laws.forecast_law
    return {
        **{name: laws.exponents[name].estimate for name in EXPONENTS},
        "difference": laws.consistency.estimate,
        "forecast_intercept": np.nan if line is None else line.intercept,
        "forecast_exponent": np.nan if line is None else line.exponent,
    }


def _with_error_of(line: Line | None, estimate: Estimate) -> Line | None:
    if line is None:
        return None
    return replace(line, std_err=estimate.std_err, df=estimate.df)
