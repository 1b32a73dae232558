"""Fitted laws as the tables that a user reads."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ._results import EXPONENTS, FittedLaws

__all__ = [
    "annotated_rows",
    "consistency_series",
    "exponent_table",
    "landmark_table",
    "optimum_table",
    "sensitivity_series",
    "window_table",
]


def exponent_table(laws: FittedLaws, alpha: float) -> pd.DataFrame:
    """Return one row per exponent, with its interval at a significance level."""
    rows = {}
    for name in EXPONENTS:
        found = laws.exponents[name]
        interval = found.conf_int(alpha)
        rows[name] = (found.estimate, found.std_err, found.df, *interval)
    columns = ["estimate", "std_err", "df", "ci_low", "ci_high"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def consistency_series(laws: FittedLaws) -> pd.Series:
    """Return the test of the law: predicted less measured exponent."""
    test = laws.consistency
    return pd.Series(
        {
            "difference": test.estimate,
            "std_err": test.std_err,
            "df": test.df,
            "statistic": test.statistic,
            "p_value": test.p_value,
        },
        name="consistency",
    )


def optimum_table(table: pd.DataFrame, laws: FittedLaws) -> pd.DataFrame:
    """Return the lowest error of each run, one row per run."""
    first = laws.curves.bounds()[:-1]
    optima = table.iloc[first][["train_size", "seed"]].reset_index(drop=True)
    return optima.assign(
        log_norm=laws.optima.x,
        error=np.exp(laws.optima.y),
        censored=laws.optima.censored,
    )


def landmark_table(laws: FittedLaws) -> pd.DataFrame:
    """Return what gamma2 was fitted to, one row per train size."""
    return pd.DataFrame(
        {
            "train_size": laws.curves.train_sizes,
            "log_norm": laws.landmarks.x,
            "log_error": laws.landmarks.y,
            "censored": laws.landmarks.censored,
            "std_err_log_norm": _errors(laws.landmarks.scatter_x),
            "std_err_log_error": _errors(laws.landmarks.scatter_y),
        }
    )


def _errors(scatter: np.ndarray | None) -> np.ndarray | float:
    """Return the standard errors that seeds show; NaN where they show none."""
    return np.nan if scatter is None else np.sqrt(np.sum(scatter**2, axis=1))


def window_table(laws: FittedLaws) -> pd.DataFrame:
    """Return the window of gamma1, one row per train size."""
    curves = laws.curves
    n_points = np.bincount(curves.size, laws.inside, curves.n_sizes)
    return pd.DataFrame(
        {
            "train_size": laws.curves.train_sizes,
            "log_norm_low": laws.window.low,
            "log_norm_high": laws.window.high,
            "n_points": n_points.astype(int),
        }
    )


def annotated_rows(table: pd.DataFrame, laws: FittedLaws) -> pd.DataFrame:
    """Return the rows that were used, less the offset, and which are in the window."""
    left = laws.curves.less(laws.offset.value)
    return table.assign(log_error=left.y, in_window=laws.inside)


def sensitivity_series(laws: FittedLaws) -> pd.Series:
    """Return smallest, median and largest gamma1, and where the chosen one stands.

    Parameters
    ----------
    laws : FittedLaws
        Fitted laws.

    Returns
    -------
    Series
        ``min``, ``median``, ``max``, ``chosen``, ``rank`` (share of the windows
        with a smaller gamma1) and ``n_windows``.
    """
    gamma1, chosen = laws.sensitivity["gamma1"], laws.exponents["gamma1"].estimate
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
