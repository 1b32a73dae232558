"""An error that neither norm nor data remove: found without bias, in every interval."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose

from scalinglaw import ScalingLawEstimator, backtest
from scalinglaw.datasets import make_trajectories
from scalinglaw.exceptions import UnresolvedExponentWarning

NAMES = ["gamma1", "gamma_predicted", "gamma_measured"]


@pytest.mark.parametrize("offset", [0.01, 0.03, 0.1])
def test_an_error_floor_is_found_without_being_asked_for(offset):
    table = make_trajectories(offset=offset, random_state=3)
    law = ScalingLawEstimator().fit(table)
    assert law.resolved_
    assert_allclose(law.offset_, offset, rtol=0.2)
    assert_allclose(law.exponents_.loc[NAMES, "estimate"], 0.5, rtol=0.04)
    with warnings.catch_warnings():
        # A large floor that is left on bends the curves beyond any law.
        warnings.simplefilter("ignore", UnresolvedExponentWarning)
        with_floor = ScalingLawEstimator(offset=False).fit(table)
    assert with_floor.gamma_measured_.estimate < 0.45
    assert_allclose(law.predict([1000])[0], offset + 0.09, rtol=0.2)


def test_a_loss_with_an_entropy_has_the_exponents_of_what_it_exceeds_it_by():
    table = make_trajectories(random_state=0)
    table["test_loss"] = 1.7 + table.pop("test_error")
    law = ScalingLawEstimator(metric="test_loss").fit(table)
    assert law.resolved_
    assert_allclose(law.offset_, 1.7, rtol=0.01)
    assert_allclose(law.exponents_.loc[NAMES, "estimate"], 0.5, rtol=0.05)


def test_an_offset_that_is_not_there_is_not_taken_off_but_in_the_intervals():
    table = make_trajectories(random_state=0)
    known, sought = (ScalingLawEstimator(offset=o).fit(table) for o in (False, "auto"))
    assert sought.offset_ == 0
    assert_allclose(sought.gamma1_.estimate, known.gamma1_.estimate, rtol=1e-3)
    for name in ("gamma1", "gamma_predicted", "gamma_measured"):
        assert (
            sought.exponents_.loc[name, "std_err"]
            > known.exponents_.loc[name, "std_err"]
        )


def test_slopes_that_differ_by_run_do_not_bias_an_offset():
    """One gamma1 for all runs would draw the offset down by the steeper ones."""
    found = [
        ScalingLawEstimator()
        .fit(make_trajectories(offset=0.02, slope_sd=0.05, random_state=seed))
        .offset_estimate_
        for seed in range(12)
    ]
    offsets = np.array([estimate.estimate for estimate in found])
    assert_allclose(offsets.mean(), 0.02, rtol=0.05)
    errors = np.array([estimate.std_err for estimate in found])
    assert 0.5 < np.sqrt(np.mean(errors**2)) / offsets.std(ddof=1) < 2


def test_intervals_hold_the_error_of_an_offset():
    inside = []
    for seed in range(20):
        table = make_trajectories(offset=0.02, random_state=seed)
        rows = ScalingLawEstimator().fit(table).exponents_.loc[NAMES]
        inside.append((rows["ci_low"] <= 0.5) & (rows["ci_high"] >= 0.5))
    assert np.sum(inside, axis=0).min() >= 17


def test_a_forecast_holds_the_error_of_an_offset():
    design = {"offset": 0.02, "train_sizes": 250 * 2 ** np.arange(8)}
    inside = []
    for seed in range(10):
        table = make_trajectories(**design, random_state=seed)
        table = backtest(ScalingLawEstimator(), table, hold_out=1 / 4)
        table = table[table["method"] == "law"]
        inside.append(table["observed"].between(table["ci_low"], table["ci_high"]))
    assert np.mean(inside) >= 0.85
