"""What a fitted law says, in tables and in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from statsmodels.iolib.summary2 import Summary

from .offset import seems_offset

if TYPE_CHECKING:
    from .estimator import ScalingLawEstimator

__all__ = ["conclude", "summarise"]


def summarise(law: ScalingLawEstimator) -> Summary:
    """Return the summary of a fitted law.

    Parameters
    ----------
    law : ScalingLawEstimator
        A fitted one.

    Returns
    -------
    statsmodels Summary
        Settings, exponents, the test of the law, remarks and the conclusion.
    """
    summary = Summary()
    summary.add_title("Dynamical scaling law")
    summary.add_dict(_settings(law), ncols=1, align="l")
    shown = law.exponents_.rename(
        columns={
            "std_err": "std err",
            "ci_low": f"[{100 * law._fitted_level:g}%",
            "ci_high": "CI]",
        }
    )
    summary.add_df(shown, float_format="%.4f")
    test = law.consistency_
    if np.isfinite(test["p_value"]):
        summary.add_df(
            pd.DataFrame([test]).rename(index={"consistency": "predicted - measured"}),
            float_format="%.4f",
        )
    for remark in (*law._laws.remarks, conclude(law)):
        summary.add_text(remark)
    return summary


def _settings(law: ScalingLawEstimator) -> dict[str, str]:
    """Return how the numbers were found."""
    laws, optima = law._laws, law.optima_
    sensitivity = law.window_sensitivity_
    settings = {
        "Norm, metric": f"{law.norm}, {law.metric}",
        "Runs": f"{len(optima)}, at {optima['train_size'].nunique()} train sizes from "
        f"{optima['train_size'].min()} to {optima['train_size'].max()}",
        "Method of gamma1": laws.covariance,
        "Clusters": laws.clusters,
        "Window": f"{laws.window.how}; {law.window_[0]:.3g} to {law.window_[1]:.3g} "
        f"times the norm at the {law.landmark_}",
    }
    if sensitivity["n_windows"]:
        settings["Window sensitivity"] = (
            f"gamma1 from {sensitivity['min']:.3g} to {sensitivity['max']:.3g} (median "
            f"{sensitivity['median']:.3g}) over {int(sensitivity['n_windows'])} "
            f"windows; {sensitivity['rank']:.0%} lie below the one reported"
        )
    settings["Landmark of gamma2"] = law.landmark_
    settings["Censored optima"] = (
        f"{int(optima['censored'].sum())} of {len(optima)} runs"
    )
    evidence = law._laws.offset_test
    if law.offset:
        low, high = evidence.conf_int(1 - law._fitted_level)
        settings["Offset"] = (
            f"{law.offset_:.3g} taken off the error ({max(low, 0):.3g} to {high:.3g})"
        )
    elif seems_offset(evidence):
        settings["Offset"] = f"not fitted, but seen (F = {evidence.statistic**2:.1f})"
    elif np.isfinite(evidence.estimate):
        settings["Offset"] = "not fitted, and not seen in the window"
    return settings


def conclude(law: ScalingLawEstimator) -> str:
    """Return in one sentence what may be concluded.

    Parameters
    ----------
    law : ScalingLawEstimator
        A fitted one.

    Returns
    -------
    str
        About the law that predicts the data exponent from the other two.
    """
    test = law.consistency_
    alpha = 1 - law._fitted_level
    if law.method == "published":
        return (
            "Conclusion: exponents as the paper computes them; for intervals that "
            "cover "
            'and a test of the law use method="pooled".'
        )
    if not law.resolved_:
        text = (
            "Conclusion: no clean power law was resolved, so that the law is not "
            "tested; gamma1 and the predicted exponent depend on the window"
        )
        if not np.isfinite(law.gamma2_.estimate):
            text += f"; and {_why_no_size_laws(law)}"
        return text + "."
    if not np.isfinite(law.gamma2_.estimate):
        return f"Conclusion: {_why_no_size_laws(law)}."
    if not np.isfinite(test["p_value"]):
        return "Conclusion: too few train sizes to test the law."
    low, high = law._laws.consistency.conf_int(alpha)
    bound = max(abs(low), abs(high)) / abs(law.gamma_measured_.estimate)
    if test["p_value"] < alpha:
        return (
            "Conclusion: the product gamma1 * gamma2 differs from the measured "
            f"exponent by {test['difference']:+.3f} (p = {test['p_value']:.2g}): "
            "these runs contradict the law."
        )
    if not bound < 1:
        return (
            f"Conclusion: these runs do not test the law (p = {test['p_value']:.2g}): "
            "a difference as large as the measured exponent itself is not excluded."
        )
    return (
        "Conclusion: these runs do not contradict the law (p = "
        f"{test['p_value']:.2g}); a difference of more than {bound:.0%} of the "
        "measured exponent can be excluded."
    )


def _why_no_size_laws(law: ScalingLawEstimator) -> str:
    if len(law.landmarks_) == 1:
        why = "there is a single train size"
    else:
        why = "training was too short to see where the test error is lowest"
    return f"{why}, so that nothing can be said about the laws of the train size"
