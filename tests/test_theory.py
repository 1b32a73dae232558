"""The exact perceptron: limits, asymptotic constants, independent checks."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import optimize, special
from typer.testing import CliRunner

from scalinglaw import theory
from scalinglaw.cli import app
from scalinglaw.theory import _numerics as numerics
from scalinglaw.theory import _saddle as saddle

from .reference import perceptron as reference

GOLDEN = json.loads(Path(reference.__file__).with_suffix(".json").read_text())


@pytest.mark.parametrize("alpha", [0.1, 1.0, 30.0, 1e4])
def test_vanishing_norm_is_hebb(alpha):
    # The first correction is linear in the norm.
    gap = (
        theory.generalization_error(alpha, [1e-3, 2e-3]) / theory.hebb_error(alpha) - 1
    )
    assert abs(gap[0]) < 1e-3
    assert_allclose(gap[1] / gap[0], 2.0, rtol=5e-3)


@pytest.mark.parametrize("alpha", [0.1, 1.0, 30.0])
def test_large_norm_is_maximal_stability(alpha):
    limit = theory.max_stability_error(alpha)
    assert_allclose(theory.generalization_error(alpha, 1e5), limit, rtol=2e-4)


def test_the_constants_are_those_of_the_literature():
    # Engel and Van den Broeck (2001); arXiv:2505.13230.
    limits = GOLDEN["limits"]
    for constant, name, printed in (
        (theory.BAYES_CONSTANT, "bayes", 0.441700),
        (theory.MAX_STABILITY_CONSTANT, "max_stability", 0.500489),
        (theory.OPTIMAL_NORM_CONSTANT, "optimal_norm", 0.883585),
        (theory.EARLY_PREFACTOR, "early_prefactor", 0.555174),
        (theory.OPTIMAL_EXCESS, "optimal_excess", 6.29e-4),
    ):
        assert_allclose(constant, printed, atol=5e-7)
        assert_allclose(constant, limits[name], atol=5e-7)


@pytest.mark.parametrize("alpha", [1e4, 1e6])
def test_the_functions_tend_to_the_constants(alpha):
    limits = GOLDEN["limits"]
    bayes, stable = theory.bayes_error(alpha), theory.max_stability_error(alpha)
    assert_allclose(alpha * bayes, limits["bayes"], rtol=2e-7)
    assert_allclose(alpha * stable, limits["max_stability"], rtol=2e-7)
    ratio = theory.optimal_norm(alpha) / alpha
    assert_allclose(ratio, limits["optimal_norm"], rtol=1e-6)
    excess = theory.optimal_error(alpha) / bayes - 1
    assert_allclose(excess, limits["optimal_excess"], atol=1e-7)


def test_the_early_law_has_exponent_one_half():
    norm = np.array([100.0, 1000.0])
    relative = theory.generalization_error(1e6, norm) / theory.hebb_error(1e6)
    assert_allclose(relative * np.sqrt(norm), theory.EARLY_PREFACTOR, rtol=1e-3)
    assert_allclose(theory.local_slope(1e6, 100.0), 0.5, rtol=1e-3)


@pytest.mark.parametrize(
    ("alpha", "norm"), [(0.1, 2e-3), (5.0, 3.0), (1e3, 1e3), (9.0, 1e5)]
)
def test_the_local_slope_is_the_derivative(alpha, norm):
    h = 1e-2
    error = theory.generalization_error(alpha, norm * np.exp(h * np.arange(-2, 3)))
    difference = np.log(error) @ [1, -8, 0, 8, -1] / (12 * h)
    slope = theory.local_slope(alpha, norm)
    assert_allclose(slope, -difference, rtol=1e-6, atol=1e-11)


def test_the_local_slope_vanishes_at_the_optimum():
    alpha = np.geomspace(0.1, 1e6, 9)
    slope = theory.local_slope(alpha, theory.optimal_norm(alpha))
    assert_allclose(slope, 0.0, atol=1e-9)


def test_bayes_is_best_and_the_optimum_is_close_above():
    alpha = np.geomspace(0.1, 1e6, 12)
    bayes = theory.bayes_error(alpha)
    best = theory.optimal_error(alpha)
    assert (bayes < best).all()
    assert (best <= theory.hebb_error(alpha)).all()
    assert (best <= theory.max_stability_error(alpha)).all()


def test_the_optimal_norm_is_a_minimum():
    alpha = np.array([0.5, 5.0, 500.0])
    norm = theory.optimal_norm(alpha)
    around = theory.generalization_error(
        alpha, norm * np.array([[0.98], [1.0], [1.02]])
    )
    assert (around[1] < around[0]).all()
    assert (around[1] < around[2]).all()
    # The minimum is quadratic: equal steps up and down cost the same to first order.
    assert_allclose((around[0] - around[1]) / (around[2] - around[1]), 1.0, rtol=0.1)


@pytest.mark.parametrize("point", GOLDEN["errors"], ids=str)
def test_the_error_agrees_with_another_quadrature(point):
    error = theory.generalization_error(point["alpha"], point["norm"])
    assert_allclose(error, point["error"], rtol=1e-9)


def test_the_golden_numbers_are_those_of_their_script():
    assert GOLDEN["limits"] == pytest.approx(reference.limits(), rel=1e-7)
    first = GOLDEN["errors"][0]
    again = reference.error_by_quad(first["alpha"], first["norm"])
    assert_allclose(first["error"], again, rtol=1e-12)


def test_the_error_does_not_depend_on_the_density_of_the_panels(monkeypatch):
    alpha, norm = np.meshgrid(np.geomspace(0.1, 1e6, 8), np.geomspace(1e-3, 1e6, 10))
    coarse = theory.generalization_error(alpha, norm)
    monkeypatch.setattr(saddle, "_U_LENGTH", 1.25)
    monkeypatch.setattr(saddle, "_U_REACH", 60.0)
    breaks = np.unique(np.r_[-12, -10, saddle.GAUSS_BREAKS, 10, 12])
    breaks = np.union1d(breaks, (breaks[1:] + breaks[:-1]) / 2)
    monkeypatch.setattr(saddle, "GAUSS_BREAKS", breaks)
    assert_allclose(theory.generalization_error(alpha, norm), coarse, rtol=1e-10)


@pytest.mark.parametrize(
    ("n", "alpha", "norm", "n_seeds"), [(200, 4.0, 2.0, 24), (400, 8.0, 20.0, 12)]
)
def test_students_at_fixed_norm_have_the_error_of_the_theory(n, alpha, norm, n_seeds):
    # Mean-field check: minimise the loss on the sphere and compare with the limit,
    # within three standard errors plus the finite-size shift of 1/N.
    errors = []
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        teacher = rng.standard_normal(n)
        X = rng.standard_normal((int(alpha * n), n))
        signed = X * np.sign(X @ teacher)[:, None]

        def loss(w, signed=signed):
            length = np.linalg.norm(w)
            margin = norm * (signed @ w) / length
            pull = -2 * norm * special.expit(-2 * margin) @ signed
            value = np.logaddexp(0, -2 * margin).sum()
            direction = w / length
            return value, (pull - (pull @ direction) * direction) / length

        w = optimize.minimize(loss, signed.sum(0), jac=True, method="L-BFGS-B").x
        overlap = w @ teacher / np.linalg.norm(w) / np.linalg.norm(teacher)
        errors.append(np.arccos(overlap) / np.pi)
    expected = theory.generalization_error(alpha, norm)
    allowed = 3 * np.std(errors) / np.sqrt(len(errors)) + expected / n
    assert abs(np.mean(errors) - expected) < allowed


def test_the_square_loss_has_its_limit_and_no_power_law():
    norm = np.array([0.05, 0.3, 0.798, 2.0])
    ratio = (theory.square_loss_error(1e6, norm) / theory.hebb_error(1e6)) ** 2
    assert_allclose(ratio, 1 - 2 * np.sqrt(2 / np.pi) * norm + norm**2, rtol=1e-4)


def test_functions_broadcast_and_keep_scalars():
    grid = theory.generalization_error(np.array([[1.0], [2.0]]), np.array([0.1, 1, 10]))
    assert grid.shape == (2, 3)
    assert_allclose(grid[1, 2], theory.generalization_error(2.0, 10.0), rtol=1e-12)
    assert isinstance(theory.generalization_error(2.0, 10.0), float)
    for function in (theory.hebb_error, theory.bayes_error, theory.optimal_norm):
        assert isinstance(function(3.0), float)
        assert function(np.ones((2, 2))).shape == (2, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.generalization_error(1e7, 1.0), "alpha must be from 0.1 to 1e"),
        (lambda: theory.generalization_error(1.0, 0.0), "norm must be from 0.001"),
        (lambda: theory.hebb_error(-1.0), "alpha must be positive and finite, got -1"),
        (lambda: theory.bayes_error([1.0, np.nan]), r"got nan \(1 of 2 values\)"),
        (lambda: theory.optimal_norm(2e6), r"alpha must be from 0.1 to 1e\+06"),
        (lambda: theory.local_slope(1.0, 1e7), "norm must be from 0.001"),
        (lambda: theory.bayes_error(10**400), "alpha must be from .* got inf"),
        (lambda: theory.hebb_error([1, 10**400]), "positive and finite, got inf"),
        (lambda: theory.local_slope(1e300, 1.0), r"got 1e\+300"),
        (lambda: theory.local_slope([[1], [1, 2]], 1.0), "alpha must be a number or"),
        (
            lambda: theory.generalization_error([1.0, 2.0], [1.0, 2.0, 3.0]),
            r"alpha and norm must have shapes that broadcast, got \(2,\) and \(3,\)",
        ),
    ],
)
def test_values_out_of_range_are_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("load", ["3", None, 1j, True, np.datetime64("2020-01-01")])
def test_what_is_no_number_is_named(load):
    with pytest.raises(TypeError, match=r"alpha must hold (real )?numbers, got"):
        theory.hebb_error(load)
    with pytest.raises(TypeError, match=r"norm must hold (real )?numbers, got"):
        theory.generalization_error(1.0, load)


def test_hebb_s_error_is_exact_at_loads_that_squares_cannot_hold():
    alpha = np.array([5e-324, 1e-300, 1e300, 1.7e308])
    tan = np.exp(0.5 * (np.log(np.pi / 2) - np.log(alpha)))
    assert_allclose(theory.hebb_error(alpha), np.arctan(tan) / np.pi, rtol=1e-12)


@pytest.mark.parametrize("shape", [(0,), (0, 3)])
def test_no_loads_have_no_errors(shape):
    none = np.empty(shape)
    for function in (
        theory.bayes_error,
        theory.hebb_error,
        theory.max_stability_error,
        theory.optimal_error,
        theory.optimal_norm,
    ):
        assert function(none).shape == shape
    for function in (
        theory.generalization_error,
        theory.local_slope,
        theory.square_loss_error,
    ):
        assert function(none, 1.0).shape == shape


def test_bracketed_roots_are_found_to_the_last_digits():
    target = np.array([1e-3, 0.5, 7.0, 1e3])
    found = numerics.find_roots(
        lambda x: np.exp(x) - target, np.full(4, -20.0), np.full(4, 20.0)
    )
    assert_allclose(found, np.log(target), atol=1e-11)
    with pytest.raises(RuntimeError, match="no root"):
        numerics.find_roots(lambda x: 1 + x**2, np.array([-1.0]), np.array([1.0]))


def test_the_command_prints_whole_numbers_on_80_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    norms = [word for norm in ("0.1", "1", "10") for word in ("--norm", norm)]
    printed = CliRunner().invoke(app, ["theory", "1", "20", "1e6", *norms]).output
    assert "…" not in printed
    for load in (1.0, 20.0, 1e6):
        assert f"{theory.optimal_error(load):.4g}" in printed
        assert f"{theory.generalization_error(load, 10.0):.4g}" in printed
