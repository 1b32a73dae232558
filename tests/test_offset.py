"""An error that no norm removes: found without bias, and in every interval."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from scalinglaw import ScalingLawEstimator, backtest
from scalinglaw.datasets import make_trajectories
from scalinglaw.exceptions import UnresolvedExponentWarning
from scalinglaw.laws._curves import as_curves, prepare
from scalinglaw.laws._offset import fit_offset


def test_ignoring_an_offset_biases_gamma1_and_fitting_it_does_not():
    table = make_trajectories(offset=0.02, random_state=0)
    with pytest.warns(UnresolvedExponentWarning, match="offset=True"):
        ignored = ScalingLawEstimator().fit(table)
    fitted = ScalingLawEstimator(offset=True).fit(table)
    assert ignored.gamma1_.estimate < 0.49
    assert_allclose(fitted.gamma1_.estimate, 0.5, rtol=0.03)
    assert_allclose(fitted.offset_, 0.02, rtol=0.2)
    assert_allclose(fitted.predict([1000])[0], 0.02 + 0.09, rtol=0.2)


def test_slopes_that_differ_by_run_do_not_bias_an_offset():
    """One gamma1 for all runs finds 0.016 here, drawn down by the steeper runs."""
    found = [
        fit_offset(as_curves(prepare(table, "spectral_complexity", "test_error")))
        for table in (
            make_trajectories(offset=0.02, slope_sd=0.05, random_state=seed)
            for seed in range(12)
        )
    ]
    offsets = np.array([estimate.estimate for estimate in found])
    assert_allclose(offsets.mean(), 0.02, rtol=0.05)
    errors = np.array([estimate.std_err for estimate in found])
    assert 0.5 < np.sqrt(np.mean(errors**2)) / offsets.std(ddof=1) < 2


def test_intervals_hold_the_error_of_an_offset():
    names = ["gamma1", "gamma_predicted", "gamma_measured"]
    truth = np.array([0.5, 0.5, 0.5])
    inside = []
    for seed in range(20):
        table = make_trajectories(offset=0.02, slope_sd=0.05, random_state=seed)
        law = ScalingLawEstimator(offset=True).fit(table)
        rows = law.exponents_.loc[names]
        inside.append((rows["ci_low"] <= truth) & (truth <= rows["ci_high"]))
    assert np.sum(inside, axis=0).min() >= 17


def test_a_forecast_holds_the_error_of_an_offset():
    design = {"offset": 0.02, "train_sizes": 250 * 2 ** np.arange(8)}
    inside = []
    for seed in range(10):
        table = make_trajectories(**design, random_state=seed)
        table = backtest(ScalingLawEstimator(offset=True), table, hold_out=1 / 4)
        table = table[table["method"] == "law"]
        inside.append(table["observed"].between(table["ci_low"], table["ci_high"]))
    assert np.mean(inside) >= 0.85
