"""What fitted laws say: a sentence to quote, and a page to read."""

from __future__ import annotations

import html
import textwrap
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ._results import EXPONENTS, FittedLaws

if TYPE_CHECKING:
    from ._base import BaseScalingLaw

__all__ = ["Summary", "conclude", "summarise"]

_WIDTH = 80


class Summary:
    """A page of text with tables, of at most 80 columns.

    Parameters
    ----------
    title : str
        First line.
    parts : list of str or DataFrame
        Paragraphs and tables, in their order.
    """

    def __init__(self, title: str, parts: list[str | pd.DataFrame]):
        self.title = title
        self.parts = parts

    def __str__(self) -> str:
        """Return the page as text."""
        rule = "=" * _WIDTH
        lines = [rule, self.title.center(_WIDTH).rstrip(), rule]
        for part in self.parts:
            if isinstance(part, pd.DataFrame):
                lines += [_as_text(part), "-" * _WIDTH]
            else:
                lines += textwrap.wrap(part, _WIDTH, subsequent_indent="  ")
        return "\n".join([*lines, rule])

    __repr__ = __str__

    def as_html(self) -> str:
        """Return the page as HTML, with everything escaped."""
        shown = [f"<h4>{html.escape(self.title)}</h4>"]
        for part in self.parts:
            if isinstance(part, pd.DataFrame):
                shown.append(part.to_html(float_format="{:.4f}".format, na_rep=""))
            else:
                shown.append(f"<p>{html.escape(part)}</p>")
        return "\n".join(shown)

    _repr_html_ = as_html


def _as_text(table: pd.DataFrame) -> str:
    """Return a table with four decimals, or in powers of ten where it would be wide."""
    for spec in ("{:.4f}", "{:.3g}"):
        text = table.to_string(float_format=spec.format, na_rep="")
        if max(map(len, text.splitlines())) <= _WIDTH:
            return text
    return text


def summarise(law: BaseScalingLaw) -> Summary:
    """Return the summary of a fitted law.

    Parameters
    ----------
    law : estimator of laws
        A fitted one.

    Returns
    -------
    Summary
        Conclusion, exponents, the test of the law, settings and remarks.
    """
    level = f"{100 * law.confidence_level_:g}%"
    shown = law.exponents_.rename(
        columns={"std_err": "std err", "ci_low": f"[{level}", "ci_high": "CI]"}
    )
    laws = law.fitted_
    if not law.resolved_ and laws.reasons:
        # An unresolved exponent has no interval; what windows would give stands there.
        marked = {name: f"{name} (!)" for name in ("gamma1", "gamma_predicted")}
        shown = shown.rename(index=marked)
    parts: list[str | pd.DataFrame] = [law.conclusion_, shown]
    test = law.consistency_
    if np.isfinite(test["p_value"]):
        parts.append(
            pd.DataFrame([test]).rename(index={"consistency": "predicted - measured"})
        )
    parts += [f"{name}: {text}" for name, text in _settings(law).items()]
    parts += [f"Note: {remark}" for remark in law.remarks_]
    return Summary("Dynamical scaling law", parts)


def _settings(law: BaseScalingLaw) -> dict[str, str]:
    """Return how the numbers were found."""
    laws, optima = law.fitted_, law.optima_
    sensitivity, collapse = law.window_sensitivity_, law.collapse_
    settings = {
        "Norm, metric": f"{law.norm}, {law.metric}",
        "Runs": f"{len(optima)}, at {optima['train_size'].nunique()} train sizes from "
        f"{optima['train_size'].min()} to {optima['train_size'].max()}",
        "gamma1": f"{laws.method}, clustered by {laws.clusters}",
        "Window": f"{laws.window.how}; {law.window_[0]:.3g} to {law.window_[1]:.3g} "
        f"times the norm at the {law.landmark_}",
    }
    if sensitivity["n_windows"]:
        settings["Other windows"] = (
            f"gamma1 from {sensitivity['min']:.3g} to {sensitivity['max']:.3g} (median "
            f"{sensitivity['median']:.3g}) over {int(sensitivity['n_windows'])} "
            f"windows; {sensitivity['rank']:.0%} lie below the one reported"
        )
    settings["Landmark of gamma2"] = law.landmark_
    settings["Censored optima"] = (
        f"{int(optima['censored'].sum())} of {len(optima)} runs"
    )
    if np.isfinite(laws.offset.found.estimate):
        low, high = laws.offset.found.conf_int(1 - law.confidence_level_)
        if law.offset_ > 0:
            text = f"{law.offset_:.3g} taken off the errors"
        else:
            text = "none taken off the errors"
        settings["Offset"] = (
            f"{text} (interval {max(low, 0):.2g} to {max(high, 0):.2g})"
        )
    if collapse is not None:
        settings["Collapse"] = _on_collapse(collapse)
    return settings


def _on_collapse(collapse: pd.Series) -> str:
    text = f"curves of the train sizes differ by {collapse['spread']:.1%} (rms)"
    if np.isfinite(collapse["ratio"]):
        text += f", {collapse['ratio']:.2g} times as much as seeds"
    if np.isfinite(collapse["p_value"]):
        text += f"; equal shapes p = {collapse['p_value']:.2g}"
    return text


def conclude(laws: FittedLaws, alpha: float) -> str:
    """Return in one sentence what may be concluded.

    Parameters
    ----------
    laws : FittedLaws
        Fitted laws.
    alpha : float
        Significance level.

    Returns
    -------
    str
        About the law that predicts the data exponent from the other two.
    """
    _, gamma2, predicted, measured = (laws.exponents[name] for name in EXPONENTS)
    if laws.reasons:
        text = f"Unresolved: {laws.reasons[0]}, so that the law is not tested"
        spread = laws.sensitivity["gamma1"]
        if len(spread):
            text += (
                "; gamma1 depends on the window, from "
                f"{spread.min():.3g} to {spread.max():.3g}"
            )
        return text + "."
    test = laws.consistency
    if not np.isfinite(test.estimate):
        text = f"The law is not tested: {laws.untested}"
        if np.isfinite(gamma2.estimate) and np.isfinite(predicted.estimate):
            text += f"; it would predict an exponent of {predicted.estimate:.3g}"
        return text + "."
    kind = "exponent of the error reached" if laws.is_reached else "measured exponent"
    if test.p_value < alpha:
        text = (
            f"These runs contradict the law: gamma1 * gamma2 differs from the {kind} "
            f"by {test.estimate:+.3f} (p = {test.p_value:.2g})"
        )
    else:
        bound = max(map(abs, test.conf_int(alpha))) / abs(measured.estimate)
        text = f"These runs do not contradict the law (p = {test.p_value:.2g})"
        if bound < 1:
            text += (
                f": more than {bound:.0%} between gamma1 * gamma2 and the {kind} can "
            )
            text += "be excluded"
        else:
            text = (
                f"These runs do not test the law (p = {test.p_value:.2g}): a "
                f"difference as large as the {kind} itself is not excluded"
            )
    if laws.collapse is not None and laws.collapse["p_value"] < alpha:
        text += "; their curves do not fall onto one"
    return text + "."
