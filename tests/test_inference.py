"""Errors of estimates: CR2, degrees of freedom, products, known noise."""

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from scipy import stats

from scalinglaw.datasets import make_trajectories
from scalinglaw.laws._clusters import cluster_robust, cluster_scores
from scalinglaw.laws._counting_noise import (
    CountingNoise,
    Influence,
    unexplained_variance,
)
from scalinglaw.laws._crossover import at_offset, fit_crossover
from scalinglaw.laws._estimates import Estimate, difference, product, satterthwaite
from scalinglaw.laws._lines import fit_line
from scalinglaw.laws._prepare import prepare
from scalinglaw.laws._shared import Shared
from scalinglaw.laws._size_laws import Heights, fit_growth, growth_with
from scalinglaw.laws._window import average_over_seeds


@pytest.fixture
def clustered():
    rng = np.random.default_rng(0)
    sizes = [3, 7, 12, 5, 9, 20]
    groups = np.repeat(np.arange(len(sizes)), sizes)
    x = rng.standard_normal(len(groups)) + 0.5 * groups
    shock = rng.standard_normal(len(sizes))[groups]
    y = 1.0 - 0.4 * x + 0.3 * shock + 0.2 * rng.standard_normal(len(groups))
    return np.column_stack([np.ones_like(x), x]), y, groups


def _residuals(design, y):
    return y - design @ np.linalg.lstsq(design, y, rcond=None)[0]


def _brute_force(design, residuals, groups, contrast):
    """CR2 and its degrees of freedom from n x n matrices, by their definition."""
    n = len(groups)
    inverse = np.linalg.inv(design.T @ design)
    maker = np.eye(n) - design @ inverse @ design.T
    variance, columns = 0.0, []
    for g in np.unique(groups):
        rows = groups == g
        values, vectors = np.linalg.eigh(maker[np.ix_(rows, rows)])
        adjust = (vectors / np.sqrt(values)) @ vectors.T
        pull = adjust @ design[rows] @ inverse @ contrast
        variance += (pull @ residuals[rows]) ** 2
        columns.append(maker[:, rows] @ pull)
    omega = np.array(columns) @ np.array(columns).T
    return variance, np.trace(omega) ** 2 / np.sum(omega**2)


def test_cr2_equals_its_definition_by_large_matrices(clustered):
    design, y, groups = clustered
    residuals = _residuals(design, y)
    covariance, df = cluster_robust(design, residuals, groups)
    for k in range(2):
        variance, expected = _brute_force(design, residuals, groups, np.eye(2)[k])
        assert_allclose(covariance[k, k], variance, rtol=1e-9)
        assert_allclose(df[k], expected, rtol=1e-9)


@pytest.mark.parametrize(("n0", "n1"), [(27, 3), (25, 5), (8, 8)])
def test_degrees_of_freedom_of_two_samples_are_those_of_imbens_and_kolesar(n0, n1):
    # Imbens and Kolesar, "Robust standard errors in small samples: some practical
    # advice", Rev. Econ. Stat. 98 (2016) 701, section II: for a binary regressor CR2
    # with clusters of one is Welch's variance, and the Bell-McCaffrey degrees of
    # freedom have this form; 2.5 (rounded) for their design of 27 and 3.
    rng = np.random.default_rng(1)
    treated = np.repeat([0.0, 1.0], [n0, n1])
    y = rng.standard_normal(n0 + n1)
    design = np.column_stack([np.ones_like(y), treated])
    covariance, df = cluster_robust(design, _residuals(design, y), np.arange(len(y)))
    welch = y[treated == 0].var(ddof=1) / n0 + y[treated == 1].var(ddof=1) / n1
    assert_allclose(covariance[1, 1], welch, rtol=1e-10)
    expected = ((n0 + n1) ** 2 * (n0 - 1) * (n1 - 1)) / (
        n1**2 * (n1 - 1) + n0**2 * (n0 - 1)
    )
    assert_allclose(df[1], expected, rtol=1e-10)
    if (n0, n1) == (27, 3):
        assert round(df[1], 1) == 2.5


def test_absorbed_heights_leave_cr2_as_it_is_with_dummies(clustered):
    # Pustejovsky and Tipton (2018), theorem 2: effects nested in clusters may be
    # absorbed by demeaning.
    design, y, groups = clustered
    dummies = (groups[:, None] == np.arange(groups.max() + 1)).astype(float)
    full = np.column_stack([design[:, 1], dummies])
    variance, df = _pseudo_brute_force(full, _residuals(full, y), groups)
    means = np.linalg.lstsq(dummies, design[:, 1], rcond=None)[0]
    centred = (design[:, 1] - dummies @ means)[:, None]
    covariance, found = cluster_robust(centred, _residuals(full, y), groups)
    assert_allclose(covariance[0, 0], variance, rtol=1e-9)
    assert_allclose(found[0], df, rtol=1e-9)


def _pseudo_brute_force(design, residuals, groups):
    n = len(groups)
    inverse = np.linalg.inv(design.T @ design)
    maker = np.eye(n) - design @ inverse @ design.T
    contrast = np.eye(design.shape[1])[0]
    variance, columns = 0.0, []
    for g in np.unique(groups):
        rows = groups == g
        values, vectors = np.linalg.eigh(maker[np.ix_(rows, rows)])
        kept = values > 1e-9
        root = vectors[:, kept] / np.sqrt(values[kept]) @ vectors[:, kept].T
        pull = root @ design[rows] @ inverse @ contrast
        variance += (pull @ residuals[rows]) ** 2
        columns.append(maker[:, rows] @ pull)
    omega = np.array(columns) @ np.array(columns).T
    return variance, np.trace(omega) ** 2 / np.sum(omega**2)


def test_clustered_scores_are_those_of_statsmodels(clustered):
    # statsmodels has CR1, CR0 times a factor; without leverage CR2 is CR0.
    design, y, groups = clustered
    many = np.tile(groups, 400) + np.repeat(np.arange(400), len(groups)) * 6
    design, y = np.tile(design, (400, 1)), np.tile(y, 400)
    fitted = sm.OLS(y, design).fit(
        cov_type="cluster", cov_kwds={"groups": many, "use_correction": False}
    )
    covariance, _ = cluster_robust(design, fitted.resid, many)
    assert_allclose(covariance, fitted.cov_params(), rtol=2e-3)


def test_collinear_columns_leave_their_coefficients_without_a_bound(clustered):
    design, y, groups = clustered
    twice = np.column_stack([design, design[:, 1] * 1e6])
    covariance, _ = cluster_robust(twice, _residuals(design, y), groups)
    expected, _ = cluster_robust(design, _residuals(design, y), groups)
    assert_allclose(covariance[0, 0], expected[0, 0])
    assert np.isinf(covariance[1, 1])
    assert np.isinf(covariance[2, 2])


@pytest.mark.parametrize("unit", [1e-8, 1e8])
def test_cr2_does_not_depend_on_the_units_of_the_columns(clustered, unit):
    design, y, groups = clustered
    residuals = _residuals(design, y)
    before, df = cluster_robust(design, residuals, groups)
    after, df_after = cluster_robust(design * [1.0, unit], residuals, groups)
    assert_allclose(after[1, 1] * unit**2, before[1, 1])
    assert_allclose(df_after, df)


def test_interval_uses_students_quantile():
    low, high = Estimate(1.0, 0.1, 4.0).conf_int()
    assert_allclose(high - low, 2 * 0.1 * stats.t.ppf(0.975, 4))


def test_product_of_exact_and_uncertain_scales_the_error():
    found = product(Estimate(2.0, 0.0, np.inf), Estimate(3.0, 0.5, 7.0))
    assert_allclose([found.estimate, found.std_err, found.df], [6.0, 1.0, 7.0])


def test_difference_has_welchs_degrees_of_freedom():
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal(6), 2 * rng.standard_normal(11)
    found = difference(*(Estimate(v.mean(), stats.sem(v), len(v) - 1) for v in (a, b)))
    expected = stats.ttest_ind(a, b, equal_var=False)
    assert_allclose(found.p_value, expected.pvalue)
    assert_allclose(found.df, expected.df)


def test_satterthwaite_of_equal_parts_doubles_the_degrees_of_freedom():
    assert_allclose(satterthwaite(np.array([2.0, 2.0]), np.array([5.0, 5.0])), 10.0)


def test_covariance_of_a_shared_test_set_is_that_of_its_formula():
    rng = np.random.default_rng(3)
    error = rng.uniform(0.05, 0.9, 40)
    weights = rng.standard_normal((3, 40))
    single = (1 / np.maximum.outer(error, error) - 1) / 1000
    found = CountingNoise(1000).covariance(Influence(weights, np.log(error)))
    assert_allclose(found, weights @ single @ weights.T, rtol=1e-10)


def test_variance_of_a_shared_test_set_is_what_simulation_finds():
    rng = np.random.default_rng(4)
    error = np.array([0.6, 0.3, 0.15, 0.08])
    weights = np.array([[0.6, 0.1, -0.2, -0.5]])
    n_test = 20_000
    drawn = []
    for _ in range(2000):
        difficulty = np.sort(rng.random(n_test))
        counted = np.searchsorted(difficulty, error) / n_test
        drawn.append(weights @ np.log(counted))
    noise = CountingNoise(n_test)
    predicted = noise.covariance(Influence(weights, np.log(error)))
    assert_allclose(np.var(drawn), predicted[0, 0], rtol=0.1)


def test_influences_add_and_combine_as_the_numbers_do():
    rng = np.random.default_rng(5)
    y = np.log(rng.uniform(0.05, 0.9, 6))
    heights = Influence.of_heights(y)
    matrix = rng.standard_normal((2, 6))
    combined = matrix @ (heights + 0.5 * heights)
    noise = CountingNoise(500)
    expected = 1.5**2 * matrix @ noise.covariance(heights) @ matrix.T
    assert_allclose(noise.covariance(combined), expected, rtol=1e-10)


def test_known_noise_that_is_all_there_is_leaves_nothing_unexplained():
    rng = np.random.default_rng(6)
    x = np.arange(8.0)
    y = 0.3 * x + 0.1 * rng.standard_normal(8)
    _, results = fit_line(x, y, 1)
    assert_allclose(unexplained_variance(x, y, np.zeros((8, 8))), results.scale)
    assert unexplained_variance(x, y, 100 * results.scale * np.eye(8)) == 0.0


@pytest.fixture(scope="module")
def crossover():
    """A crossover fitted to curves with little noise, and the curves."""
    table = make_trajectories(run_sd=0.005, ar_sd=0.005, random_state=0)
    curves = prepare(table, "spectral_complexity", "test_error").curves()
    return curves, fit_crossover(curves, average_over_seeds(curves))


@pytest.mark.parametrize("level", [-2.5, -2.0, -1.5])
def test_slope_and_knees_move_as_their_influence_says(crossover, level):
    curves, before = crossover

    def bump(y):
        # A change that depends on the error alone, as the noise of a test set does.
        return 0.01 * np.exp(-0.5 * ((y - level) / 0.4) ** 2)

    changed = replace(curves, y=curves.y + bump(curves.y))
    after = fit_crossover(
        changed, average_over_seeds(changed), hinges=(before.curve_fit.model.hinge,)
    )
    slope, knees = before.slope.influence, before.knee_influence
    expected = float(slope.weights[0] @ bump(slope.log_error))
    moved = after.gamma1.estimate - before.gamma1.estimate
    assert_allclose(moved, expected, rtol=0.2, atol=2e-4)
    expected = knees.weights @ bump(knees.log_error)
    assert_allclose(after.knee - before.knee, expected, rtol=0.2, atol=4e-3)


def test_slope_and_knees_move_with_an_offset_as_their_derivatives_say(crossover):
    curves, fit = crossover
    before, after = (at_offset(curves, fit, offset) for offset in (0.0, 5e-4))
    moved = after.gamma1.estimate - before.gamma1.estimate
    assert_allclose(moved / 5e-4, before.slope_move, rtol=0.1)
    assert_allclose((after.knee - before.knee) / 5e-4, before.knee_move, rtol=0.2)


def _heights(value):
    log_size = np.log([250, 500, 1000, 2000, 4000.0])
    return Heights(log_size, np.asarray(value), Influence.of_heights(-log_size))


def test_growth_that_owes_nothing_to_gamma1_has_the_error_of_its_line():
    heights = _heights([1.0, 1.8, 2.4, 3.3, 3.9])
    used = np.ones(5, bool)
    plain, _, _ = fit_growth(heights, 1, (), used, None)
    free = replace(Shared.missing(5), estimate=Estimate(0.5, 0.0, np.inf))
    found = growth_with(heights, [(1.0, free)], used, None)
    assert_allclose(
        [found.estimate, found.std_err, found.df],
        [plain.estimate, plain.std_err, plain.df],
    )


def test_an_error_that_gamma1_and_the_landmarks_share_cancels():
    """What lifts a landmark by the amount by which it lowers gamma1 leaves no error."""
    heights = _heights([1.0, 1.8, 2.4, 3.3, 3.9])
    line, _ = fit_line(heights.log_size, heights.value, 1)
    residuals = heights.value - line.predict(heights.log_size)
    design = np.column_stack([heights.log_size - line.center, np.ones(5)])
    scores = cluster_scores(design, residuals, np.arange(5))[0][:, 0]
    scores *= line.std_err / np.sqrt(scores @ scores)
    own = Estimate(0.5, line.std_err / 2, 3.0)
    slope = replace(Shared.missing(5), estimate=own, scores=-scores / 2.0)
    found = growth_with(heights, [(2.0, slope)], np.ones(5, bool), None)
    assert found.std_err < 1e-12


def test_a_line_predicts_and_bands_as_statsmodels_does():
    rng = np.random.default_rng(6)
    x = np.linspace(2, 9, 7)
    y = 1 - 0.5 * x + 0.05 * rng.standard_normal(7)
    line, _ = fit_line(x, y, -1)
    at = np.array([1.0, 5.0, 12.0])
    fitted = sm.OLS(y, sm.add_constant(x)).fit()
    frame = fitted.get_prediction(sm.add_constant(at)).summary_frame()
    assert_allclose(line.predict(at), frame["mean"])
    assert_allclose(line.conf_band(at)[0], frame["mean_ci_lower"])
    assert_allclose(line.conf_band(at, new_point=True)[1], frame["obs_ci_upper"])


def test_a_train_size_far_from_the_others_is_known_no_better_than_its_seeds():
    log_size = np.log([100, 150, 200, 300, 50_000.0])
    influence = Influence.of_heights(-log_size)
    # The others lie on a line, and the far point is on it whatever its height.
    scatter = np.zeros((5, 5))
    scatter[4, 4] = 0.1
    alone = Heights(log_size, log_size, influence)
    seen = replace(alone, scatter=scatter)
    used = np.ones(5, bool)
    assert growth_with(alone, (), used, None).std_err < 1e-12
    expected = 0.1 * abs(alone.weights[4])
    assert_allclose(growth_with(seen, (), used, None).std_err, expected)
