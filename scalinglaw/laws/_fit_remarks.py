"""What a reader must know of a fit: what gamma1 is, which optima were not reached."""

from __future__ import annotations

import numpy as np

from .._validation import plural
from ._beginning import Beginning
from ._crossover import Crossover
from ._curves import Curves
from ._landmarks import Landmarks
from ._offset import Offset
from ._reach import Reach
from ._remarks import Remark, of_exponents, of_optima
from ._size_laws import MIN_SIZES
from ._window import Window

__all__ = ["remarks_on_optima", "remarks_on_slope"]

# Training is not told to go on for more than so many times as long.
_MOST_LONGER = 1e4


def remarks_on_slope(
    reasons: tuple[str, ...],
    window: Window | None,
    beginning: Beginning,
    offset: Offset,
) -> list[Remark]:
    """Say what gamma1 is, where it was looked for, and less what."""
    remarks = []
    if reasons and window is None:
        text = "gamma1 has no number: no window has enough checkpoints, and "
        remarks.append(of_exponents(text + f"{', '.join(reasons)}."))
    elif reasons:
        text = "gamma1 is an effective maximum slope, not a resolved exponent: "
        remarks.append(of_exponents(text + f"{', '.join(reasons)}."))
    if np.isfinite(beginning.start):
        remarks.append(
            Remark(
                "the norm law was looked for beyond a log norm of "
                f"{beginning.start:.4g}: before it the error falls at another slope, "
                "which a later beginning contradicts."
            )
        )
    if offset.value > 0:
        remarks.append(
            Remark(
                f"an offset of {offset.value:.3g} +- {offset.std_err:.1g} is taken off "
                "the errors; its error is in every interval."
            )
        )
    return remarks


def remarks_on_optima(
    curves: Curves,
    optima: Landmarks,
    minima: Landmarks,
    landmarks: Landmarks,
    reach: Reach,
    crossover: Crossover | None,
) -> list[Remark]:
    """Say which optima training did not reach, and how long it would take."""
    remarks = []
    censored = minima.censored
    if censored.any():
        text = (
            "the lowest error is at the last checkpoint and still falls there for "
            f"{censored.sum()} of {plural(curves.n_sizes, 'train size')}: "
            f"{_to_train_on(curves, minima, landmarks, crossover, censored)}."
        )
        if reach.is_reached:
            text += (
                " gamma_measured is the exponent of the error reached, and not of "
                "the lowest one."
            )
        remarks.append(of_optima(text))
    if not optima.reached.all():
        remarks.append(
            of_optima(
                f"{plural(int((~optima.reached).sum()), 'run')} ended long before the "
                "optimum of the other runs of their train size: left out of the optima."
            )
        )
    if landmarks.kind == "knee" and landmarks.censored.any():
        sizes = ", ".join(map(str, curves.train_sizes[landmarks.censored]))
        remarks.append(
            of_optima(
                f"training stopped before the knee of train size {sizes}: left out."
            )
        )
    n_placed, n_seen = int(reach.placed.sum()), int(reach.seen.sum())
    if n_placed >= MIN_SIZES and n_seen >= MIN_SIZES:
        return remarks
    if curves.n_sizes == 1:
        text = (
            "gamma2 and gamma_measured have no number: the table has one train size, "
            f"and at least {MIN_SIZES} are needed for their intervals."
        )
    elif n_placed >= 2:
        text = (
            f"gamma2 and gamma_measured have no interval: {min(n_placed, n_seen)} "
            f"train sizes are too few, at least {MIN_SIZES} are needed."
        )
    else:
        text = (
            "gamma2 has no number: training stopped before the optimum, or the error "
            f"is level at its end, in {int((~landmarks.placed).sum())} of "
            f"{plural(curves.n_sizes, 'train size')}, too many to fit a law to the "
            "rest. Train longer."
        )
    remarks.append(of_exponents(text))
    return remarks


def _to_train_on(
    curves: Curves,
    minima: Landmarks,
    landmarks: Landmarks,
    crossover: Crossover | None,
    censored: np.ndarray,
) -> str:
    """Return how many epochs each censored train size would take, where it is known."""
    beyond = minima.placed
    distance = np.nan
    if crossover is not None and beyond.any():
        distance = float(np.median((minima.x - crossover.knee)[beyond]))
    bounds = curves.bounds()
    texts = []
    for size in np.flatnonzero(censored):
        run = curves.runs_of(int(size))[-1]
        rows = slice(bounds[run], bounds[run + 1])
        x, epoch = curves.x[rows][-8:], np.log1p(curves.epoch[rows][-8:])
        rate = (
            np.polyfit(epoch - epoch.mean(), x, 1)[0] if np.ptp(epoch) > 0 else np.nan
        )
        goal = np.nan if crossover is None else crossover.knee[size] + distance
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            longer = np.exp((goal - x[-1]) / rate)
        text = f"{curves.train_sizes[size]}"
        if rate > 0 and 1 < longer < _MOST_LONGER:
            epochs = float(f"{curves.last_epoch[run] * longer:.2g}")
            text += f" (train to about {epochs:,.0f} epochs)"
        else:
            text += " (train longer)"
        texts.append(text)
    return ", ".join(texts)
