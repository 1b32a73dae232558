"""The estimator of the laws: recovery, invariances, traps, messages."""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal

from scalinglaw import (
    PublishedScalingLaw,
    ScalingLawEstimator,
    compare_exponents,
    concat_trajectories,
)
from scalinglaw.datasets import SCENARIOS, make_trajectories, read_published
from scalinglaw.exceptions import (
    CensoredOptimumWarning,
    TrajectoryWarning,
    UnresolvedExponentWarning,
    ZeroNormWarning,
)
from scalinglaw.laws._forecast import scatter_growth

PUBLISHED = Path(__file__).parents[2] / "shared" / "published"
NAMES = ["gamma1", "gamma2", "gamma_predicted", "gamma_measured"]
X = "log_spectral_complexity"


@pytest.fixture(scope="module")
def table():
    return make_trajectories(random_state=0)


@pytest.fixture(scope="module")
def law(table):
    return ScalingLawEstimator().fit(table)


@pytest.mark.parametrize("shape", ["student", "gumbel", "laplace", "quadratic"])
def test_exponents_are_recovered_from_clean_curves(shape):
    clean = dict.fromkeys(("run_sd", "knee_sd", "ar_sd"), 0.0)
    table = make_trajectories(
        gamma1=0.4, gamma2=1.2, shape=shape, **clean, random_state=0
    )
    exponents = ScalingLawEstimator().fit(table).exponents_["estimate"]
    assert_allclose(exponents[NAMES], [0.4, 1.2, 0.48, 0.48], rtol=0.02)


def test_intervals_hold_the_truth_of_one_simulation(law, table):
    for name in NAMES:
        row = law.exponents_.loc[name]
        assert row["ci_low"] < table.attrs["truth"][name] < row["ci_high"]


def test_the_table_of_exponents_and_the_single_ones_agree(law):
    assert list(law.exponents_.index) == NAMES
    columns = ["estimate", "std_err", "df", "ci_low", "ci_high"]
    assert list(law.exponents_.columns) == columns
    for name in NAMES:
        single = getattr(law, f"{name}_")
        row = law.exponents_.loc[name]
        assert_allclose(row[["estimate", "std_err"]], [single.estimate, single.std_err])
        assert_allclose(row[["ci_low", "ci_high"]], single.conf_int(0.05))
        assert_allclose(law.conf_int(0.05).loc[name], single.conf_int(0.05))
    g1, g2 = law.gamma1_.estimate, law.gamma2_.estimate
    assert_allclose(law.gamma_predicted_.estimate, g1 * g2)


def test_consistency_is_predicted_less_measured(law):
    gap = law.gamma_predicted_.estimate - law.gamma_measured_.estimate
    assert_allclose(law.consistency_["difference"], gap, rtol=1e-6)
    ratio = law.consistency_["difference"] / law.consistency_["std_err"]
    assert_allclose(law.consistency_["statistic"], ratio)


@pytest.mark.parametrize("change", ["add 400", "times 60", "times 1/60"])
@pytest.mark.parametrize("scenario", ["base", "shocks"])
def test_the_product_does_not_depend_on_the_unit_of_the_norm(scenario, change):
    table = make_trajectories(**SCENARIOS[scenario], random_state=3)
    changed = table.copy()
    if change == "add 400":
        changed[X] += 400
    else:
        changed[X] *= 60 if change == "times 60" else 1 / 60
    before, after = (ScalingLawEstimator().fit(t) for t in (table, changed))
    for name in ("gamma_predicted", "gamma_measured"):
        first, second = (law.exponents_.loc[name] for law in (before, after))
        assert_allclose(
            first[["estimate", "std_err"]], second[["estimate", "std_err"]], rtol=1e-6
        )


def test_rows_seeds_and_further_columns_do_not_matter(law, table):
    shuffled = table.sample(frac=1, random_state=0)
    renamed = table.assign(seed=table["seed"] + 7)
    wider = table.assign(mood="good")
    for changed in (shuffled, renamed, wider):
        other = ScalingLawEstimator().fit(changed)
        assert_frame_equal(law.exponents_, other.exponents_)


def test_transform_of_the_same_trajectories_gives_the_same_exponents(law, table):
    assert_frame_equal(law.transform(table), law.exponents_)


def test_transform_estimates_another_model_in_the_learned_window(law):
    other = law.transform(make_trajectories(gamma1=0.45, random_state=5))
    assert_allclose(other.loc["gamma1", "estimate"], 0.45, rtol=0.05)


def test_fitting_and_transforming_leave_the_input_alone(table):
    before = table.copy()
    ScalingLawEstimator().fit(table).transform(table)
    assert_frame_equal(table, before)


def test_predictions_extend_a_law_between_the_measured_and_the_predicted_one(law):
    sizes = np.array([500, 4000, 32_000])
    error, low, high = law.predict(sizes, return_interval=True)
    assert ((low < error) & (error < high)).all()
    slopes = np.diff(np.log(error)) / np.diff(np.log(sizes))
    minima = np.log(law.optima_["error"]).groupby(law.optima_["train_size"]).mean()
    measured = np.polyfit(np.log(minima.index), minima, 1)[0]
    predicted = -law.gamma_predicted_.estimate
    assert_allclose(slopes[0], slopes[1])
    assert min(measured, predicted) < slopes[0] < max(measured, predicted)
    assert (high / low)[2] > (high / low)[1]


def test_the_growth_of_scatter_is_found_and_little_is_made_of_chance():
    rng = np.random.default_rng(0)
    sizes = 250.0 * 2 ** np.arange(6)

    def growth(n_seeds, exponent):
        size = np.repeat(sizes, n_seeds)
        return scatter_growth(size, size ** (exponent / 2) * rng.normal(size=len(size)))

    assert growth(500, 0.7) == pytest.approx(0.7, abs=0.1)
    assert growth(500, -0.7) == 0.0
    assert growth(1, 0.7) == 0.0
    # Of equal variances, the sixth above one standard error is taken for growth.
    by_chance = np.array([growth(5, 0.0) for _ in range(1000)])
    assert 0.12 < np.mean(by_chance > 0) < 0.20
    assert by_chance.mean() < 0.05


def test_forecasts_widen_where_slopes_differ_from_run_to_run():
    sizes = 250 * 2 ** np.arange(6)
    design = {"train_sizes": sizes, "n_seeds": 40, "random_state": 1}
    even, uneven = (
        # The error of an offset widens both.
        ScalingLawEstimator(offset=False).fit(
            make_trajectories(**design, slope_sd=slope_sd)
        )
        for slope_sd in (0.0, 0.1)
    )
    wider = []
    for law in (even, uneven):
        _, low, high = law.predict([2000, 128_000], return_interval=True)
        width = np.log(high / low)
        wider.append(width[1] / width[0])
    # 1.27 to 1.65 times in six draws.
    assert wider[1] > 1.2 * wider[0]


def test_a_law_that_is_contradicted_is_not_used_to_forecast():
    law = ScalingLawEstimator().fit(make_trajectories(violation=0.3, random_state=0))
    assert law.consistency_["p_value"] < 0.01
    sizes = np.array([4000, 32_000])
    slope = np.diff(np.log(law.predict(sizes))) / np.log(8)
    minima = np.log(law.optima_["error"]).groupby(law.optima_["train_size"]).mean()
    assert_allclose(slope, np.polyfit(np.log(minima.index), minima, 1)[0])


def test_the_score_is_near_one_on_more_of_the_same_and_low_on_another(law):
    assert law.score(make_trajectories(random_state=9)) > 0.98
    assert law.score(make_trajectories(gamma1=0.2, random_state=9)) < 0.5


def test_a_curve_is_forecast_from_the_collapsed_ones(law, table):
    run = table[(table["train_size"] == 2000) & (table["seed"] == 0)]
    forecast = law.predict_curve(2000, run[X])
    known = np.isfinite(forecast)
    assert known.mean() > 0.9
    gap = np.log(forecast[known] / run["test_error"].to_numpy()[known])
    assert np.sqrt(np.mean(gap**2)) < 0.1


def test_an_explicit_window_is_used_and_gives_a_straight_line_through_it(table):
    law = ScalingLawEstimator(window=(0.02, 0.3)).fit(table)
    assert_allclose(law.window_, (0.02, 0.3))
    inside = law.trajectories_[law.trajectories_["in_window"]]
    landmark = law.landmarks_.set_index("train_size")["log_norm"]
    u = inside["log_norm"] - inside["train_size"].map(landmark)
    assert u.between(np.log(0.02), np.log(0.3)).all()
    assert_allclose(law.gamma1_.estimate, 0.5, rtol=0.05)


def test_the_paper_s_window_can_be_open_on_a_side(table):
    with pytest.warns(UnresolvedExponentWarning, match="not a resolved exponent"):
        law = ScalingLawEstimator(window=(None, 0.3)).fit(table)
    assert law.window_[0] == 0.0
    assert law.gamma1_.estimate < 0.5  # the plateau is in it


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the paper's files are not here")
@pytest.mark.parametrize(
    "name", ["CNN_MNIST", "CNN_CIFAR10", "ResNet_CIFAR10", "ViT_CIFAR10"]
)
def test_the_paper_s_method_gives_the_published_exponents(name):
    expected = json.loads((PUBLISHED / "exponents.json").read_text())[name]
    sizes = expected["train_sizes"]
    law = PublishedScalingLaw(
        window=tuple(expected["window"]),
        min_train_size={
            "gamma1": sizes[expected["first_curve_gamma1"]],
            "gamma2": sizes[expected["first_curve_gamma2"]],
        },
    ).fit(read_published(PUBLISHED / f"{name}.npy"))
    for exponent in NAMES:
        found = law.exponents_.loc[exponent, "estimate"]
        assert_allclose(found, expected[exponent], atol=5e-5, rtol=0)
    for exponent in ("gamma1", "gamma2"):
        assert_allclose(
            law.exponents_.loc[exponent, "std_err"], expected[f"{exponent}_stderr"]
        )


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the paper's files are not here")
@pytest.mark.filterwarnings("ignore::UserWarning")  # none of the four is clean
@pytest.mark.parametrize("name", ["CNN_CIFAR10", "ResNet_CIFAR10", "ViT_CIFAR10"])
def test_the_automatic_window_lands_near_the_hand_picked_gamma1(name):
    expected = json.loads((PUBLISHED / "exponents.json").read_text())[name]
    law = ScalingLawEstimator().fit(read_published(PUBLISHED / f"{name}.npy"))
    assert_allclose(law.gamma1_.estimate, expected["gamma1"], rtol=0.2)


def test_window_sensitivity_spans_the_reported_slope(law):
    spread = law.window_sensitivity_
    assert spread["min"] < spread["median"] < spread["max"]
    assert spread["n_windows"] == len(law.window_grid_) > 20
    assert (law.window_grid_["r_squared"] > 0.9).all()


@pytest.mark.filterwarnings("ignore::UserWarning")  # several reasons are given
def test_a_broad_crossover_is_no_exponent_and_not_tested():
    table = make_trajectories(**SCENARIOS["broad"], random_state=0)
    with pytest.warns(UnresolvedExponentWarning, match="broad"):
        law = ScalingLawEstimator().fit(table)
    assert not law.resolved_
    assert np.isnan(law.consistency_["p_value"])
    assert "effective maximum slope" in str(law.summary())


def test_a_transient_before_the_law_is_left_out_of_it():
    """gamma1 is the law's, and not that of a stretch three times as steep."""
    table = make_trajectories(**SCENARIOS["transient"], random_state=0)
    law = ScalingLawEstimator().fit(table)
    truth = table.attrs["truth"]
    assert law.resolved_
    for name in NAMES:
        row = law.exponents_.loc[name]
        assert row["ci_low"] < truth[name] < row["ci_high"]
    assert_allclose(law.gamma1_.estimate, 0.5, rtol=0.03)
    assert "beyond a log norm of 4." in str(law.summary())


@pytest.mark.parametrize("shape", ["student", "gumbel"])
def test_curves_without_a_transient_are_used_from_their_first_checkpoint(shape):
    table = make_trajectories(shape=shape, random_state=1)
    assert "beyond a log norm" not in str(ScalingLawEstimator().fit(table).summary())


@pytest.mark.filterwarnings("ignore::UserWarning")  # what is warned of is asserted
def test_a_bend_that_all_train_sizes_share_is_no_knee():
    table = make_trajectories(gamma2=1e-3, random_state=0)
    with pytest.warns(UnresolvedExponentWarning, match="knees do not move with the"):
        law = ScalingLawEstimator().fit(table)
    assert not law.resolved_
    assert np.isnan(law.consistency_["p_value"])


@pytest.mark.filterwarnings("ignore::UserWarning")  # what is warned of is asserted
def test_a_fixed_budget_is_flagged_and_gives_no_gamma2_from_minima():
    table = make_trajectories(**SCENARIOS["budget"], random_state=0)
    law = ScalingLawEstimator(landmark="minimum").fit(table)
    assert law.optima_["censored"].mean() > 1 / 3
    assert np.isnan(law.gamma2_.estimate)
    assert "training stopped before the optimum" in " ".join(law.remarks_)


def test_a_slow_tail_is_censored_but_its_knee_is_not():
    table = make_trajectories(**SCENARIOS["tail"], random_state=0)
    with pytest.warns(CensoredOptimumWarning, match="still falls there for 6 of 6"):
        law = ScalingLawEstimator().fit(table)
    assert law.landmark_ == "knee"
    assert_allclose(law.gamma2_.estimate, 1.0, rtol=0.05)
    assert "exponent of the error reached" in " ".join(law.remarks_)


def test_counted_errors_have_the_logarithm_of_their_count_and_a_half():
    table = make_trajectories(n_test=1000, random_state=0)
    table["test_error"] = (table["test_error"] - 0.03).clip(lower=0)
    assert (table["test_error"] == 0).sum() > 10
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        used = ScalingLawEstimator(offset=False).fit(table).trajectories_
    assert_allclose(used["log_error"].min(), np.log(0.5 / 1001))
    assert_allclose(used["log_error"], np.log((1000 * used["error"] + 0.5) / 1001))


def test_zero_errors_without_a_test_size_are_left_out_with_a_warning(table):
    holes = table.assign(test_error=table["test_error"].where(table.index % 97 != 0, 0))
    with pytest.warns(TrajectoryWarning, match="test_error 0 left out"):
        law = ScalingLawEstimator().fit(holes)
    assert len(law.trajectories_) == (table.index % 97 != 0).sum()


def test_gaps_leave_the_longest_stretch_of_each_run(table):
    holes = table.copy()
    holes.loc[(holes["seed"] == 0) & (holes["epoch"] == 5), "test_error"] = np.nan
    with pytest.warns(TrajectoryWarning, match="longest stretch without a gap"):
        law = ScalingLawEstimator().fit(holes)
    first = law.trajectories_.query("seed == 0")["epoch"].min()
    assert first == 6


def test_a_layer_of_zeros_is_left_out_with_a_warning(table):
    zeros = table.copy()
    zeros.loc[zeros["epoch"] == 0, X] = -np.inf
    with pytest.warns(ZeroNormWarning, match="30 checkpoints"):
        law = ScalingLawEstimator().fit(zeros)
    assert_allclose(law.gamma1_.estimate, 0.5, rtol=0.05)


def test_a_norm_that_falls_back_ends_its_run_at_the_maximum(table):
    falling = table.copy()
    last = falling["epoch"] == falling["epoch"].max()
    falling.loc[last, X] -= 3
    with pytest.warns(TrajectoryWarning, match="falls back from its maximum in 30 of"):
        law = ScalingLawEstimator().fit(falling)
    expected = ScalingLawEstimator().fit(table[~last]).exponents_
    assert_frame_equal(law.exponents_, expected)


@pytest.mark.filterwarnings("ignore::UserWarning")  # what is warned of is asserted
def test_a_norm_that_goes_up_and_down_resolves_nothing(table):
    swinging = table.assign(**{X: table[X] + 0.8 * (table.index % 2)})
    with pytest.warns(UnresolvedExponentWarning, match="falls back during training"):
        law = ScalingLawEstimator().fit(swinging)
    assert not law.resolved_
    assert np.isnan(law.exponents_.loc["gamma1", "ci_low"])


def test_percent_errors_are_refused(table):
    with pytest.raises(ValueError, match="divide percentages by 100"):
        ScalingLawEstimator().fit(table.assign(test_error=100 * table["test_error"]))


def test_mixed_models_are_refused(table):
    mixed = concat_trajectories({"a": table, "b": table})
    with pytest.raises(ValueError, match="compare_exponents"):
        ScalingLawEstimator().fit(mixed)


def test_three_train_sizes_have_no_interval_for_gamma2(table):
    few = table[table["train_size"] <= 1000]
    with pytest.warns(UnresolvedExponentWarning, match="3 train sizes are too few"):
        law = ScalingLawEstimator().fit(few)
    assert np.isfinite(law.gamma2_.estimate)
    assert np.isnan(law.gamma2_.std_err)
    assert np.isnan(law.consistency_["p_value"])


def test_one_seed_is_clustered_by_train_size(table):
    law = ScalingLawEstimator().fit(table[table["seed"] == 0])
    assert_allclose(law.gamma1_.estimate, 0.5, rtol=0.05)
    assert np.isfinite(law.gamma1_.std_err)


def test_the_smallest_train_size_holds_for_fits_and_scores(table):
    law = ScalingLawEstimator(min_train_size=500).fit(table)
    assert law.optima_["train_size"].min() == 500
    assert law.lowest_errors(table).index.min() == 500
    ruined = table.copy()
    ruined.loc[ruined["train_size"] == 250, "test_error"] = 0.9
    assert_allclose(law.score(ruined), law.score(table))
    with pytest.raises(TypeError, match="min_train_size must be a number"):
        ScalingLawEstimator(min_train_size={"gamma1": 500}).fit(table)


def test_a_known_optimum_replaces_the_estimated_one(table):
    known = table.assign(log_norm_opt=2.0 + 0.8 * np.log(table["train_size"]))
    law = ScalingLawEstimator().fit(known)
    assert_allclose(law.gamma2_.estimate, 0.8)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"offset": "maybe"}, "offset must be one of 'auto', True, False"),
        ({"norm": "log_path"}, "name without 'log_': write norm='path'"),
        ({"landmark": "top"}, "landmark must be one of"),
        ({"window": (0.3, 0.1)}, "window must have low < high"),
        ({"window": "wide"}, "window must be one of 'auto'"),
        ({"confidence_level": 95}, "confidence_level must be above 0 and below 1"),
        ({"min_train_size": 10**6}, "leaves no train size"),
        ({"norm": "path"}, "lacks the column log_path"),
        ({"metric": "error"}, "lacks the column error"),
    ],
)
def test_bad_parameters_are_named(table, parameters, message):
    with pytest.raises(ValueError, match=message):
        ScalingLawEstimator(**parameters).fit(table)


def test_errors_that_never_fall_are_refused(table):
    with pytest.raises(ValueError, match="does not fall with the norm"):
        ScalingLawEstimator().fit(table.assign(test_error=np.exp(table[X] / 100) / 3))


def test_the_summary_says_how_and_what_may_be_concluded(law):
    text = str(law.summary())
    for words in ("CR2", "clustered by", "Window", "Censored optima", "Collapse"):
        assert words in text
    assert law.conclusion_[:60] in text
    assert max(map(len, text.splitlines())) <= 80
    assert "gamma_predicted" in law._repr_html_()
    assert "ScalingLawEstimator()" in ScalingLawEstimator()._repr_html_()


def test_a_test_that_could_not_fail_is_not_called_one():
    sizes = (500, 1000, 2000, 4000)
    table = make_trajectories(train_sizes=sizes, size_sd=0.3, random_state=1)
    law = ScalingLawEstimator(offset=False).fit(table)
    assert "do not test the law" in law.conclusion_


def test_results_are_statsmodels_regressions(law, table):
    line = law.results_["optimum_law"]
    slope = np.polyfit(
        np.log(law.landmarks_["train_size"]), law.landmarks_["log_norm"], 1
    )
    assert_allclose(line.params[1], slope[0])
    assert set(law.results_) == {"optimum_law", "data_law"}
    for name, exponent in (("optimum_law", "gamma2"), ("data_law", "gamma_measured")):
        reported = law.exponents_.loc[exponent]
        bounds = sorted(np.abs(law.results_[name].conf_int()[1]))
        assert_allclose(law.results_[name].bse[1], reported["std_err"])
        assert_allclose(bounds, [reported["ci_low"], reported["ci_high"]])
    line = ScalingLawEstimator(window=(0.02, 0.3)).fit(table).results_["norm_law"]
    law = ScalingLawEstimator(window=(0.02, 0.3)).fit(table)
    assert_allclose(line.bse[0], law.gamma1_.std_err)


@pytest.mark.slow
def test_intervals_cover_and_the_test_has_its_level_and_power():
    # A short version of benchmarks/coverage.py: 60 replicates of two scenarios. The
    # bounds are three binomial standard errors around the nominal 95 %.
    hits = dict.fromkeys(NAMES, 0)
    rejected = violated = 0
    n = 60
    for seed in range(n):
        scenario = SCENARIOS["shocks" if seed % 2 else "slopes"]
        shape = ("student", "gumbel", "laplace", "quadratic")[seed % 4]
        table = make_trajectories(shape=shape, **scenario, random_state=seed)
        law = ScalingLawEstimator().fit(table)
        for name in NAMES:
            truth = table.attrs["truth"][name]
            hits[name] += law.exponents_.loc[name].pipe(
                lambda row, truth=truth: row["ci_low"] <= truth <= row["ci_high"]
            )
        rejected += law.consistency_["p_value"] < 0.05
        broken = make_trajectories(shape=shape, violation=0.1, random_state=seed)
        violated += ScalingLawEstimator().fit(broken).consistency_["p_value"] < 0.05
    assert all(0.86 * n <= count for count in hits.values()), hits
    assert rejected <= 0.14 * n
    assert violated >= 0.8 * n


def test_one_fit_of_many_rows_keeps_the_exponents():
    dense = make_trajectories(n_records=2000, ar_coef=0.99, random_state=0)
    assert len(dense) == 60_000
    law = ScalingLawEstimator().fit(dense)
    assert_allclose(law.gamma1_.estimate, 0.5, rtol=0.03)


def test_a_table_of_one_run_says_what_is_missing():
    lonely = make_trajectories(train_sizes=[1000], n_seeds=1, random_state=0)
    with pytest.warns(UnresolvedExponentWarning):
        law = ScalingLawEstimator().fit(lonely)
    assert np.isnan(law.gamma2_.estimate)
    assert isinstance(law.exponents_, pd.DataFrame)


@pytest.mark.parametrize("scale", [3e-3, 3e3])
def test_the_unit_of_another_metric_moves_no_interval(scale):
    # n_test is the noise of counted errors, not that of a mean loss.
    table = make_trajectories(n_test=10_000, random_state=0)
    fits = []
    for unit in (1.0, scale):
        table["test_loss"] = unit * table["test_error"]
        fits.append(ScalingLawEstimator(metric="test_loss").fit(table).exponents_)
    assert_allclose(fits[0], fits[1], rtol=1e-6)


def test_a_forecast_curve_is_no_higher_than_the_plateau():
    table = make_trajectories(random_state=1)
    law = ScalingLawEstimator().fit(table)
    log_norm = np.linspace(0, 30, 600)
    curve = law.predict_curve(250, log_norm)
    assert np.nanmax(curve) <= table["test_error"].max()
    with pytest.raises(TypeError, match="train_size must be one number, got 2"):
        law.predict_curve([250, 500], log_norm)


def test_one_train_size_is_the_reason_that_is_given():
    table = make_trajectories(random_state=1)
    with (
        pytest.warns(UnresolvedExponentWarning, match="knees need at least 3"),
        pytest.warns(UnresolvedExponentWarning, match="the table has one train size"),
    ):
        law = ScalingLawEstimator().fit(table[table["train_size"] == 250])
    with pytest.raises(ValueError, match="no data law to forecast from"):
        law.predict([1000])


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"norm": None}, TypeError, "norm must be a name"),
        ({"metric": None}, TypeError, "metric must be a name"),
        ({"min_train_size": "a"}, TypeError, "min_train_size must be a number"),
        ({"min_train_size": [100]}, TypeError, "min_train_size must be a number"),
        ({"min_train_size": np.nan}, ValueError, "min_train_size must be at least 0"),
    ],
)
def test_parameters_that_cannot_be_are_named(parameters, error, message):
    with pytest.raises(error, match=message):
        ScalingLawEstimator(**parameters).fit(make_trajectories(random_state=1))


def test_columns_twice_and_named_indexes():
    table = make_trajectories(random_state=1)
    expected = ScalingLawEstimator().fit(table).exponents_
    indexed = ScalingLawEstimator().fit(table.set_index("seed", drop=False))
    assert_allclose(indexed.exponents_, expected, rtol=0)
    twice = pd.concat([table, table[["epoch"]]], axis=1)
    with pytest.raises(ValueError, match="two columns named 'epoch'"):
        ScalingLawEstimator().fit(twice)


def test_a_paired_comparison_takes_the_train_sizes_of_the_exponent():
    laws = {
        name: ScalingLawEstimator(min_train_size=500).fit(
            make_trajectories(random_state=seed)
        )
        for seed, name in enumerate("ab")
    }
    gap = laws["a"].gamma2_.estimate - laws["b"].gamma2_.estimate
    for paired in (False, True):
        found = compare_exponents(laws, "gamma2", paired=paired).differences
        assert found["difference"].iloc[0] == pytest.approx(gap)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("test_error", 37.5, r"test_error\[0\]=37.5 \(row 0, run"),
        ("seed", np.nan, "whole numbers, got nan in row 0"),
        ("epoch", -1.0, r"epoch must not be negative, got -1 \(row 0, run"),
    ],
)
def test_messages_count_rows_as_the_table_does(column, value, message):
    table = make_trajectories(random_state=1).sample(frac=1.0, random_state=0)
    table = table.astype({column: float})
    table.iloc[0, table.columns.get_loc(column)] = value
    with pytest.raises(ValueError, match=message):
        ScalingLawEstimator().fit(table)


def test_predict_of_a_pipeline_says_that_it_takes_train_sizes(law, table):
    with pytest.raises(ValueError, match="predict takes train sizes, one number each"):
        law.predict(table)
    with pytest.raises(ValueError, match="train_size must be a number or an array"):
        law.predict([[1], [1, 2]])
    with pytest.raises(TypeError, match=r"norm must be a name, .*got 3"):
        ScalingLawEstimator(norm=3).fit(table)
