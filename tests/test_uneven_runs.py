"""Runs that ended early must not move the laws of those that did not."""

import warnings

import numpy as np
import pytest

from scalinglaw import ScalingLawEstimator
from scalinglaw.datasets import make_trajectories
from scalinglaw.exceptions import CensoredOptimumWarning, TrajectoryWarning

TRUTH = {"gamma1": 0.5, "gamma2": 1.0}


def _stopped(table, n_records, seeds=(0,), sizes=None):
    """The table, with some runs cut after their first records."""
    epochs = np.sort(table["epoch"].unique())
    cut = table["seed"].isin(seeds) & (table["epoch"] >= epochs[n_records])
    if sizes is not None:
        cut &= table["train_size"].isin(sizes)
    return table[~cut]


@pytest.mark.parametrize("n_records", [2, 3, 6, 20, 30])
@pytest.mark.parametrize("landmark", ["auto", "minimum"])
def test_a_seed_that_stopped_early_moves_no_exponent(n_records, landmark):
    whole = make_trajectories(random_state=1)
    law = ScalingLawEstimator(landmark=landmark)
    expected = law.fit(whole[whole["seed"] != 0]).exponents_
    with pytest.warns(CensoredOptimumWarning, match="6 runs ended long before"):
        law.fit(_stopped(whole, n_records))
    assert law.resolved_
    for name, truth in TRUTH.items():
        row = law.exponents_.loc[name]
        assert row["ci_low"] <= truth <= row["ci_high"]
        assert row["estimate"] == pytest.approx(
            expected.loc[name, "estimate"], rel=0.01
        )
    assert law.consistency_["p_value"] > 0.05


def test_a_seed_that_stopped_early_moves_no_forecast():
    whole = make_trajectories(random_state=1)
    law = ScalingLawEstimator().fit(whole[whole["seed"] != 0])
    expected, low, high = (
        values[0] for values in law.predict([64_000], return_interval=True)
    )
    with pytest.warns(CensoredOptimumWarning):
        law.fit(_stopped(whole, 3))
    assert low < law.predict([64_000])[0] < high
    assert law.predict([64_000])[0] == pytest.approx(expected, rel=0.02)
    assert law.score(whole) > 0.99
    early = law.optima_[law.optima_["seed"] == 0]
    assert early["censored"].all()


def test_complete_runs_are_all_in_the_optima():
    # Seeds whose norms differ end at different norms, and none of them early.
    law = ScalingLawEstimator().fit(make_trajectories(random_state=3))
    assert not law.optima_["censored"].any()


@pytest.mark.parametrize("transient", [0.3, 0.5, 1.0])
def test_a_short_run_does_not_hide_a_transient(transient):
    whole = make_trajectories(transient=transient, random_state=0)
    largest = whole["train_size"].max()
    short = (
        (whole["seed"] == 0) & (whole["train_size"] == largest) & (whole["epoch"] >= 12)
    )
    with pytest.warns(CensoredOptimumWarning):
        law = ScalingLawEstimator().fit(whole[~short])
    assert law.resolved_
    low, high = law.exponents_.loc["gamma1", ["ci_low", "ci_high"]]
    assert low <= 0.5 <= high


def test_a_run_with_one_usable_checkpoint_is_left_out():
    table = make_trajectories(random_state=1).drop(columns="n_test", errors="ignore")
    stump = (table["seed"] == 0) & (table["train_size"] == 250)
    broken = table.copy()
    broken.loc[stump & (table["epoch"] > 0), "test_error"] = 0.0
    law = ScalingLawEstimator()
    with (
        pytest.warns(TrajectoryWarning, match="test_error 0 left out"),
        pytest.warns(TrajectoryWarning, match="1 run left out"),
    ):
        law.fit(broken)
    expected = ScalingLawEstimator().fit(table[~stump]).exponents_
    np.testing.assert_array_equal(law.exponents_, expected)


def test_runs_that_share_no_stretch_of_the_norm_are_fitted():
    # Each on its own curve: their average is nowhere over half of them.
    table = make_trajectories(random_state=1)
    smallest = table["train_size"] == 250
    table.loc[smallest, "log_spectral_complexity"] += 50.0 * table["seed"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        law = ScalingLawEstimator().fit(table)
    assert law.gamma1_.estimate == pytest.approx(0.5, rel=0.05)


def test_seeds_of_one_length_are_none_of_them_early():
    # A seed whose norms are all smaller has its optimum at smaller norms.
    table = make_trajectories(random_state=1)
    table.loc[table["seed"] == 0, "log_spectral_complexity"] -= 5.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        law = ScalingLawEstimator().fit(table)
    assert not law.optima_["censored"].any()


@pytest.mark.parametrize("n_records", [12, 15, 18])
def test_few_records_still_show_the_plateau(n_records):
    # Two checkpoints or more would be smoothed together, and the plateau with them.
    table = make_trajectories(n_records=n_records, random_state=0)
    law = ScalingLawEstimator().fit(table)
    assert law.resolved_
    assert law.gamma1_.estimate == pytest.approx(0.5, rel=0.03)
    for name, truth in TRUTH.items():
        row = law.exponents_.loc[name]
        assert row["ci_low"] <= truth <= row["ci_high"]


def test_very_few_records_are_warned_of():
    table = make_trajectories(n_records=10, random_state=0)
    with pytest.warns(TrajectoryWarning, match=r"10 checkpoints \(median\)"):
        ScalingLawEstimator().fit(table)


def test_many_records_at_every_epoch_are_those_of_a_logarithmic_grid():
    # Of 4,000 checkpoints, equally spaced in the norm, those at 500 equal epochs.
    fine = make_trajectories(n_records=4000, ar_coef=0.997, random_state=0)
    position = fine.groupby(["train_size", "seed"]).cumcount()
    wanted = np.round(np.log(np.arange(1, 501)) / np.log(500) * 3999).astype(int)
    law = ScalingLawEstimator().fit(fine[position.isin(wanted)])
    assert law.resolved_
    for name, truth in TRUTH.items():
        row = law.exponents_.loc[name]
        assert row["ci_low"] <= truth <= row["ci_high"]


def test_a_run_that_has_not_learned_is_named():
    table = make_trajectories(random_state=0)
    diverged = (table["train_size"] == 4000) & (table["seed"] == 2)
    table.loc[diverged, "test_error"] = 0.9
    with (
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        ScalingLawEstimator().fit(table)
    texts = [str(warning.message) for warning in caught]
    assert any("(train_size=4000, seed=2)" in text for text in texts)


def test_intervals_of_fractions_end_at_one():
    # Few counted errors, whose scatter seems to grow without bound.
    table = make_trajectories(n_test=200, random_state=8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        law = ScalingLawEstimator().fit(table)
    error, low, high = law.predict([16_000, 64_000], return_interval=True)
    assert (low < error).all()
    assert (error < high).all()
    assert (high <= 1).all()
