"""Exponents of several models: differences, homogeneity, equivalence, forecasts."""

from copy import copy
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal
from scipy import stats
from sklearn.base import clone
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.oneway import anova_generic

from scalinglaw import (
    PowerLawFit,
    ScalingLawEstimator,
    compare_exponents,
    concat_trajectories,
    required_seeds,
)
from scalinglaw.datasets import make_trajectories
from scalinglaw.exceptions import UnresolvedExponentWarning
from scalinglaw.laws import Estimate
from scalinglaw.laws._compare import _welch

TABLES = {
    name: make_trajectories(gamma1=gamma1, random_state=seed)
    for seed, (name, gamma1) in enumerate({"a": 0.4, "b": 0.5, "c": 0.5}.items())
}


@pytest.fixture(scope="module")
def laws():
    # Without the error of an offset, which is most of it.
    law = ScalingLawEstimator(offset=False)
    return {n: clone(law).fit(table) for n, table in TABLES.items()}


def test_different_exponents_differ_and_equal_ones_do_not(laws):
    found = compare_exponents(laws)
    adjusted = found.differences["p_adjusted"]
    assert adjusted["a", "b"] < 1e-5
    assert adjusted["a", "c"] < 1e-5
    assert adjusted["b", "c"] > 0.05
    assert found.homogeneity["p_value"] < 1e-5
    low, high = found.differences.loc[("a", "b"), ["ci_low", "ci_high"]]
    assert low < -0.1 < high


def test_p_values_are_holm_s(laws):
    found = compare_exponents(laws, exponent="gamma2").differences
    assert_allclose(
        found["p_adjusted"], multipletests(found["p_value"], method="holm")[1]
    )


def test_a_table_with_models_gives_what_its_laws_give(laws):
    table = concat_trajectories(TABLES)
    by_laws = compare_exponents(laws)
    by_table = compare_exponents(table, offset=False)
    assert_allclose(by_table.differences, by_laws.differences)


def test_equality_within_a_margin_can_be_shown(laws):
    found = compare_exponents(laws, margin=0.05).differences
    assert found.loc[("b", "c"), "equivalent"]
    assert not found.loc[("a", "b"), "equivalent"]
    row = found.loc[("b", "c")]
    tests = [
        stats.t.sf((row["difference"] + 0.05) / row["std_err"], row["df"]),
        stats.t.cdf((row["difference"] - 0.05) / row["std_err"], row["df"]),
    ]
    assert_allclose(row["p_equivalence"], max(tests))


def test_the_test_of_homogeneity_is_welch_s():
    rng = np.random.default_rng(0)
    samples = [rng.normal(0, s, n) for s, n in ((1, 8), (2, 15), (0.5, 11))]
    estimates = [Estimate(v.mean(), stats.sem(v), len(v) - 1.0) for v in samples]
    expected = anova_generic(
        np.array([v.mean() for v in samples]),
        np.array([v.var(ddof=1) for v in samples]),
        np.array([len(v) for v in samples]),
        use_var="unequal",
    )
    found = _welch(estimates)
    assert_allclose(found["statistic"], expected.statistic)
    assert_allclose(found["p_value"], expected.pvalue)


def test_pairing_removes_what_train_sizes_share(laws):
    shared = np.random.default_rng(0).normal(0, 0.3, 6)
    tables = {}
    for name, table in list(TABLES.items())[1:]:
        code = table.groupby("train_size").ngroup()
        column = "log_spectral_complexity"
        tables[name] = table.assign(**{column: table[column] + shared[code]})
    pair = {n: ScalingLawEstimator(offset=False).fit(t) for n, t in tables.items()}
    single = compare_exponents(pair, "gamma2").differences["std_err"].iloc[0]
    paired = compare_exponents(pair, "gamma2", paired=True).differences
    assert paired["std_err"].iloc[0] < single / 5


def test_pairing_keeps_the_errors_of_offsets():
    """Two curves less the same noise differ by their offsets alone."""
    table = make_trajectories(offset=0.02, random_state=0)
    law = ScalingLawEstimator(offset=True).fit(table)
    paired = compare_exponents({"a": law, "b": law}, "gamma_measured", paired=True)
    landmarks = law.landmarks_
    x = np.log(landmarks["train_size"])
    weights = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    # How far the slope moves where a little more is taken off each error.
    by_offset = np.sum(weights * np.exp(-landmarks["log_error"]))
    expected = 2**0.5 * by_offset * law.offset_estimate_.std_err
    assert_allclose(paired.differences["std_err"].iloc[0], expected)


def test_the_summary_names_what_is_not_resolved(laws):
    text = str(compare_exponents(laws, margin=0.1).summary())
    assert "a - b" in text
    assert "holm" in text
    assert "equivalent" in text


def test_bad_comparisons_are_refused(laws):
    with pytest.raises(ValueError, match="at least two models, got 1"):
        compare_exponents({"a": laws["a"]})
    with pytest.raises(ValueError, match="exponent must be one of"):
        compare_exponents(laws, "gamma3")
    with pytest.raises(ValueError, match="a table with a model column"):
        compare_exponents(TABLES["a"])
    with pytest.raises(TypeError, match=r"laws\['x'\] must be a fitted"):
        compare_exponents({"x": ScalingLawEstimator(), "a": laws["a"]})
    with pytest.raises(ValueError, match="cannot be set on laws that are fitted"):
        compare_exponents(laws, norm="rms")
    with pytest.raises(ValueError, match="paired=True needs exponent"):
        compare_exponents(laws, paired=True)
    with pytest.raises(TypeError, match=r"laws must be a dict.*got a list"):
        compare_exponents(list(laws.values()))
    fit = PowerLawFit().fit([1, 2, 4, 8], [8, 4.1, 2, 1])
    with pytest.raises(TypeError, match="got both"):
        compare_exponents({"a": laws["a"], "fit": fit})
    with pytest.raises(ValueError, match="exponent must be one of 'exponent'"):
        compare_exponents({"a": fit, "b": fit}, "gamma1")


def test_power_laws_are_compared_by_their_exponents():
    rng = np.random.default_rng(0)
    x = np.geomspace(64, 8192, 12)
    fits = {
        name: PowerLawFit().fit(x, x**-gamma * np.exp(0.02 * rng.normal(size=12)))
        for name, gamma in (("a", 0.3), ("b", 0.4), ("c", 0.4))
    }
    found = compare_exponents(fits, exponent="exponent")
    assert found.exponent == "exponent"
    assert found.differences.loc[("a", "b"), "p_adjusted"] < 1e-3
    assert found.differences.loc[("b", "c"), "p_adjusted"] > 0.05
    expected = fits["a"].exponent_ - fits["b"].exponent_
    assert_allclose(found.differences.loc[("a", "b"), "difference"], expected)
    assert_frame_equal(compare_exponents(fits).differences, found.differences)


def test_what_is_not_resolved_is_not_tested_unless_asked_for(laws):
    loose = copy(laws["a"])
    loose.resolved_ = False
    mixed = {"loose": loose, "b": laws["b"], "c": laws["c"]}
    with pytest.warns(UnresolvedExponentWarning, match="not resolved in loose") as seen:
        found = compare_exponents(mixed, margin=0.1)
    assert seen[0].filename == __file__
    row = found.differences.loc[("loose", "b")]
    assert_allclose(
        row["difference"],
        loose.gamma_predicted_.estimate - laws["b"].gamma_predicted_.estimate,
    )
    assert row[["std_err", "ci_low", "p_value", "p_adjusted"]].isna().all()
    assert not row["equivalent"]
    assert np.isfinite(found.differences.loc[("b", "c"), "p_adjusted"])
    assert np.isnan(found.homogeneity["p_value"])
    text = " ".join(str(found.summary()).split())
    assert "Not resolved: loose" in text
    assert "All equal: not tested" in text
    asked = compare_exponents(mixed, include_unresolved=True)
    assert_allclose(asked.differences, compare_exponents(laws).differences)
    # What comes from the minima needs no resolved law.
    assert compare_exponents(mixed, "gamma_measured").exponents["resolved"].all()


@pytest.mark.slow
def test_more_seeds_are_asked_for_narrower_intervals():
    noisy = {"slope_sd": 0.1}
    wide = required_seeds(0.2, design=noisy, n_replicates=6, random_state=0)
    narrow = required_seeds(0.06, design=noisy, n_replicates=6, random_state=0)
    assert wide["enough"].iloc[-1]
    assert narrow["n_seeds"].iloc[-1] > wide["n_seeds"].iloc[-1]
    with pytest.raises(ValueError, match="half_width must be above 0"):
        required_seeds(0.0)


def test_the_half_width_is_that_of_eight_studies_in_ten():
    few, most = (
        required_seeds(
            1e-6, quantile=q, candidates=[2], n_replicates=5, random_state=0
        )["half_width"].iloc[0]
        for q in (0.2, 0.8)
    )
    default = required_seeds(1e-6, candidates=[2], n_replicates=5, random_state=0)
    assert few < most == default["half_width"].iloc[0]


def test_a_design_may_have_any_norm_and_number_of_seeds():
    plans = [
        required_seeds(0.2, design=design, n_replicates=2, random_state=0)
        for design in ({}, {"norm": "frobenius"}, {"n_seeds": 7})
    ]
    for plan in plans[1:]:
        assert_frame_equal(plan, plans[0])


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"design": {"random_state": 0}}, ValueError, "design must not hold random_st"),
        (
            {"design": {"gama1": 0.4}},
            ValueError,
            "design must hold parameters of .*, got 'gama1'; do you mean 'gamma1'",
        ),
        ({"quantile": 1.0}, ValueError, "quantile must be .* below 1, got 1"),
        ({"design": ["norm"]}, TypeError, "design must be a dict.*got list"),
        ({"candidates": 5}, TypeError, "candidates must be a sequence.*got 5"),
        ({"candidates": [2, 2.5]}, TypeError, r"candidates\[1\] must be an integer"),
        ({"candidates": [2, 0]}, ValueError, r"candidates\[1\] must be at least 1"),
        ({"candidates": []}, ValueError, "candidates must hold at least one"),
    ],
)
def test_bad_plans_are_refused_before_any_study(parameters, error, message):
    with pytest.raises(error, match=message):
        required_seeds(0.05, **parameters)


def test_a_summary_names_the_level_of_the_intervals_that_it_shows():
    law = ScalingLawEstimator().fit(TABLES["a"])
    before = str(law.summary())
    assert "[95%" in before
    assert str(law.set_params(confidence_level=0.5).summary()) == before
    assert "[50%" in str(law.fit(TABLES["a"]).summary())


@pytest.mark.filterwarnings("ignore::UserWarning")  # what one size lacks is the point
def test_with_one_train_size_the_conclusion_does_not_blame_training():
    table = TABLES["a"]
    law = ScalingLawEstimator().fit(table[table["train_size"] == 8000])
    text = " ".join(str(law.summary()).split())
    assert "the table has one train size" in text
    assert "too short" not in text


def test_a_shared_test_set_is_in_a_paired_comparison():
    # Its noise moves all gaps of a model alike, and leaves no residual that shows it.
    laws = {
        name: ScalingLawEstimator(offset=False).fit(
            make_trajectories(n_test=2000, random_state=seed)
        )
        for seed, name in enumerate("ab")
    }
    for exponent in ("gamma2", "gamma_measured"):
        with_noise = compare_exponents(laws, exponent, paired=True).differences
        quiet = {name: copy(law) for name, law in laws.items()}
        for law in quiet.values():
            curves = replace(law.fitted_.curves, n_test=None)
            law.fitted_ = replace(law.fitted_, curves=curves)
        without = compare_exponents(quiet, exponent, paired=True).differences
        assert with_noise["difference"].iloc[0] == without["difference"].iloc[0]
        assert with_noise["std_err"].iloc[0] > 1.2 * without["std_err"].iloc[0]
