"""Would the law have forecast the larger train sizes from the smaller ones?"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from .._validation import check_fraction
from ..exceptions import CensoredOptimumWarning, UnresolvedExponentWarning
from .curves import as_curves, prepare
from .estimator import ScalingLawEstimator
from .inference import fit_line
from .power_law import PowerLawFit

__all__ = ["backtest"]


def backtest(
    law: ScalingLawEstimator, trajectories: Any, hold_out: float = 1 / 3
) -> pd.DataFrame:
    """Fit on the smaller train sizes, forecast the larger, beside baselines.

    Parameters
    ----------
    law : ScalingLawEstimator
        Its parameters are used; it is cloned, not changed.
    trajectories : DataFrame, or list of fitted classifiers
        The trajectory table.
    hold_out : float, default=1/3
        Share of the train sizes, the largest ones, that is held out.

    Returns
    -------
    DataFrame
        One row per method and held-out train size: ``method`` (``"law"``;
        ``"last_value"``, the error at the largest size fitted; ``"power"`` and
        ``"power_offset"``, a power law of error against train size without and with
        an offset), ``train_size``, ``predicted``, ``ci_low``, ``ci_high`` (prediction
        interval; NaN where a method has none), ``observed`` (fraction) and
        ``log_error``, log(predicted / observed). Root mean squared log errors:
        ``table["log_error"].pow(2).groupby(table["method"]).mean() ** 0.5``.

    Raises
    ------
    TypeError
        If `law` is no ScalingLawEstimator.
    ValueError
        If fewer than three train sizes remain to fit, or none is held out.

    Examples
    --------
    >>> from scalinglaw import ScalingLawEstimator, backtest
    >>> from scalinglaw.datasets import make_trajectories
    >>> table = backtest(ScalingLawEstimator(), make_trajectories(random_state=0))
    >>> sorted(table["method"].unique())
    ['last_value', 'law', 'power', 'power_offset']
    """
    if not isinstance(law, ScalingLawEstimator):
        raise TypeError(
            "law, the first argument, must be a ScalingLawEstimator, got "
            f"{type(law).__name__}. Write backtest(ScalingLawEstimator(), table)."
        )
    check_fraction(hold_out, "hold_out")
    table = prepare(trajectories, law.norm, law.metric)
    curves = as_curves(table)
    sizes = curves.train_sizes
    n_held = max(1, round(hold_out * len(sizes)))
    fitted_sizes, held = sizes[:-n_held], sizes[-n_held:]
    if len(fitted_sizes) < 3:
        raise ValueError(
            f"hold_out={hold_out:.3g} of {len(sizes)} train sizes leaves "
            f"{len(fitted_sizes)} to fit; at least 3 are needed."
        )
    small = table[table["train_size"].isin(fitted_sizes)]
    model = clone(law)
    with warnings.catch_warnings():
        # The forecast is judged by what it predicts, not by what it resolves.
        for category in (CensoredOptimumWarning, UnresolvedExponentWarning):
            warnings.simplefilter("ignore", category)
        names = {"log_norm": f"log_{law.norm}", "error": law.metric}
        model.fit(small.drop(columns="log_error").rename(columns=names))
    observed_all = np.exp(model._optima_of(curves))
    x, y = fitted_sizes.astype(float), observed_all[: len(fitted_sizes)]
    rows = []
    for method, forecast in (
        ("law", model.predict(held, return_interval=True)),
        ("last_value", (np.full(n_held, y[-1]), *np.full((2, n_held), np.nan))),
        ("power", _power(x, y, held)),
        ("power_offset", _power_offset(x, y, held)),
    ):
        for size, observed, predicted, low, high in zip(
            held, observed_all[-n_held:], *forecast, strict=True
        ):
            rows.append(
                {
                    "method": method,
                    "train_size": int(size),
                    "predicted": predicted,
                    "ci_low": low,
                    "ci_high": high,
                    "observed": observed,
                    "log_error": float(np.log(predicted / observed)),
                }
            )
    return pd.DataFrame(rows)


def _power(
    x: np.ndarray, y: np.ndarray, held: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    line, _ = fit_line(np.log(x), np.log(y), -1)
    at = np.log(held.astype(float))
    low, high = line.conf_band(at, new_point=True)
    return np.exp(line.predict(at)), np.exp(low), np.exp(high)


def _power_offset(
    x: np.ndarray, y: np.ndarray, held: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    nothing = np.full(len(held), np.nan)
    if len(x) < 4:
        # Three parameters through three points leave nothing to fit.
        return _power(x, y, held)[0], nothing, nothing
    fit = PowerLawFit(offset=True, cov_type="nonrobust").fit(x, y)
    return fit.predict(held.astype(float)), nothing, nothing
