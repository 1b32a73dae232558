"""Simulated trajectories obey the laws that they claim."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from scalinglaw import check_trajectories
from scalinglaw.datasets import SCENARIOS, make_trajectories

X = "log_spectral_complexity"
SILENT = dict.fromkeys(("run_sd", "knee_sd", "ar_sd", "slope_sd", "size_sd"), 0.0)
# Runs that end before their optimum, and those without a law, have none to recover.
RECOVERED = sorted(set(SCENARIOS) - {"budget", "broad", "broad_start", "no_law"})


def _clean(name="base", **changes):
    """Return one fine run for each size, far from the plateau, without noise."""
    noise = SILENT | {"spikes": 0.0, "failed_seeds": 0, "n_test": None}
    design = SCENARIOS[name] | noise | {"n_records": 4000, "n_seeds": 1} | changes
    return make_trajectories(**design, random_state=0)


def _metric(table):
    return "test_loss" if "test_loss" in table else "test_error"


def _optima(table):
    """Return log train size, log norm and log error, less the offset, at the lowest."""
    metric = _metric(table)
    lowest = table.loc[table.groupby("train_size")[metric].idxmin()]
    error = lowest[metric] - table.attrs["truth"]["offset"]
    return np.log(lowest["train_size"]), lowest[X], np.log(error)


def _runs(table):
    return [run for _, run in table.groupby(["train_size", "seed"])]


@pytest.mark.parametrize("shape", ["student", "gumbel", "laplace", "quadratic"])
def test_optima_without_noise_follow_both_laws(shape):
    table = _clean(gamma1=0.3, gamma2=1.4, shape=shape, stretch=4.0)
    log_size, log_norm, log_error = _optima(table)
    assert_allclose(np.polyfit(log_size, log_norm, 1)[0], 1.4, rtol=2e-3)
    assert_allclose(np.polyfit(log_size, log_error, 1)[0], -0.42, rtol=5e-3)


@pytest.mark.parametrize("name", RECOVERED)
def test_plain_regression_on_clean_curves_finds_the_truth(name):
    table = _clean(name, stretch=4.0)
    truth = table.attrs["truth"]
    log_size, log_norm, log_error = _optima(table)
    measured = -np.polyfit(log_size, log_error, 1)[0]
    assert_allclose(measured, truth["gamma_measured"], rtol=0.01)
    run = _runs(table)[-1]
    x, error = run[X].to_numpy(), run[_metric(table)].to_numpy() - truth["offset"]
    start, unit = x.min(), 1 / truth["gamma1"]
    # Two units in the middle of the law, where the norm grows.
    law = (np.gradient(x) > 0) & (x > start + 2 * unit) & (x < start + 4 * unit)
    slope = np.polyfit(x[law], np.log(error[law]), 1)[0]
    assert_allclose(-slope, truth["gamma1"], rtol=0.01)
    if SCENARIOS[name].get("rise", 0.1) > 0:
        moved = np.polyfit(log_size, log_norm, 1)[0]
        assert_allclose(moved, truth["gamma2"], rtol=0.01)


def test_the_early_law_is_the_same_for_all_train_sizes():
    table = _clean(n_records=2000)
    heights = [np.interp(4.6, run[X], run["test_error"]) for run in _runs(table)]
    assert_allclose(heights, heights[-1], rtol=0.02)


def test_a_violation_changes_the_measured_exponent_alone():
    table = _clean(violation=0.2, stretch=4.0)
    log_size, log_norm, log_error = _optima(table)
    assert_allclose(np.polyfit(log_size, log_norm, 1)[0], 1.0, rtol=5e-3)
    assert_allclose(np.polyfit(log_size, log_error, 1)[0], -0.6, rtol=0.01)
    assert table.attrs["truth"]["gamma_measured"] == pytest.approx(0.6)
    assert not table.attrs["truth"]["law_holds"]


def test_a_norm_s_scale_divides_gamma1_and_multiplies_gamma2():
    truth = make_trajectories(norm_scale=20.0, random_state=0).attrs["truth"]
    assert_allclose([truth["gamma1"], truth["gamma2"]], [0.025, 20.0])
    assert_allclose(truth["gamma_predicted"], 0.5)


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_is_a_valid_table_and_reproducible(name):
    first, second = (
        make_trajectories(**SCENARIOS[name], random_state=3) for _ in range(2)
    )
    check_trajectories(first, norm="spectral_complexity", metric=_metric(first))
    assert first.equals(second)
    assert set(first.attrs["truth"]) == {
        "gamma1",
        "gamma2",
        "gamma_predicted",
        "gamma_measured",
        "offset",
        "law_holds",
    }


@pytest.mark.parametrize("name", ["steeper_tails", "longer_ends"])
def test_laws_that_are_violated_upwards(name):
    truth = make_trajectories(**SCENARIOS[name], random_state=0).attrs["truth"]
    assert_allclose(truth["gamma_measured"], 0.607, atol=1e-3)
    assert_allclose(truth["gamma_predicted"], 0.5, rtol=0.02)
    assert not truth["law_holds"]


@pytest.mark.parametrize("name", ["flatter_tails", "shorter_ends"])
def test_laws_that_are_violated_downwards(name):
    truth = make_trajectories(**SCENARIOS[name], random_state=0).attrs["truth"]
    assert_allclose(truth["gamma_measured"], 0.391, atol=1e-3)
    assert_allclose(truth["gamma_predicted"], 0.5, rtol=0.02)
    assert not truth["law_holds"]


@pytest.mark.parametrize("name", ["steeper_tails", "flatter_tails"])
def test_tails_pass_their_minimum_and_ends_do_not(name):
    ends = [run["test_error"].iloc[-1] for run in _runs(_clean(name))]
    lowest = [run["test_error"].min() for run in _runs(_clean(name))]
    assert np.all(np.divide(ends, lowest) > 1.3)
    for other in ("longer_ends", "shorter_ends", "steeper_ends", "tail"):
        assert all(
            run["test_error"].iloc[-1] == run["test_error"].min()
            for run in _runs(_clean(other))
        )


def test_overfitting_weakens_with_the_train_size():
    rises = [
        np.log(run["test_error"].iloc[-1] / run["test_error"].min())
        for run in _runs(_clean("weaker_overfitting"))
    ]
    assert np.all(np.diff(rises) < 0)
    assert rises[0] > 1.8 * rises[-1]


def test_a_budget_ends_all_runs_at_one_norm():
    table = make_trajectories(**SCENARIOS["budget"], random_state=0)
    ends = table.groupby(["train_size", "seed"])[X].last()
    assert np.ptp(ends) < 0.3


def test_larger_sizes_start_at_larger_norms_beyond_the_plateau():
    runs = _runs(_clean("start"))
    first = [run[X].iloc[0] for run in runs]
    assert_allclose(np.diff(first), 0.6 * np.log(2), atol=0.2)
    assert runs[0]["test_error"].iloc[0] > 0.8
    assert runs[-1]["test_error"].iloc[0] < 0.6


def test_runs_without_a_plateau_start_within_the_law():
    run = _runs(_clean("no_plateau"))[-1].iloc[:500]
    slope = np.polyfit(run[X], np.log(run["test_error"]), 1)[0]
    assert_allclose(slope, -0.5, rtol=0.01)


def test_an_offset_is_added_to_errors_and_losses():
    for name, offset in (("floor_0.1", 0.1), ("entropy", 1.7)):
        table = _clean(name)
        assert table[_metric(table)].min() > offset
        assert table.attrs["truth"]["offset"] == offset
    bare, with_offset = _clean(), _clean("floor_0.1")
    assert_allclose(with_offset["test_error"], bare["test_error"] + 0.1)


def test_one_checkpoint_in_twenty_spikes():
    bare = make_trajectories(random_state=0)["test_error"]
    spiky = make_trajectories(spikes=0.05, random_state=0)["test_error"]
    higher = spiky > bare * (1 + 1e-9)
    assert_allclose(higher.mean(), 0.05, atol=0.015)
    assert_allclose(spiky[~higher], bare[~higher])
    assert np.log(spiky / bare)[higher].mean() > 0.6


def test_a_warm_up_lowers_the_norm_before_it_grows():
    for run in _runs(make_trajectories(**SCENARIOS["warmup"], random_state=0)):
        turn = run[X].to_numpy().argmin()
        assert 4 <= turn <= 7
        assert_allclose(run[X].iloc[0] - run[X].iloc[turn], 1.2, atol=0.2)
        assert np.all(np.diff(run[X].iloc[turn:]) > 0)


def test_weight_decay_folds_the_norm_back_at_the_end():
    for run in _runs(make_trajectories(**SCENARIOS["weight_decay"], random_state=0)):
        turn = run[X].to_numpy().argmax()
        assert 35 <= turn <= 38
        assert_allclose(run[X].iloc[turn] - run[X].iloc[-1], 2.0, atol=0.2)


def test_a_step_of_the_learning_rate_is_a_sudden_drop():
    for run in _runs(_clean("lr_steps")):
        steps = np.diff(np.log(run["test_error"]))
        assert_allclose(steps.min(), -0.3, atol=0.01)
        assert np.sum(steps < -0.1) == 1


def test_double_descent_rises_and_falls_again_to_a_lower_error():
    for run in _runs(_clean("double_descent")):
        slope = np.sign(np.diff(run["test_error"].iloc[500:]))
        assert np.sum(np.diff(slope[slope != 0]) != 0) == 2
        assert run["test_error"].iloc[-1] == run["test_error"].min()


def test_one_seed_of_each_size_fails():
    table = make_trajectories(**SCENARIOS["failed_seeds"], random_state=1)
    ends = table.groupby(["train_size", "seed"])["test_error"].last().unstack()
    assert np.all(ends[0] > 0.8)
    assert np.all(ends.drop(columns=0) < 0.5)
    lowest = table.groupby(["train_size", "seed"])["test_error"].min().unstack()[0]
    assert 0 < np.sum(lowest > 0.8) < len(lowest)  # some never learn, some diverge


def test_without_a_law_the_slope_goes_on_changing():
    run = _runs(_clean("no_law"))[-1]
    x, y = run[X].to_numpy(), np.log(run["test_error"].to_numpy())
    slopes = np.interp([5.0, 6.0, 7.0, 8.0], x, np.gradient(y, x))
    assert np.all(np.diff(slopes) < -0.05)
    truth = _clean("no_law").attrs["truth"]
    assert np.isnan(truth["gamma1"])
    assert not truth["law_holds"]


def test_binomial_noise_has_its_size_and_is_shared_or_not():
    def spread(test_set):
        tables = [
            make_trajectories(
                n_test=500,
                test_set=test_set,
                n_seeds=2,
                train_sizes=[4000],
                **SILENT,
                random_state=seed,
            )
            for seed in range(200)
        ]
        last = np.array([t.groupby("seed")["test_error"].last() for t in tables])
        return last.std(axis=0).mean(), np.corrcoef(last.T)[0, 1]

    exact = make_trajectories(train_sizes=[4000], n_seeds=1, **SILENT, random_state=0)
    error = exact["test_error"].iloc[-1]
    expected = np.sqrt(error * (1 - error) / 500)
    sd_shared, correlation_shared = spread("shared")
    sd_own, correlation_own = spread("own")
    assert_allclose([sd_shared, sd_own], expected, rtol=0.15)
    assert correlation_shared > 0.9
    assert abs(correlation_own) < 0.25


def test_only_a_test_set_known_to_be_shared_has_a_column():
    known, unknown, own = (
        make_trajectories(n_test=500, test_set=kind, random_state=0)
        for kind in ("shared", "unknown", "own")
    )
    assert (known["n_test"] == 500).all()
    assert "n_test" not in unknown
    assert "n_test" not in own
    assert_allclose(unknown["test_error"], known["test_error"])
    assert_allclose(500 * own["test_error"], np.round(500 * own["test_error"]))


def test_noise_between_checkpoints_has_its_autocorrelation():
    table = make_trajectories(
        ar_sd=0.05,
        ar_coef=0.8,
        run_sd=0.0,
        knee_sd=0.0,
        n_seeds=200,
        train_sizes=[1000],
        random_state=0,
    )
    y = np.log(table["test_error"].to_numpy()).reshape(200, -1)
    noise = y - y.mean(axis=0)
    assert_allclose(noise.std(), 0.05, rtol=0.1)
    correlation = np.mean(noise[:, 1:] * noise[:, :-1]) / np.mean(noise**2)
    assert_allclose(correlation, 0.8, atol=0.03)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"gamma1": 0.0}, "gamma1 must be above 0"),
        ({"shape": "erf"}, "shape must be one of"),
        ({"metric": "accuracy"}, "metric must be one of"),
        ({"test_set": "none"}, "test_set must be one of"),
        ({"ar_coef": 1.0}, "ar_coef must be above -1 and below 1"),
        ({"spikes": 1.5}, "spikes must be at least 0 and at most 1"),
        ({"train_sizes": [100, 100]}, "must not repeat a size, got 100"),
        ({"train_sizes": []}, "at least one size"),
        ({"budget": 1.5}, "budget must be above 0 and below 1"),
        ({"rise": np.nan}, "rise must be finite, got nan"),
        ({"violation": np.inf}, "violation must be finite, got inf"),
        ({"failed_seeds": 5}, "failed_seeds must be below n_seeds=5, got 5"),
        ({"end_growth": -5.0}, "runs of train size [0-9]+ would end before"),
        (
            {"metric": "test_loss", "n_test": 100},
            "n_test must be None for metric='test_loss', got 100",
        ),
    ],
)
def test_bad_parameters_are_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        make_trajectories(**parameters)


def test_a_parameter_that_is_no_number_is_named():
    with pytest.raises(TypeError, match="violation must be a number, got 'a'"):
        make_trajectories(violation="a")
