"""The flow's equation, its Jacobian, and where it ends."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from scalinglaw import make_teacher_student
from scalinglaw.perceptron import _flow as flow_module
from scalinglaw.perceptron._flow import NormFlow, hebb_direction, norm_flow
from scalinglaw.perceptron._losses import LOSSES, find_optimum


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


def _outlier_against_the_rest():
    """Return separable samples whose longest one pulls the norm the wrong way."""
    rng = np.random.default_rng(0)
    rest = np.tile([1.0, 0.5], (50, 1)) + 0.01 * rng.standard_normal((50, 2))
    return np.vstack([[-100.0, 10.0], rest])


def test_the_flow_goes_on_where_the_norm_shrinks_for_a_while():
    signed = _outlier_against_the_rest()
    path = norm_flow(signed, np.geomspace(0.1, 1e4, 20))
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
    with pytest.raises(ValueError, match=r"ended at norm .*, of max_norm=1000"):
        norm_flow(_signed(200, 10), np.geomspace(0.01, 1e3, 10))
