"""Are the exponents of several models the same, or different?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.iolib.summary2 import Summary
from statsmodels.stats.multitest import multipletests

from .._validation import check_fraction, check_number, check_option, warn_user
from ..exceptions import UnresolvedExponentWarning
from ..trajectories import as_trajectories
from ._estimates import Estimate, difference
from ._estimator import ScalingLawEstimator
from ._lines import fit_line
from ._power_law import PowerLawFit
from ._results import EXPONENTS

__all__ = ["CORRECTIONS", "ExponentComparison", "compare_exponents"]

# Exponents that are but effective where a law is not resolved.
_NEEDS_RESOLVED = ("gamma1", "gamma_predicted")
# Adjustments of p-values that are offered.
CORRECTIONS = ("holm", "bonferroni", "sidak", "holm-sidak", "fdr_bh", "none")


_WHY_NOT = (
    "There the exponent is an effective one, which depends on the points that are "
    "fitted, and no test has a meaning."
)


@dataclass(frozen=True)
class ExponentComparison:
    """What :func:`compare_exponents` found.

    Parameters
    ----------
    exponent : str
        Name of the exponent that was compared.
    exponents : DataFrame
        One row per model: ``estimate``, ``std_err``, ``df``, ``ci_low``, ``ci_high``,
        ``resolved`` (whether the exponent is that of a clean power law).
    differences : DataFrame
        One row per pair, index (``first``, ``second``): ``difference`` (first less
        second), ``std_err``, ``df``, ``ci_low``, ``ci_high`` (of the single
        difference), ``statistic``, ``p_value``, ``p_adjusted``, and with a margin
        ``p_equivalence`` and ``equivalent``. All but the difference are NaN where one
        of the two is not resolved.
    homogeneity : Series
        Welch's test that all are equal: ``statistic`` (F), ``df_num``, ``df_denom``,
        ``p_value``; NaN where a model is not resolved.
    correction : str
        Adjustment of the p-values for multiplicity.
    confidence_level : float
        Coverage of the intervals.
    margin : float or None
        Difference that the equivalence test excludes.
    """

    exponent: str
    exponents: pd.DataFrame
    differences: pd.DataFrame
    homogeneity: pd.Series
    correction: str
    confidence_level: float
    margin: float | None = None

    def summary(self) -> Summary:
        """Return the tables, and how to read them.

        Returns
        -------
        statsmodels Summary
            Prints as text; has ``as_html()``.
        """
        summary = Summary()
        summary.add_title(f"Comparison of {self.exponent}")
        summary.add_df(_with_words(self.exponents), float_format="%.4f")
        pairs = _with_words(self.differences)
        pairs.index = [f"{first} - {second}" for first, second in pairs.index]
        summary.add_df(pairs, float_format="%.4f")
        test = self.homogeneity
        equal = "All equal: not tested."
        if np.isfinite(test["p_value"]):
            equal = (
                f"All equal: F({test['df_num']:.0f}, {test['df_denom']:.1f}) = "
                f"{test['statistic']:.3f}, p = {test['p_value']:.3g}."
            )
        summary.add_text(
            f"{equal} p_adjusted: {self.correction}; intervals are of single "
            "differences."
        )
        if self.margin is not None:
            summary.add_text(
                "equivalent: both one-sided tests reject a difference of "
                f"{self.margin:g} or more, after the same adjustment."
            )
        if not self.exponents["resolved"].all():
            names = ", ".join(self.exponents.index[~self.exponents["resolved"]])
            summary.add_text(f"Not resolved: {names}. {_WHY_NOT}")
        return summary


def compare_exponents(
    laws: Any,
    exponent: str | None = None,
    *,
    correction: str = "holm",
    margin: float | None = None,
    paired: bool = False,
    include_unresolved: bool = False,
    confidence_level: float = 0.95,
    **parameters: Any,
) -> ExponentComparison:
    """Compare one exponent of several models.

    Parameters
    ----------
    laws : dict of str to fitted estimators, or DataFrame
        Two fitted ScalingLawEstimators or more, or two PowerLawFits or more, by name;
        or one trajectory table with a ``model`` column, whose models are then fitted
        one by one.
    exponent : str, optional
        ``"gamma1"``, ``"gamma2"``, ``"gamma_predicted"`` (the default) or
        ``"gamma_measured"``; ``"exponent"`` of PowerLawFits. The first two depend on
        the norm's unit, and on the architecture through it.
    correction : str, default="holm"
        Adjustment of p-values for multiplicity, as statsmodels names it: also
        "bonferroni", "sidak", "holm-sidak", "fdr_bh", or "none".
    margin : float or None, default=None
        Also test equivalence: that the difference is smaller than this.
    paired : bool, default=False
        Models that share seeds and test sets have correlated errors; with
        ``exponent="gamma2"`` or ``"gamma_measured"`` the difference is then taken
        train size by train size, which removes what they share.
    include_unresolved : bool, default=False
        Also test ``gamma1`` and ``gamma_predicted`` of laws that are not resolved.
        Otherwise a warning names them, and their tests are NaN.
    confidence_level : float, default=0.95
        Coverage of the intervals.
    **parameters : dict
        Parameters of the ScalingLawEstimator, for a table.

    Returns
    -------
    ExponentComparison
        Pairwise differences, and one test that all are equal.

    Raises
    ------
    TypeError
        If `laws` is neither a dict of fitted estimators of one kind nor a table.
    ValueError
        If there are fewer than two models, or an exponent that is resolved has no
        interval.

    References
    ----------
    .. [1] B. L. Welch, Biometrika 38 (1951) 330-336, the test of homogeneity.
    .. [2] D. J. Schuirmann, J. Pharmacokin. Biopharm. 15 (1987) 657-680, two one-sided
       tests.

    Examples
    --------
    >>> from scalinglaw import compare_exponents
    >>> from scalinglaw.datasets import make_trajectories
    >>> from scalinglaw import concat_trajectories
    >>> table = concat_trajectories({
    ...     "slow": make_trajectories(gamma1=0.4, random_state=0),
    ...     "fast": make_trajectories(gamma1=0.5, random_state=1),
    ... })
    >>> comparison = compare_exponents(table)
    >>> comparison.differences["difference"].round(1).tolist()
    [-0.1]
    """
    check_option(correction, "correction", CORRECTIONS)
    check_fraction(confidence_level, "confidence_level")
    if margin is not None:
        check_number(margin, "margin", minimum=0.0)
    fitted = _as_laws(laws, parameters)
    exponent = _check_exponent(exponent, fitted)
    estimates = {name: _estimate(law, exponent) for name, law in fitted.items()}
    resolved = {name: _is_resolved(law, exponent) for name, law in fitted.items()}
    tested = resolved if not include_unresolved else dict.fromkeys(fitted, True)
    for name, estimate in estimates.items():
        if tested[name] and not np.isfinite(estimate.std_err):
            raise ValueError(
                f"{exponent} of {name!r} has no interval, so that it cannot be "
                "compared: see its summary() for the reason."
            )
        if not tested[name]:
            estimates[name] = estimate.without_error()
    if not all(tested.values()):
        names = ", ".join(name for name in fitted if not tested[name])
        warn_user(
            f"{exponent} is not resolved in {names}: there it is an effective "
            "exponent, and it is not tested. See summary() of these laws for the "
            "reason, or pass include_unresolved=True.",
            UnresolvedExponentWarning,
        )
    alpha = 1 - confidence_level
    rows = {}
    for first, second in combinations(estimates, 2):
        between = difference(estimates[first], estimates[second])
        if not (tested[first] and tested[second]):
            between = between.without_error()
        elif paired:
            between = _paired_difference(fitted[first], fitted[second], exponent)
        rows[first, second] = _describe(between, alpha, margin)
    differences = pd.DataFrame.from_dict(rows, orient="index")
    differences.index = pd.MultiIndex.from_tuples(rows, names=["first", "second"])
    _adjust(differences, correction, alpha, margin)
    table = pd.DataFrame(
        {
            name: {
                "estimate": found.estimate,
                "std_err": found.std_err,
                "df": found.df,
                "ci_low": found.conf_int(alpha)[0],
                "ci_high": found.conf_int(alpha)[1],
            }
            for name, found in estimates.items()
        }
    ).T
    table["resolved"] = list(resolved.values())
    return ExponentComparison(
        exponent,
        table,
        differences,
        _welch(list(estimates.values())),
        correction,
        confidence_level,
        margin,
    )


def _with_words(table: pd.DataFrame) -> pd.DataFrame:
    """Return a copy with "yes" and "no" for truth values, which print as numbers."""
    words = {
        name: table[name].map({True: "yes", False: "no"})
        for name in ("resolved", "equivalent")
        if name in table
    }
    return table.assign(**words)


def _as_laws(laws: Any, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return fitted estimators by name."""
    if isinstance(laws, Mapping):
        if parameters:
            raise ValueError(
                f"{', '.join(parameters)} cannot be set on laws that are fitted: set "
                "them before fit, or pass a table."
            )
        fitted = {str(name): law for name, law in laws.items()}
        for name, law in fitted.items():
            if not (hasattr(law, "exponents_") or _is_power_law(law)):
                raise TypeError(
                    f"laws[{name!r}] must be a fitted ScalingLawEstimator or "
                    f"PowerLawFit, got {law!r}."
                )
    elif isinstance(laws, (list, tuple)) and any(
        isinstance(law, (ScalingLawEstimator, PowerLawFit)) for law in laws
    ):
        raise TypeError(
            f"laws must be a dict, so that each law has a name, got a "
            f"{type(laws).__name__}. Write compare_exponents({{'a': law, 'b': other}})."
        )
    else:
        table = as_trajectories(laws)
        if "model" not in table:
            raise ValueError(
                "laws must be a dict of fitted laws, or a table with a model column; "
                "concat_trajectories({name: table}) makes one."
            )
        fitted = {
            str(name): ScalingLawEstimator(**parameters).fit(part)
            for name, part in table.groupby("model", sort=False)
        }
    if len(fitted) < 2:
        raise ValueError(f"laws must hold at least two models, got {len(fitted)}.")
    return fitted


def _is_power_law(law: Any) -> bool:
    return isinstance(law, PowerLawFit) and hasattr(law, "params_")


def _check_exponent(exponent: str | None, fitted: dict[str, Any]) -> str:
    """Return the exponent to compare, which all the fitted must have."""
    kinds = {_is_power_law(law) for law in fitted.values()}
    if len(kinds) > 1:
        raise TypeError(
            "laws must be all ScalingLawEstimators or all PowerLawFits, got both."
        )
    options = ("exponent",) if kinds == {True} else EXPONENTS
    if exponent is None:
        return "exponent" if kinds == {True} else "gamma_predicted"
    return str(check_option(exponent, "exponent", options))


def _estimate(law: Any, exponent: str) -> Estimate:
    if _is_power_law(law):
        return law.estimate(exponent)
    found = getattr(law, f"{exponent}_")
    return Estimate(found.estimate, found.std_err, found.df)


def _is_resolved(law: Any, exponent: str) -> bool:
    """Return whether the exponent is that of a clean power law."""
    if _is_power_law(law):
        return bool(np.isfinite(law.estimate(exponent).std_err))
    return bool(law.resolved_) or exponent not in _NEEDS_RESOLVED


def _describe(
    between: Estimate, alpha: float, margin: float | None
) -> dict[str, float]:
    low, high = between.conf_int(alpha)
    row = {
        "difference": between.estimate,
        "std_err": between.std_err,
        "df": between.df,
        "ci_low": low,
        "ci_high": high,
        "statistic": between.statistic,
        "p_value": between.p_value,
    }
    if margin is not None:
        # Equivalence is shown only if both one-sided tests reject.
        distance = (margin - abs(between.estimate)) / between.std_err
        row["p_equivalence"] = float(stats.t.sf(distance, between.df))
    return row


def _adjust(
    differences: pd.DataFrame, correction: str, alpha: float, margin: float | None
) -> None:
    def adjusted(p_values: pd.Series) -> pd.Series:
        found, tested = p_values.copy(), p_values.notna()
        if correction != "none" and tested.any():
            corrected = multipletests(p_values[tested], alpha=alpha, method=correction)
            found[tested] = corrected[1]
        return found

    differences["p_adjusted"] = adjusted(differences["p_value"])
    if margin is not None:
        differences["equivalent"] = adjusted(differences["p_equivalence"]) < alpha


def _paired_difference(first: Any, second: Any, exponent: str) -> Estimate:
    """Regress the difference of landmarks on log train size."""
    columns = {"gamma2": ("log_norm", 1), "gamma_measured": ("log_error", -1)}
    if exponent not in columns:
        raise ValueError(
            "paired=True needs exponent 'gamma2' or 'gamma_measured', got "
            f"{exponent!r}, which is not estimated train size by train size."
        )
    column, sign = columns[exponent]
    merged = first.landmarks_.merge(second.landmarks_, on="train_size")
    merged = merged[~(merged["censored_x"] | merged["censored_y"])]
    if len(merged) < 4:
        raise ValueError(
            "paired=True needs 4 train sizes that both models share, got "
            f"{len(merged)}."
        )
    gap = (merged[f"{column}_x"] - merged[f"{column}_y"]).to_numpy()
    line, _ = fit_line(np.log(merged["train_size"].to_numpy(float)), gap, sign)
    estimate = line.estimate
    for law in (first, second):
        # A test set, and an offset, move all train sizes of a model smoothly, and the
        # gaps do not show it. Of two models on the same examples the noise of counting
        # cancels in part, which these do not tell: it is an upper bound.
        smooth = law.fitted_.smooth_variance(exponent, merged["train_size"].to_numpy())
        estimate = estimate.widened(smooth)
    return estimate


def _welch(estimates: list[Estimate]) -> pd.Series:
    """Return Welch's test of equal means, with weights of inverse variance."""
    values = np.array([estimate.estimate for estimate in estimates])
    weights = np.array([estimate.std_err**-2.0 for estimate in estimates])
    dfs = np.array([estimate.df for estimate in estimates])
    k = len(values)
    if not np.isfinite(weights).all():
        names = ("statistic", "df_num", "df_denom", "p_value")
        return pd.Series(np.nan, index=names, name="homogeneity")
    share = weights / weights.sum()
    center = share @ values
    between = weights @ (values - center) ** 2 / (k - 1)
    # Where all errors are known beforehand, the degrees of freedom are infinite.
    unsure = max(np.sum((1 - share) ** 2 / dfs), 1e-12)
    statistic = between / (1 + 2 * (k - 2) / (k**2 - 1) * unsure)
    df_denom = (k**2 - 1) / (3 * unsure)
    return pd.Series(
        {
            "statistic": statistic,
            "df_num": k - 1.0,
            "df_denom": df_denom,
            "p_value": float(stats.f.sf(statistic, k - 1, df_denom)),
        },
        name="homogeneity",
    )
