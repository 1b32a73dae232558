"""The method of the package: all runs at once, errors clustered, window found."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm

from .._validation import plural
from ..exceptions import CensoredOptimumWarning, UnresolvedExponentWarning
from .counting_noise import counting_covariance, counting_variance, with_known_noise
from .crossover import Crossover, fit_crossover
from .curves import Curves, demean, local_linear
from .fitted import FittedLaws
from .forecast import fit_forecast
from .inference import (
    Estimate,
    Line,
    clustered_wider,
    fit_line,
    influence,
    product,
    satterthwaite,
)
from .landmark import Landmarks, average_minima, smoothed_minima
from .offset import offset_evidence, remove_offset, seems_offset
from .window import (
    MeanCurves,
    Window,
    automatic_window,
    average_over_seeds,
    rows_inside,
    window_around,
    window_sensitivity,
)

__all__ = ["fit_pooled", "summarise_sensitivity"]

_MISSING = Estimate.missing()
# More censored minima than this leave gamma2 without support.
_MAX_CENSORED = 1 / 3
_MIN_SIZES = 4


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
    removed = remove_offset(curves) if offset else None
    if removed is not None:
        curves = removed.curves
    means = average_over_seeds(curves)
    crossover = fit_crossover(curves, means)
    optima = smoothed_minima(curves, means)
    landmarks = _choose_landmarks(curves, means, optima, crossover, landmark, known)
    remarks = _remark_on_optima(curves, optima, landmarks)

    found = learned or _choose_window(curves, means, landmarks, window)
    inside = (
        rows_inside(curves, found)
        if found is not None
        else np.zeros(len(curves.x), bool)
    )
    slope = _slope_in_window(curves, inside, removed.column if removed else None)
    trusted = _trusted(crossover, slope)
    if use_crossover is None:
        # The crossover fit knows nothing of the offset's uncertainty.
        use_crossover = trusted and isinstance(window, str) and not offset
    if use_crossover and crossover is not None:
        gamma1, clusters = crossover.gamma1, crossover.clusters
        how = f"crossover fit ({crossover.hinge} hinge)"
    else:
        gamma1, clusters, how = (
            slope.gamma1,
            slope.clusters,
            "straight line in the window",
        )
    resolved = trusted
    if not resolved:
        remarks += (_remark_on_slope(crossover, found),)
    if removed is not None:
        offset_test = removed.test
    else:
        offset_test = offset_evidence(curves, inside, gamma1)
        if seems_offset(offset_test):
            remarks += (_remark_on_offset(offset_test),)

    nowhere = np.full(curves.n_sizes, np.nan)
    gamma2, optimum_law, optimum_results = _law_of_train_size(
        curves, landmarks, "x", gamma1
    )
    measured, data_law, data_results = _law_of_train_size(
        curves, landmarks, "y", gamma1
    )
    predicted = product(gamma1, gamma2)
    consistency, z_results = _test_law(curves, landmarks, gamma1, gamma2, resolved)
    return FittedLaws(
        exponents={
            "gamma1": gamma1,
            "gamma2": gamma2,
            "gamma_predicted": predicted,
            "gamma_measured": measured,
        },
        consistency=consistency,
        norm_law=_norm_line(curves, inside, gamma1),
        optimum_law=optimum_law,
        data_law=data_law,
        optima=optima,
        landmarks=landmarks,
        window=found or Window(nowhere, nowhere, how="none found"),
        inside=inside,
        sensitivity=window_sensitivity(curves, landmarks.x),
        resolved=resolved,
        remarks=remarks,
        covariance=f"{how}, CR2 with Bell-McCaffrey degrees of freedom",
        clusters=clusters,
        crossover=crossover if use_crossover else None,
        results={
            name: results
            for name, results in (
                ("norm_law", slope.results),
                ("optimum_law", optimum_results),
                ("data_law", data_results),
                ("consistency", z_results),
            )
            if results is not None
        },
        offset=removed.offset if removed else 0.0,
        offset_test=offset_test,
        forecast_law=fit_forecast(
            np.log(curves.train_sizes),
            average_minima(curves, optima),
            landmarks,
            _usable(curves, landmarks),
            predicted,
            measured,
            consistency,
        ),
    )


@dataclass(frozen=True)
class _Slope:
    """A straight line in the window, with a height of its own for each run."""

    gamma1: Estimate
    clusters: str
    results: object | None


def _slope_in_window(
    curves: Curves, inside: np.ndarray, extra: np.ndarray | None
) -> _Slope:
    run, size = curves.run[inside], curves.size[inside]
    if len(np.unique(run)) < 1 or inside.sum() < 3:
        return _Slope(_MISSING, "none", None)
    columns = [-curves.x[inside]] + ([extra[inside]] if extra is not None else [])
    # With heights absorbed, what is left of a column may be all but zero.
    design = demean(np.column_stack(columns), run)
    target = demean(curves.y[inside], run)
    groups = size if len(np.unique(size)) > 1 else run
    if len(np.unique(groups)) > 1:
        results = sm.OLS(target, design).fit(
            cov_type="cluster", cov_kwds={"groups": groups}, use_t=True
        )
    else:
        results = sm.OLS(target, design).fit(use_t=True)
    residuals = target - design @ results.params
    gamma1, clusters = clustered_wider(
        float(results.params[0]), design, residuals, run, size
    )
    if curves.n_test is not None and np.isfinite(gamma1.std_err):
        y = curves.y[inside]
        gamma1 = gamma1.widened(counting_variance(influence(design), y, curves.n_test))
    return _Slope(gamma1, clusters, results)


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
        given = np.isfinite(known)
        return replace(
            minima,
            x=np.where(given, known, minima.x),
            censored=minima.censored & ~given,
        )
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
        bandwidth = means.bandwidth
        at = crossover.knee[:, None]
        height, _ = local_linear(at, means.x, means.y, bandwidth)
        missing = crossover.beyond | ~np.isfinite(height[:, 0])
        return Landmarks(crossover.knee, height[:, 0], missing, kind="knee")
    return minima


def _choose_window(
    curves: Curves, means: MeanCurves, landmarks: Landmarks, window: Any
) -> Window | None:
    if isinstance(window, str):
        return automatic_window(curves, means)
    low, high = window
    return window_around(landmarks.x, low, high)


def _trusted(crossover: Crossover | None, slope: _Slope) -> bool:
    """Whether the crossover resolves a law, and the straight line agrees with it."""
    if crossover is None or not crossover.resolved:
        return False
    ratio = crossover.gamma1.estimate / slope.gamma1.estimate
    return bool(0.8 <= ratio <= 1.3) or not np.isfinite(ratio)


def _remark_on_slope(crossover: Crossover | None, window: Window | None) -> str:
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


def _remark_on_offset(evidence: Estimate) -> str:
    text = (
        "the error levels off within the window, as an error that no norm removes "
        f"would make it (F = {evidence.statistic**2:.1f}): gamma1 may be too small. "
        "Fit with offset=True and compare."
    )
    warnings.warn(text, UnresolvedExponentWarning, stacklevel=5)
    return text


def _remark_on_optima(
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
    if landmarks.kind == "knee" and landmarks.censored.any():
        sizes = ", ".join(map(str, curves.train_sizes[landmarks.censored]))
        text = f"training stopped before the knee of train size {sizes}: left out."
        warnings.warn(text, CensoredOptimumWarning, stacklevel=5)
        remarks += (text,)
    return remarks


def _usable(curves: Curves, landmarks: Landmarks) -> np.ndarray:
    """Return which train sizes tell where their landmark is."""
    if landmarks.kind == "knee":
        return ~landmarks.censored
    if landmarks.censored.mean() > _MAX_CENSORED:
        return np.zeros(curves.n_sizes, dtype=bool)
    # A few censored minima are off by less than leaving them out would cost.
    return np.ones(curves.n_sizes, dtype=bool)


def _law_of_train_size(
    curves: Curves, landmarks: Landmarks, axis: str, gamma1: Estimate
) -> tuple[Estimate, Line | None, object | None]:
    """Fit the optimum law (``"x"``) or the data law (``"y"``)."""
    usable = _usable(curves, landmarks)
    if usable.sum() < 2:
        if axis == "x":
            _warn_without_support(landmarks.censored)
        return _MISSING, None, None
    sign = 1 if axis == "x" else -1
    log_size = np.log(curves.train_sizes[usable])
    height = getattr(landmarks, axis)[usable]
    line, results = fit_line(log_size, height, sign)
    if usable.sum() < _MIN_SIZES:
        if axis == "x":
            warnings.warn(
                f"gamma2 and gamma_measured have no interval: {usable.sum()} train "
                f"sizes are too few, at least {_MIN_SIZES} are needed.",
                UnresolvedExponentWarning,
                stacklevel=5,
            )
        return Estimate(line.exponent, np.nan, np.nan), line, results
    estimate = Estimate(line.exponent, line.std_err, line.df)
    if curves.n_test is not None and np.isfinite(gamma1.estimate):
        # Noise moves a knee along x by at most as much as over the slope, and thereby
        # further along y than the noise itself: 1.2 times in simulations.
        along_y = 1.25 if landmarks.kind == "knee" else 1.0
        scale = along_y if axis == "y" else 1.0 / gamma1.estimate
        known = scale**2 * counting_covariance(landmarks.y[usable], curves.n_test)
        estimate = with_known_noise(estimate, log_size, height, known)
        line = replace(line, std_err=estimate.std_err, df=estimate.df)
    return estimate, line, results


def _warn_without_support(censored: np.ndarray) -> None:
    warnings.warn(
        "gamma2 and gamma_measured have no number: training stopped before the "
        f"optimum in {censored.sum()} of {plural(censored.size, 'train size')}, too "
        'many to fit a law to the rest. Train longer, or use landmark="knee".',
        UnresolvedExponentWarning,
        stacklevel=6,
    )


def _test_law(
    curves: Curves,
    landmarks: Landmarks,
    gamma1: Estimate,
    gamma2: Estimate,
    resolved: bool,
) -> tuple[Estimate, object | None]:
    """Regress z = y + gamma1 x on log P: its slope is predicted - measured."""
    usable = _usable(curves, landmarks)
    if not resolved or usable.sum() < _MIN_SIZES:
        return _MISSING, None
    z = landmarks.y[usable] + gamma1.estimate * landmarks.x[usable]
    line, results = fit_line(np.log(curves.train_sizes[usable]), z, 1)
    variances = np.array([line.std_err**2, (gamma2.estimate * gamma1.std_err) ** 2])
    df = satterthwaite(variances, np.array([line.df, gamma1.df]))
    return Estimate(line.exponent, float(np.sqrt(variances.sum())), df), results


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
