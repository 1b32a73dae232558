"""Smoothing and thinning of curves, before any law is fitted."""

import numpy as np
from numpy.testing import assert_allclose

from scalinglaw.datasets import make_trajectories
from scalinglaw.laws._curves import demean, local_linear, thin
from scalinglaw.laws._prepare import prepare


def test_a_local_line_through_a_line_is_that_line():
    x = np.sort(np.random.default_rng(0).uniform(0, 10, (2, 40)), axis=1)
    y = np.array([[2.0], [-1.0]]) - np.array([[0.5], [3.0]]) * x
    value, slope = local_linear(x, x, y, 0.8)
    assert_allclose(value, y)
    assert_allclose(slope, np.broadcast_to([[-0.5], [-3.0]], x.shape))


def test_far_from_all_points_nothing_is_known_and_nothing_warned_of():
    x, y = np.array([[0.0, 1.0, 2.0]]), np.array([[0.0, 1.0, 2.0]])
    value, slope = local_linear(np.array([[1.0, 1e6]]), x, y, 0.5)
    assert_allclose(slope[0, 0], 1.0)
    assert np.isnan(value[0, 1])
    assert np.isnan(slope[0, 1])


def test_missing_points_count_for_nothing():
    x = np.linspace(0, 5, 30)[None]
    y = np.sin(x)
    holes = y.copy()
    holes[0, 10:12] = np.nan
    kept = ~np.isnan(holes[0])
    with_holes = local_linear(x, x, holes, 0.4)
    without = local_linear(x, x[:, kept], y[:, kept], 0.4)
    assert_allclose(with_holes, without)


def test_thinning_keeps_runs_and_their_means():
    prepared = prepare(
        make_trajectories(n_records=60, random_state=0),
        "spectral_complexity",
        "test_error",
    )
    curves = prepared.curves()
    thinned = thin(curves, 20)
    assert (np.bincount(thinned.run) == 20).all()
    for values, thin_values in ((curves.x, thinned.x), (curves.y, thinned.y)):
        assert_allclose(
            np.bincount(curves.run, values) / 60,
            np.bincount(thinned.run, thin_values) / 20,
        )


def test_demeaned_groups_have_mean_zero():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 5, 100)
    left = demean(rng.standard_normal((100, 2)), groups)
    for column in left.T:
        assert_allclose(np.bincount(groups, column), 0, atol=1e-12)
