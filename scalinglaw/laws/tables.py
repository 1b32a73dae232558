"""Fitted laws as the tables that a user reads."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .curves import Curves
from .fitted import FittedLaws

__all__ = [
    "EXPONENTS",
    "annotated_rows",
    "consistency_series",
    "exponent_table",
    "landmark_table",
    "offset_series",
    "optimum_table",
    "window_table",
]

EXPONENTS = ("gamma1", "gamma2", "gamma_predicted", "gamma_measured")
"""Names of the exponents, in the order of the tables."""


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


def offset_series(laws: FittedLaws) -> pd.Series:
    """Return the F test of an offset in the window."""
    test = laws.offset_test
    return pd.Series(
        {"statistic": test.statistic**2, "df": test.df, "p_value": test.p_value},
        name="offset",
    )


def optimum_table(
    table: pd.DataFrame, curves: Curves, laws: FittedLaws
) -> pd.DataFrame:
    """Return the lowest error of each run, one row per run."""
    first = curves.bounds()[:-1]
    optima = table.iloc[first][["train_size", "seed"]].reset_index(drop=True)
    return optima.assign(
        log_norm=laws.optima.x,
        error=laws.offset + np.exp(laws.optima.y),
        censored=laws.optima.censored,
    )


def landmark_table(curves: Curves, laws: FittedLaws) -> pd.DataFrame:
    """Return what gamma2 was fitted to, one row per train size."""
    return pd.DataFrame(
        {
            "train_size": curves.train_sizes,
            "log_norm": laws.landmarks.x,
            "log_error": laws.landmarks.y,
            "censored": laws.landmarks.censored,
        }
    )


def window_table(curves: Curves, laws: FittedLaws) -> pd.DataFrame:
    """Return the window of gamma1, one row per train size."""
    n_points = np.bincount(curves.size, laws.inside, curves.n_sizes)
    return pd.DataFrame(
        {
            "train_size": curves.train_sizes,
            "log_norm_low": laws.window.low,
            "log_norm_high": laws.window.high,
            "n_points": n_points.astype(int),
        }
    )


def annotated_rows(
    table: pd.DataFrame, curves: Curves, laws: FittedLaws
) -> pd.DataFrame:
    """Return the rows that were used, less the offset, and which are in the window."""
    left = curves.less(laws.offset)
    return table.assign(log_error=left.y, in_window=laws.inside)
