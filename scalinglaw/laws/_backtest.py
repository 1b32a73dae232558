"""Would the law have forecast the larger train sizes from the smaller ones?"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from .._validation import check_fraction
from ..exceptions import CensoredOptimumWarning, UnresolvedExponentWarning
from ._estimator import ScalingLawEstimator
from ._power_law import PowerLawFit
from ._prepare import prepare

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
        ``"power_offset"``, a :class:`PowerLawFit` of error against train size without
        and with an offset; with three train sizes without one in both), ``train_size``,
        ``predicted``, ``ci_low``, ``ci_high`` (prediction interval; NaN where a method
        has none), ``observed`` (fraction) and
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
    table = prepare(trajectories, law.norm, law.metric).table
    sizes = np.unique(table["train_size"])
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
        observed = model.lowest_errors(trajectories).to_numpy()
        x, y = fitted_sizes.astype(float), observed[:-n_held]
        forecasts = {
            "law": model.predict(held, return_interval=True),
            "last_value": (np.full(n_held, y[-1]), *np.full((2, n_held), np.nan)),
            "power": _power(x, y, held, offset=False),
            # Three numbers through three points leave nothing to fit.
            "power_offset": _power(x, y, held, offset=len(x) > 3),
        }
    tables = []
    for method, (predicted, low, high) in forecasts.items():
        columns = {
            "method": method,
            "train_size": held,
            "predicted": predicted,
            "ci_low": low,
            "ci_high": high,
            "observed": observed[-n_held:],
        }
        tables.append(pd.DataFrame(columns))
    found = pd.concat(tables, ignore_index=True)
    return found.assign(log_error=np.log(found["predicted"] / found["observed"]))


def _power(
    x: np.ndarray, y: np.ndarray, held: np.ndarray, *, offset: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # With so few points each counts alike: HC3 would let the outermost decide.
    fit = PowerLawFit(offset=offset, cov_type="nonrobust").fit(x, y)
    return fit.predict(held.astype(float), return_interval=True)
