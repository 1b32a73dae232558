"""The flow's equation, its Jacobian, and the samples it may leave out."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

import scalinglaw.perceptron.flow as flow_module
from scalinglaw import make_teacher_student
from scalinglaw.perceptron.flow import NormFlow, hebb_direction, norm_flow
from scalinglaw.perceptron.krylov import KrylovBDF
from scalinglaw.perceptron.losses import LOSSES
from scalinglaw.perceptron.optimum import find_optimum
from scalinglaw.perceptron.screening import ScreenedSamples


def _signed(n_samples, n_features, seed=0):
    X, y, _ = make_teacher_student(n_samples, n_features, random_state=seed)
    return X * y[:, None]


def _state(signed, norm, seed=5):
    """Return a state off the path, and not quite of unit length."""
    rng = np.random.default_rng(seed)
    n = hebb_direction(signed) + 0.1 * rng.standard_normal(signed.shape[1])
    return np.append(1.01 * n / np.linalg.norm(n), np.log(norm))


@pytest.mark.parametrize("loss", ["logistic", "square"])
@pytest.mark.parametrize("norm", [0.1, 3.0, 100.0])
def test_the_jacobian_is_the_derivative_of_the_velocity(loss, norm):
    signed = _signed(120, 8)
    flow, state = NormFlow(signed, LOSSES[loss]), _state(signed, norm)
    h = 1e-6
    numerical = np.column_stack(
        [
            (flow.velocity(0, state + h * e) - flow.velocity(0, state - h * e))
            / (2 * h)
            for e in np.eye(9)
        ]
    )
    exact = flow.jacobian(0, state)
    assert_allclose(exact, numerical, rtol=1e-5, atol=1e-6 * np.abs(exact).max())


def test_the_path_keeps_its_direction_of_unit_length_and_its_gradient_flow():
    # Along gradient flow dw is parallel to g: check it between close records.
    signed = _signed(300, 20)
    norms = np.geomspace(0.01, 1e3, 4001)
    path = norm_flow(signed, norms, rtol=1e-8, atol=1e-10)
    assert_allclose(np.linalg.norm(path.directions, axis=1), 1.0, rtol=1e-12)
    w = path.directions * norms[:, None]
    for k in (100, 1500, 2500, 3900):
        step = w[k + 1] - w[k - 1]
        g = LOSSES["logistic"].weights(signed @ w[k]) @ signed
        cosine = step @ g / np.linalg.norm(step) / np.linalg.norm(g)
        assert cosine == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("load", [2, 20])
def test_loose_tolerances_cost_less_than_a_ten_thousandth_of_the_error(load):
    X, y, teacher = make_teacher_student(60 * load, 60, random_state=1)
    norms = np.geomspace(0.01, 1e4, 60)
    teacher = teacher / np.linalg.norm(teacher)

    def error(**tolerances):
        directions = norm_flow(X * y[:, None], norms, **tolerances).directions
        return np.arccos(directions @ teacher)

    assert_allclose(error(), error(rtol=1e-9, atol=1e-11), rtol=1e-4)


def test_samples_left_out_have_no_weight_at_any_direction_they_are_used_for():
    rng = np.random.default_rng(3)
    signed = _signed(4000, 30)
    samples = ScreenedSamples(signed)
    n = hebb_direction(signed)
    shares = []
    for norm in np.geomspace(20.0, 2e3, 300):
        n = n + 2e-4 * rng.standard_normal(30)
        n /= np.linalg.norm(n)
        kept = samples.at(norm, n)
        weights = LOSSES["logistic"].weights(norm * (signed @ n))
        kept_weights = LOSSES["logistic"].weights(norm * (kept @ n))
        assert kept_weights.max() == 1.0
        assert weights.sum() - kept_weights.sum() < 1e-11
        shares.append(len(kept) / len(signed))
    assert shares[-1] < 0.1 * shares[0]


def test_the_path_is_the_same_without_leaving_out_samples(monkeypatch):
    signed = _signed(1500, 30)
    norms = np.geomspace(0.01, 1e3, 30)
    screened = norm_flow(signed, norms, rtol=1e-7, atol=1e-9).directions
    monkeypatch.setattr(ScreenedSamples, "at", lambda self, *_: self._all)
    full = norm_flow(signed, norms, rtol=1e-7, atol=1e-9).directions
    assert_allclose(screened, full, atol=1e-8)


def test_the_square_loss_is_never_screened():
    samples = ScreenedSamples(_signed(500, 10), screen=False)
    assert len(samples.at(1e4, np.eye(10)[0])) == 500


@pytest.mark.parametrize("loss", ["logistic", "square"])
@pytest.mark.parametrize("norm", [0.1, 100.0])
def test_the_operator_is_the_jacobian(loss, norm):
    signed = _signed(400, 12)
    flow, state = NormFlow(signed, LOSSES[loss]), _state(signed, norm)
    times = flow.operator(0, state)
    product = np.column_stack([times(e) for e in np.eye(13)])
    exact = flow.jacobian(0, state)
    assert_allclose(product, exact, rtol=1e-6, atol=1e-9 * np.abs(exact).max())


@pytest.mark.parametrize("load", [2, 20])
def test_the_path_is_the_same_without_a_matrix(load):
    signed = _signed(50 * load, 50, seed=2)
    norms = np.geomspace(0.01, 1e3, 40)
    exact = norm_flow(signed, norms, rtol=1e-8, atol=1e-10).directions
    krylov = norm_flow(signed, norms, linear_solver="krylov").directions
    assert_allclose(krylov, exact, atol=1e-5)


def test_the_matrix_free_flow_notices_where_the_norm_stops():
    X, y, _ = make_teacher_student(400, 20, flip_probability=0.2, random_state=4)
    norms = np.geomspace(0.01, 1e3, 40)
    dense = norm_flow(X * y[:, None], norms)
    krylov = norm_flow(X * y[:, None], norms, linear_solver="krylov")
    assert krylov.stop_reason == dense.stop_reason == "norm_converged"
    assert abs(len(krylov.norms) - len(dense.norms)) <= 1


def test_backward_differentiation_follows_a_stiff_equation_to_its_tolerance():
    # y' = A (y - cos t) - sin t with y(0) = 1: the solution is cos t, whatever the
    # rates, here from 1 to 1e5.
    rates = -np.geomspace(1.0, 1e5, 12)
    times = np.linspace(0.0, 6.0, 25)
    steps = []
    for rtol in (1e-4, 1e-7):
        solution = solve_ivp(
            lambda t, y: rates * (y - np.cos(t)) - np.sin(t),
            (0.0, 6.0),
            np.ones(12),
            method=KrylovBDF,
            t_eval=times,
            operator=lambda t, y: lambda v: rates * v,
            rtol=rtol,
            atol=rtol,
        )
        assert solution.success
        assert np.abs(solution.y - np.cos(times)).max() < 30 * rtol
        steps.append(solution.nfev)
    # An explicit method would need 1e5 evaluations; an order above 2 shows in that
    # a thousandth of the tolerance costs far less than 32 times as many.
    assert steps[0] < 200
    assert steps[1] < 8 * steps[0]


def _outlier_against_the_rest():
    """Return separable samples whose longest one pulls the norm the wrong way."""
    rng = np.random.default_rng(0)
    rest = np.tile([1.0, 0.5], (50, 1)) + 0.01 * rng.standard_normal((50, 2))
    return np.vstack([[-100.0, 10.0], rest])


@pytest.mark.parametrize("linear_solver", ["dense", "krylov"])
def test_the_flow_goes_on_where_the_norm_shrinks_for_a_while(linear_solver):
    signed = _outlier_against_the_rest()
    path = norm_flow(signed, np.geomspace(0.1, 1e4, 20), linear_solver=linear_solver)
    assert path.stop_reason == "max_norm"
    n = path.directions[-1]
    # Two support vectors hold the largest margin in the plane.
    angles = np.linspace(0, 2 * np.pi, 200_001)
    best = (signed @ [np.cos(angles), np.sin(angles)]).min(axis=0).max()
    assert_allclose((signed @ n).min(), best, rtol=1e-3)


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e2])
def test_the_optimum_scales_with_the_inputs(scale):
    X, y, _ = make_teacher_student(300, 15, flip_probability=0.2, random_state=4)
    signed = X * y[:, None]
    unit = find_optimum(signed, "logistic", hebb_direction(signed))
    start = hebb_direction(signed) / scale
    assert_allclose(find_optimum(scale * signed, "logistic", start), unit / scale,
                    rtol=1e-6, atol=1e-8 / scale)  # fmt: skip
    gradient = LOSSES["logistic"].weights(signed @ unit) @ signed
    assert np.abs(gradient).max() < 1e-6


def test_a_flow_that_cannot_go_on_says_where_it_ended(monkeypatch):
    monkeypatch.setattr(flow_module, "_LONGEST", 0.1)
    with pytest.raises(RuntimeError, match=r"ended at norm .*, of 1000"):
        norm_flow(_signed(200, 10), np.geomspace(0.01, 1e3, 10))
