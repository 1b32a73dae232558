"""The method of the package: all runs at once, errors clustered, window found."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm

from .._validation import plural
from .crossover import Crossover
from .curves import Curves, demean
from .fitted import FittedLaws
from .forecast import fit_forecast
from .inference import Estimate, Line
from .landmark import (
    Landmarks,
    average_minima,
    knees,
    known_optima,
    smoothed_minima,
)
from .less_offset import fit_less_offset
from .offset import offset_evidence, seems_offset
from .remarks import (
    remark_on_offset,
    remark_on_optima,
    remark_on_slope,
    remark_on_transient,
    warn_of_support,
)
from .size_laws import fit_size_laws
from .slope import Slope, slope_with_errors
from .transient import find_beginning
from .window import (
    MeanCurves,
    Window,
    automatic_window,
    rows_inside,
    window_around,
    window_sensitivity,
)

__all__ = ["fit_pooled", "summarise_sensitivity"]

# More censored minima than this leave gamma2 without support.
_MAX_CENSORED = 1 / 3


def fit_pooled(
    curves: Curves,
    *,
    window: Any = "auto",
    landmark: str = "auto",
    offset: bool = False,
    known: np.ndarray | None = None,
    learned: Window | None = None,
    use_crossover: bool | None = None,
) -> FittedLaws:
    """Fit all laws to the runs, on the same train sizes throughout.

    Parameters
    ----------
    curves : Curves
        All runs.
    window : "auto" or (low, high)
        In units of the norm at the landmark.
    landmark : {"auto", "knee", "minimum"}
        What gamma2 is fitted to.
    offset : bool
        Whether an error that no norm removes is fitted and taken off.
    known : array of shape (n_sizes,), optional
        Log norms of optima known from elsewhere.
    learned : Window, optional
        Take this window instead of looking for one.
    use_crossover : bool, optional
        Whether gamma1 comes from the crossover fit; by default, where it
        resolves a power law and no window is given.

    Returns
    -------
    FittedLaws
        Exponents are NaN where the data do not support a number.

    Warns
    -----
    UnresolvedExponentWarning
        If no clean power law was found.
    CensoredOptimumWarning
        If the lowest error is at the last checkpoint.
    """
    fit = partial(
        _fit,
        window=window,
        landmark=landmark,
        known=known,
        learned=learned,
        use_crossover=use_crossover,
    )
    if offset:
        return fit_less_offset(curves, fit)
    laws = fit(curves)
    evidence = offset_evidence(curves, laws.inside, laws.exponents["gamma1"])
    remarks = (remark_on_offset(evidence),) if seems_offset(evidence) else ()
    return replace(laws, offset_test=evidence, remarks=laws.remarks + remarks)


def _fit(
    curves: Curves,
    *,
    window: Any,
    landmark: str,
    known: np.ndarray | None,
    learned: Window | None,
    use_crossover: bool | None,
) -> FittedLaws:
    """Fit all laws, and leave offsets to others."""
    beginning = find_beginning(curves)
    means, crossover = beginning.means, beginning.crossover
    optima = smoothed_minima(curves, means)
    landmarks = _choose_landmarks(curves, means, optima, crossover, landmark, known)
    remarks = remark_on_optima(curves, optima, landmarks)

    found = learned or _choose_window(curves, means, landmarks, window)
    inside = np.zeros(len(curves.x), bool)
    if found is not None:
        inside = rows_inside(curves, found)
    line = _slope_in_window(curves, inside)
    trusted = _trusted(crossover, line.estimate)
    if use_crossover is None:
        use_crossover = trusted and isinstance(window, str)
    if use_crossover and crossover is not None:
        slope, how = crossover.slope, f"crossover fit ({crossover.hinge} hinge)"
    else:
        slope, how = line, "straight line in the window"
    gamma1, resolved = slope.estimate, trusted
    if not resolved:
        remarks += (remark_on_slope(crossover, found),)
    if np.isfinite(beginning.start):
        remarks += (remark_on_transient(beginning.start),)

    usable = _usable(curves, landmarks)
    warn_of_support(landmarks, usable)
    laws = fit_size_laws(
        np.log(curves.train_sizes),
        landmarks,
        usable,
        slope,
        noise=curves.counting_noise,
    )
    if not resolved:
        # With an effective slope, true laws would be rejected 9 times in 10.
        laws = laws.untested()
    return FittedLaws(
        exponents={
            "gamma1": gamma1,
            "gamma2": laws.gamma2,
            "gamma_predicted": laws.predicted,
            "gamma_measured": laws.measured,
        },
        consistency=laws.difference,
        norm_law=_norm_line(curves, inside, gamma1),
        optimum_law=laws.optimum_law,
        data_law=laws.data_law,
        optima=optima,
        landmarks=landmarks,
        window=found or Window.missing(curves.n_sizes),
        inside=inside,
        sensitivity=window_sensitivity(curves, landmarks.x),
        resolved=resolved,
        remarks=remarks,
        covariance=f"{how}, CR2 with Bell-McCaffrey degrees of freedom",
        clusters=slope.clusters,
        crossover=crossover if use_crossover else None,
        results=({} if line.results is None else {"norm_law": line.results})
        | dict(laws.results),
        forecast_law=fit_forecast(
            curves,
            optima,
            landmarks,
            usable,
            laws.predicted,
            laws.measured,
            laws.difference,
        ),
    )


def _slope_in_window(curves: Curves, inside: np.ndarray) -> Slope:
    """Fit a straight line in the window, with a height of its own for each run."""
    run, size = curves.run[inside], curves.size[inside]
    if len(np.unique(run)) < 1 or inside.sum() < 3:
        return Slope.missing(curves.n_sizes)
    design = demean(-curves.x[inside][:, None], run)
    target = demean(curves.y[inside], run)
    groups = size if len(np.unique(size)) > 1 else run
    if len(np.unique(groups)) > 1:
        results = sm.OLS(target, design).fit(
            cov_type="cluster", cov_kwds={"groups": groups}, use_t=True
        )
    else:
        results = sm.OLS(target, design).fit(use_t=True)
    slope = slope_with_errors(
        float(results.params[0]),
        design,
        target - design @ results.params,
        curves.y[inside],
        run,
        size,
        n_sizes=curves.n_sizes,
        noise=curves.counting_noise,
    )
    return replace(slope, results=results)


def _choose_landmarks(
    curves: Curves,
    means: MeanCurves,
    optima: Landmarks,
    crossover: Crossover | None,
    landmark: str,
    known: np.ndarray | None,
) -> Landmarks:
    """Return the knees, the minima, or what is already known, one per train size."""
    minima = average_minima(curves, optima)
    if known is not None:
        return known_optima(minima, known)
    if landmark == "minimum":
        return minima
    if crossover is None:
        if landmark == "knee":
            raise ValueError(
                'landmark="knee" needs at least 3 train sizes, got '
                f'{plural(curves.n_sizes, "train size")}. Use landmark="minimum".'
            )
        return minima
    if landmark == "knee" or crossover.resolved:
        return knees(crossover, means)
    return minima


def _choose_window(
    curves: Curves, means: MeanCurves, landmarks: Landmarks, window: Any
) -> Window | None:
    if isinstance(window, str):
        return automatic_window(curves, means)
    low, high = window
    return window_around(landmarks.x, low, high)


def _trusted(crossover: Crossover | None, line: Estimate) -> bool:
    """Whether the crossover resolves a law, and the straight line agrees with it."""
    if crossover is None or not crossover.resolved:
        return False
    ratio = crossover.gamma1.estimate / line.estimate
    return bool(0.8 <= ratio <= 1.3) or not np.isfinite(ratio)


def _usable(curves: Curves, landmarks: Landmarks) -> np.ndarray:
    """Return which train sizes tell where their landmark is."""
    if landmarks.kind == "knee":
        return ~landmarks.censored
    if landmarks.censored.mean() > _MAX_CENSORED:
        return np.zeros(curves.n_sizes, dtype=bool)
    # A few censored minima are off by less than leaving them out would cost.
    return np.ones(curves.n_sizes, dtype=bool)


def _norm_line(curves: Curves, inside: np.ndarray, gamma1: Estimate) -> Line | None:
    """Return the norm law through the middle of the window."""
    if not inside.any() or not np.isfinite(gamma1.estimate):
        return None
    x, y, size = curves.x[inside], curves.y[inside], curves.size[inside]
    height = y + gamma1.estimate * x
    sizes, label = np.unique(size, return_inverse=True)
    level = np.bincount(label, height) / np.bincount(label)
    spread = float(level.std(ddof=1)) if len(sizes) > 1 else np.nan
    return Line(
        intercept=float(level.mean()),
        exponent=gamma1.estimate,
        sign=-1,
        center=float(x.mean()),
        std_err=gamma1.std_err,
        height_std_err=spread / np.sqrt(len(sizes)),
        df=gamma1.df,
        scatter=spread,
    )


def summarise_sensitivity(table: pd.DataFrame, chosen: float) -> pd.Series:
    """Return smallest, median and largest gamma1, and where the chosen one stands.

    Parameters
    ----------
    table : DataFrame
        From :func:`~scalinglaw.laws.window.window_sensitivity`.
    chosen : float
        The reported gamma1.

    Returns
    -------
    Series
        ``min``, ``median``, ``max``, ``chosen``, ``rank`` (share of the windows
        with a smaller gamma1) and ``n_windows``.
    """
    gamma1 = table["gamma1"]
    return pd.Series(
        {
            "min": gamma1.min(),
            "median": gamma1.median(),
            "max": gamma1.max(),
            "chosen": chosen,
            "rank": float((gamma1 < chosen).mean()) if len(gamma1) else np.nan,
            "n_windows": len(gamma1),
        }
    )
