"""Simulated trajectories obey the laws that they claim."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from scalinglaw import check_trajectories
from scalinglaw.datasets import SCENARIOS, make_trajectories

X = "log_spectral_complexity"
SILENT = dict.fromkeys(("run_sd", "knee_sd", "ar_sd"), 0.0)


def _optima(table):
    lowest = table.loc[table.groupby("train_size")["test_error"].idxmin()]
    return np.log(lowest["train_size"]), lowest[X], np.log(lowest["test_error"])


@pytest.mark.parametrize("shape", ["student", "gumbel", "laplace", "quadratic"])
def test_optima_without_noise_follow_both_laws(shape):
    table = make_trajectories(
        gamma1=0.3,
        gamma2=1.4,
        shape=shape,
        n_records=4000,
        n_seeds=1,
        stretch=8.0,
        **SILENT,
        random_state=0,
    )
    log_size, log_norm, log_error = _optima(table)
    assert_allclose(np.polyfit(log_size, log_norm, 1)[0], 1.4, rtol=2e-3)
    assert_allclose(np.polyfit(log_size, log_error, 1)[0], -0.42, rtol=5e-3)


def test_the_early_law_is_the_same_for_all_train_sizes():
    table = make_trajectories(n_records=2000, n_seeds=1, **SILENT, random_state=0)
    heights = [
        np.interp(4.6, run[X], run["test_error"])
        for _, run in table.groupby("train_size")
    ]
    assert_allclose(heights, heights[-1], rtol=0.02)


def test_a_violation_changes_the_measured_exponent_alone():
    table = make_trajectories(
        violation=0.2, n_records=4000, n_seeds=1, stretch=8.0, **SILENT, random_state=0
    )
    log_size, log_norm, log_error = _optima(table)
    assert_allclose(np.polyfit(log_size, log_norm, 1)[0], 1.0, rtol=5e-3)
    assert_allclose(np.polyfit(log_size, log_error, 1)[0], -0.6, rtol=0.01)
    assert table.attrs["truth"]["gamma_measured"] == pytest.approx(0.6)


def test_a_norm_s_scale_divides_gamma1_and_multiplies_gamma2():
    truth = make_trajectories(norm_scale=20.0, random_state=0).attrs["truth"]
    assert_allclose([truth["gamma1"], truth["gamma2"]], [0.025, 20.0])
    assert_allclose(truth["gamma_predicted"], 0.5)


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_is_a_valid_table_and_reproducible(name):
    first, second = (
        make_trajectories(**SCENARIOS[name], random_state=3) for _ in range(2)
    )
    check_trajectories(first, norm="spectral_complexity", metric="test_error")
    assert first.equals(second)


def test_a_budget_ends_all_runs_at_one_norm():
    table = make_trajectories(**SCENARIOS["budget"], random_state=0)
    ends = table.groupby(["train_size", "seed"])[X].last()
    assert np.ptp(ends) < 0.3


def test_binomial_noise_has_its_size_and_is_shared_or_not():
    def spread(shared):
        tables = [
            make_trajectories(
                n_test=500,
                shared_test_set=shared,
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
    sd_shared, correlation_shared = spread(True)
    sd_own, correlation_own = spread(False)
    assert_allclose([sd_shared, sd_own], expected, rtol=0.15)
    assert correlation_shared > 0.9
    assert abs(correlation_own) < 0.25


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
        ({"ar_coef": 1.0}, "ar_coef must be above -1 and below 1"),
        ({"train_sizes": [100, 100]}, "must not repeat a size, got 100"),
        ({"train_sizes": []}, "at least one size"),
        ({"budget": 1.5}, "budget must be above 0 and below 1"),
        ({"rise": np.nan}, "rise must be finite, got nan"),
        ({"log_norm_init": np.nan}, "log_norm_init must be finite, got nan"),
        ({"violation": np.inf}, "violation must be finite, got inf"),
    ],
)
def test_bad_parameters_are_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        make_trajectories(**parameters)


def test_a_parameter_that_is_no_number_is_named():
    with pytest.raises(TypeError, match="violation must be a number, got 'a'"):
        make_trajectories(violation="a")
