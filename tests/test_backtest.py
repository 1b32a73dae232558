"""Forecasts of the larger train sizes from the smaller ones, beside baselines."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from scalinglaw import ScalingLawEstimator, backtest
from scalinglaw.datasets import make_trajectories

TABLES = {
    "a": make_trajectories(gamma1=0.4, random_state=0),
    "b": make_trajectories(gamma1=0.5, random_state=1),
}


def test_a_backtest_forecasts_the_largest_sizes_with_all_methods():
    table = backtest(ScalingLawEstimator(), TABLES["b"])
    assert list(table.columns) == [
        "method",
        "train_size",
        "predicted",
        "ci_low",
        "ci_high",
        "observed",
        "log_error",
    ]
    assert set(table["train_size"]) == {4000, 8000}
    assert set(table["method"]) == {"law", "last_value", "power", "power_offset"}
    assert_allclose(table["log_error"], np.log(table["predicted"] / table["observed"]))
    rms = table["log_error"].pow(2).groupby(table["method"]).mean() ** 0.5
    assert rms["law"] < 0.1 < rms["last_value"]


@pytest.mark.slow
def test_prediction_intervals_of_the_backtest_cover():
    covered = []
    for seed in range(40):
        table = backtest(ScalingLawEstimator(), make_trajectories(random_state=seed))
        law = table[table["method"] == "law"]
        covered += law["observed"].between(law["ci_low"], law["ci_high"]).tolist()
    assert 0.8 <= np.mean(covered) <= 1.0


def test_too_few_train_sizes_cannot_be_backtested():
    few = TABLES["a"][TABLES["a"]["train_size"] <= 1000]
    with pytest.raises(ValueError, match="leaves 2 to fit"):
        backtest(ScalingLawEstimator(), few)


@pytest.mark.parametrize("law", ["pooled", TABLES["a"], None])
def test_a_backtest_wants_the_law_first(law):
    kind = type(law).__name__
    with pytest.raises(TypeError, match=f"law, the first argument.*got {kind}"):
        backtest(law, TABLES["a"])


def test_every_method_but_the_last_value_has_a_prediction_interval():
    table = backtest(ScalingLawEstimator(), TABLES["b"])
    last = table["method"] == "last_value"
    assert table.loc[last, ["ci_low", "ci_high"]].isna().all(axis=None)
    rest = table[~last]
    assert (rest["ci_low"] < rest["predicted"]).all()
    assert (rest["predicted"] < rest["ci_high"]).all()


def test_three_sizes_leave_no_offset_to_fit():
    few = TABLES["b"][TABLES["b"]["train_size"] <= 2000]
    table = backtest(ScalingLawEstimator(), few, hold_out=0.25)
    assert set(table["train_size"]) == {2000}
    found = table.set_index("method")["predicted"]
    assert found["power"] == found["power_offset"]


def test_a_floor_that_the_errors_show_is_forecast():
    sizes = [250 * 2**k for k in range(8)]
    rms = []
    for seed in range(6):
        made = make_trajectories(offset=0.02, train_sizes=sizes, random_state=seed)
        table = backtest(ScalingLawEstimator(offset=True), made)
        square = table["log_error"].pow(2)
        rms.append(square.groupby(table["method"]).mean() ** 0.5)
    typical = np.median(rms, axis=0)
    found = dict(zip(rms[0].index, typical, strict=True))
    assert found["power_offset"] < 0.5 * found["power"]
