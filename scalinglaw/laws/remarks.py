"""What a reader of a fit must know: a warning and a sentence each."""

from __future__ import annotations

import warnings

import numpy as np

from .._validation import plural
from ..exceptions import CensoredOptimumWarning, UnresolvedExponentWarning
from .crossover import Crossover
from .curves import Curves
from .inference import Estimate
from .landmark import Landmarks, average_minima
from .size_laws import MIN_SIZES
from .window import Window

__all__ = [
    "remark_on_offset",
    "remark_on_optima",
    "remark_on_slope",
    "remark_on_transient",
    "warn_of_support",
]


def remark_on_slope(crossover: Crossover | None, window: Window | None) -> str:
    """Warn that gamma1 is not the exponent of a power law."""
    if crossover is None:
        why = "knees need at least 3 train sizes"
    elif crossover.reasons:
        why = ", ".join(crossover.reasons)
    else:
        why = "the crossover fit and the straight line disagree"
    if window is None:
        text = f"gamma1 has no number: no window has enough checkpoints, and {why}."
    else:
        text = f"gamma1 is an effective maximum slope, not a resolved exponent: {why}."
    warnings.warn(text, UnresolvedExponentWarning, stacklevel=5)
    return text


def remark_on_transient(start: float) -> str:
    """Say which checkpoints the norm law was not looked for in."""
    return (
        f"the norm law was looked for beyond a log norm of {start:.4g}: before it the "
        "error falls at another slope, which a later beginning contradicts."
    )


def remark_on_offset(evidence: Estimate) -> str:
    """Warn of an error that no norm removes."""
    text = (
        "the error levels off within the window, as an error that no norm removes "
        f"would make it (F = {evidence.statistic**2:.1f}): gamma1 may be too small. "
        "Fit with offset=True and compare."
    )
    warnings.warn(text, UnresolvedExponentWarning, stacklevel=5)
    return text


def remark_on_optima(
    curves: Curves, optima: Landmarks, landmarks: Landmarks
) -> tuple[str, ...]:
    """Warn of optima that training did not reach."""
    censored = average_minima(curves, optima).censored
    if landmarks.kind == "minimum":
        # An optimum known from elsewhere is not censored, whatever the curve does.
        censored = landmarks.censored
    remarks: tuple[str, ...] = ()
    if censored.any():
        sizes = ", ".join(map(str, curves.train_sizes[censored]))
        text = (
            f"the lowest test error is at the last checkpoint for {censored.sum()} of "
            f"{plural(curves.n_sizes, 'train size')} ({sizes}); train longer"
        )
        text += "." if landmarks.kind == "knee" else ', or use landmark="knee".'
        warnings.warn(text, CensoredOptimumWarning, stacklevel=5)
        remarks += (text,)
    if not optima.reached.all():
        text = (
            f"{plural(int((~optima.reached).sum()), 'run')} ended long before the "
            "optimum of the other runs of their train size: left out of the optima."
        )
        warnings.warn(text, CensoredOptimumWarning, stacklevel=5)
        remarks += (text,)
    if landmarks.kind == "knee" and landmarks.censored.any():
        sizes = ", ".join(map(str, curves.train_sizes[landmarks.censored]))
        text = f"training stopped before the knee of train size {sizes}: left out."
        warnings.warn(text, CensoredOptimumWarning, stacklevel=5)
        remarks += (text,)
    return remarks


def warn_of_support(landmarks: Landmarks, usable: np.ndarray) -> None:
    """Warn where the laws of the train size have no number, or no interval."""
    n_usable = int(usable.sum())
    if n_usable >= MIN_SIZES:
        return
    if usable.size == 1:
        text = (
            "gamma2 and gamma_measured have no number: the table has one train size, "
            f"and at least {MIN_SIZES} are needed for their intervals."
        )
    elif n_usable >= 2:
        text = (
            f"gamma2 and gamma_measured have no interval: {n_usable} train "
            f"sizes are too few, at least {MIN_SIZES} are needed."
        )
    else:
        text = (
            "gamma2 and gamma_measured have no number: training stopped before the "
            f"optimum in {landmarks.censored.sum()} of "
            f"{plural(usable.size, 'train size')}, too many to fit a law to the rest. "
            'Train longer, or use landmark="knee".'
        )
    warnings.warn(text, UnresolvedExponentWarning, stacklevel=5)
