"""The exact perceptron: limits, asymptotic constants, independent checks."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, optimize, special

from scalinglaw import theory

ALPHA = np.geomspace(0.1, 1e6, 15)


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


def test_asymptotic_constants_are_those_of_the_literature():
    # Engel and Van den Broeck (2001); arXiv:2505.13230.
    assert_allclose(1e6 * theory.bayes_error(1e6), 0.441700, atol=1e-6)
    stable = 1e6 * theory.max_stability_error(1e6)
    assert_allclose(stable, theory.MAX_STABILITY_CONSTANT, atol=1e-6)
    assert_allclose(theory.EARLY_PREFACTOR, 0.555174, atol=1e-6)
    ratio = theory.optimal_norm(1e5) / 1e5
    assert_allclose(ratio, theory.OPTIMAL_NORM_CONSTANT, rtol=1e-5)
    excess = theory.optimal_error(1e5) / theory.bayes_error(1e5) - 1
    assert_allclose(excess, 6.29e-4, atol=1e-6)


def test_the_early_law_has_exponent_one_half():
    norm = np.array([100.0, 1000.0])
    relative = theory.generalization_error(1e6, norm) / theory.hebb_error(1e6)
    assert_allclose(relative * np.sqrt(norm), theory.EARLY_PREFACTOR, rtol=1e-3)


def test_bayes_is_best_and_the_optimum_is_close_above():
    alpha = np.geomspace(0.1, 1e5, 12)
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


def _saddle_point_by_quad(alpha, norm, guess):
    """Solve the two equations with adaptive quadrature and a root-finder per point."""

    def step(t, log_two_x):
        def excess(log_v):
            return log_v + np.logaddexp(0, 2 * norm * (t + np.exp(log_v))) - log_two_x

        low = min(log_two_x, -abs(t)) - 2 * norm * (abs(t) + 10) - 10
        return np.exp(optimize.brentq(excess, low, log_two_x, xtol=1e-14))

    def equations(unknown):
        theta, v0 = np.exp(unknown[0]), np.exp(unknown[1])
        log_two_x = unknown[1] + np.logaddexp(0, 2 * norm * v0)
        sin, cos = np.sin(theta), np.cos(theta)

        def gauss(t):
            return np.exp(-0.5 * t * t) / np.sqrt(2 * np.pi)

        first = integrate.quad(
            lambda t: gauss(t) * special.ndtr(cos * t / sin) * step(t, log_two_x) ** 2,
            -9,
            9,
            points=[-sin, 0, sin],
            epsrel=1e-11,
            epsabs=0,
            limit=400,
        )[0]
        second = integrate.quad(
            lambda z: gauss(z) * step(sin * z, log_two_x),
            -9,
            9,
            points=[0],
            epsrel=1e-11,
            epsabs=0,
            limit=400,
        )[0]
        return [
            np.log(2 * alpha * first) - 2 * np.log(sin),
            np.log(alpha * np.sqrt(2 / np.pi) * second) - np.log(cos),
        ]

    found = optimize.root(equations, guess, tol=1e-12)
    return np.exp(found.x[0]) / np.pi


@pytest.mark.parametrize(("alpha", "norm"), [(0.5, 0.3), (3.0, 2.0), (10.0, 1.0)])
def test_the_error_agrees_with_another_quadrature(alpha, norm):
    error = theory.generalization_error(alpha, norm)
    theta = np.pi * error
    guess = [np.log(theta) + 0.05, np.log(np.sqrt(np.pi / 2) * np.cos(theta) / alpha)]
    assert_allclose(_saddle_point_by_quad(alpha, norm, guess), error, rtol=1e-9)


def test_the_error_does_not_depend_on_the_density_of_the_panels(monkeypatch):
    alpha, norm = np.meshgrid(np.geomspace(0.1, 1e6, 6), np.geomspace(1e-3, 1e5, 7))
    coarse = theory.generalization_error(alpha, norm)
    nodes, weights = np.polynomial.legendre.leggauss(30)
    monkeypatch.setattr(theory, "_NODES", nodes)
    monkeypatch.setattr(theory, "_WEIGHTS", weights)
    monkeypatch.setattr(theory, "_U_LENGTH", 1.5)
    monkeypatch.setattr(theory, "_U_REACH", 42.0)
    assert_allclose(theory.generalization_error(alpha, norm), coarse, rtol=1e-9)


def test_students_at_fixed_norm_have_the_error_of_the_theory():
    # Mean-field check at N = 200: minimise the loss on the sphere and compare with
    # the limit, within three standard errors plus the finite-size shift of 1/N.
    n, alpha, norm = 200, 4.0, 2.0
    errors = []
    for seed in range(24):
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
        (lambda: theory.optimal_norm(1e6), "alpha must be from 0.1 to 100000"),
    ],
)
def test_values_out_of_range_are_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
