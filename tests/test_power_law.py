"""One power law: exact recovery, units, clusters, messages."""

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose

from scalinglaw import PowerLawFit


@pytest.mark.parametrize("unit", [1e-3, 1.0, 60.0])
def test_exponent_does_not_depend_on_units(unit):
    x = np.geomspace(1e2, 1e6, 9)
    assert_allclose(PowerLawFit().fit(unit * x, x**-0.5).exponent_, 0.5, rtol=1e-9)


def test_exponent_is_negative_for_growth():
    x = np.geomspace(1, 100, 9)
    assert_allclose(PowerLawFit().fit(x, 3 * x**0.25).exponent_, -0.25, rtol=1e-9)


def test_a_power_law_with_an_offset_is_recovered_exactly():
    x = np.geomspace(1, 1e4, 30)
    fit = PowerLawFit(offset=True).fit(x, 2 * x**-0.7 + 0.05)
    assert_allclose([fit.exponent_, fit.offset_], [0.7, 0.05], rtol=1e-4)
    assert_allclose(fit.predict(x), 2 * x**-0.7 + 0.05, rtol=1e-5)


def test_an_offset_that_is_not_there_stays_zero():
    x = np.geomspace(1, 1e4, 30)
    fit = PowerLawFit(offset=True).fit(x, 2 * x**-0.7)
    assert_allclose([fit.exponent_, fit.offset_], [0.7, 0.0], atol=1e-6)


@pytest.mark.parametrize("cov_type", ["HC3", "HC1", "nonrobust"])
def test_errors_without_groups_are_those_of_statsmodels(cov_type):
    rng = np.random.default_rng(0)
    x = np.geomspace(1, 1e3, 12)
    y = x**-0.5 * np.exp(0.1 * rng.standard_normal(12))
    fit = PowerLawFit(cov_type=cov_type).fit(x, y)
    expected = sm.OLS(np.log(y), sm.add_constant(-np.log(x))).fit(
        cov_type=cov_type, use_t=True
    )
    assert_allclose(fit.bse_, expected.bse)
    assert_allclose(fit.conf_int(0.1), expected.conf_int(0.1))


def test_epochs_of_one_run_are_not_independent_points():
    # Shocks shared by the points of a run: only the interval that knows of the
    # groups covers as often as it says.
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(12), 20)
    x = np.exp(np.tile(np.linspace(0, 1, 20), 12) + groups / 4)
    covered = {"groups": 0, "none": 0}
    for _ in range(300):
        shock = 0.1 * rng.standard_normal(12)[groups]
        y = x**-0.5 * np.exp(shock + 0.01 * rng.standard_normal(240))
        for name, given in (("groups", groups), ("none", None)):
            low, high = PowerLawFit().fit(x, y, given).estimate().conf_int()
            covered[name] += low <= 0.5 <= high
    assert 0.91 <= covered["groups"] / 300 <= 0.985
    assert covered["none"] / 300 < 0.6


def test_bad_values_are_named():
    with pytest.raises(ValueError, match=r"y must be positive .* y\[1\]=-1 \(1 of 3"):
        PowerLawFit().fit([1, 2, 3], [1, -1, 2])
    with pytest.raises(ValueError, match="at least 3 different values, got 2"):
        PowerLawFit().fit([1, 2, 2], [1, 2, 2])
    with pytest.raises(ValueError, match="at least two groups"):
        PowerLawFit().fit([1, 2, 3], [1, 2, 2], groups=["a"] * 3)
    with pytest.raises(ValueError, match="same length"):
        PowerLawFit().fit([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="cov_type must be one of"):
        PowerLawFit(cov_type="HC9").fit([1, 2, 3], [1, 2, 3])


@pytest.mark.parametrize("unit", [1e-15, 1e-9, 1e9])
def test_the_unit_of_y_moves_no_exponent_beside_an_offset(unit):
    rng = np.random.default_rng(0)
    x = np.geomspace(1, 1e3, 12)
    y = (0.1 + x**-0.7) * np.exp(0.01 * rng.normal(size=12))
    one = PowerLawFit(offset=True).fit(x, y)
    other = PowerLawFit(offset=True).fit(x, unit * y)
    assert other.exponent_ == pytest.approx(one.exponent_, rel=1e-6)
