"""The contract of estimators: scikit-learn's own checks, and a home contract."""

import inspect
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

import scalinglaw
from scalinglaw import (
    CNNClassifier,
    LogisticPerceptron,
    PowerLawFit,
    PublishedScalingLaw,
    ResNetClassifier,
    ScalingLawEstimator,
    TrajectoryClassifier,
    TrajectorySweep,
    ViTClassifier,
)
from scalinglaw.datasets import load_images, make_trajectories


def _needs_array_api(check):
    return "array_api" in getattr(check, "func", check).__name__


@parametrize_with_checks([TrajectoryClassifier(), LogisticPerceptron()])
def test_sklearn_s_own_checks_pass(estimator, check):
    if _needs_array_api(check):
        # scipy reads the variable when it is imported, and sklearn skips without it.
        _check_in_a_process_with_array_api(type(estimator).__name__)
    else:
        check(estimator)


def _check_in_a_process_with_array_api(name):
    code = (
        f"import scalinglaw, tests.test_common as common\n"
        f"from sklearn.utils.estimator_checks import estimator_checks_generator\n"
        f"found = 0\n"
        f"for e, check in estimator_checks_generator(scalinglaw.{name}()):\n"
        f"    if common._needs_array_api(check):\n"
        f"        check(e)\n"
        f"        found += 1\n"
        f"print(found)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert int(process.stdout) > 0


def _iris():
    X, y = load_iris(return_X_y=True)
    return (X - X.mean(axis=0)) / X.std(axis=0), y


def _digits():
    X, y = load_images("digits")
    return X[:150], y[:150]


def _curve():
    x = np.geomspace(1, 100, 12)
    return x, 2 * x**-0.5 * np.exp(0.01 * np.cos(7 * np.arange(12)))


# An instance of every public estimator, small enough to fit at once, and its data.
SMALL = {
    "TrajectoryClassifier": (
        TrajectoryClassifier(max_epochs=3, random_state=0, device="cpu"),
        _iris,
    ),
    "LogisticPerceptron": (LogisticPerceptron(max_norm=10.0), _iris),
    "CNNClassifier": (
        CNNClassifier(
            conv_widths=(2, 4),
            hidden_width=8,
            max_epochs=2,
            random_state=0,
            device="cpu",
        ),
        _digits,
    ),
    "ResNetClassifier": (
        ResNetClassifier(
            widths=(2, 4), depths=(1, 1), max_epochs=2, random_state=0, device="cpu"
        ),
        _digits,
    ),
    "ViTClassifier": (
        ViTClassifier(depth=1, width=8, max_epochs=2, random_state=0, device="cpu"),
        _digits,
    ),
    "PowerLawFit": (PowerLawFit(), _curve),
    "PublishedScalingLaw": (
        PublishedScalingLaw(window=(0.02, 0.3)),
        lambda: (make_trajectories(random_state=0), None),
    ),
    "ScalingLawEstimator": (
        ScalingLawEstimator(),
        lambda: (make_trajectories(random_state=0), None),
    ),
    "TrajectorySweep": (
        TrajectorySweep(
            LogisticPerceptron(max_norm=10.0, n_records=8),
            train_sizes=[20, 60],
            n_seeds=2,
            random_state=0,
        ),
        _iris,
    ),
}
# What a fitted estimator of each kind says, as arrays that can be compared.
FACTS = {
    "PublishedScalingLaw": lambda e, X: e.exponents_.to_numpy(),
    "ScalingLawEstimator": lambda e, X: e.exponents_.to_numpy(),
    "PowerLawFit": lambda e, X: e.params_.to_numpy(),
    "TrajectorySweep": lambda e, X: e.trajectories_.to_numpy(),
}


def _facts(name, estimator, X):
    return FACTS.get(name, lambda e, X: e.predict_proba(X))(estimator, X)


def test_every_public_estimator_is_under_contract():
    public = {
        name
        for name in scalinglaw.__all__
        if inspect.isclass(getattr(scalinglaw, name))
        and issubclass(getattr(scalinglaw, name), BaseEstimator)
    }
    assert public == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
class TestContract:
    def test_constructor_stores_and_does_nothing_else(self, name):
        estimator, _ = SMALL[name]
        given = estimator.get_params(deep=False)
        assert set(given) == set(vars(estimator))
        for parameter, value in given.items():
            assert getattr(estimator, parameter) is value

    def test_clone_and_set_params_round_trip(self, name):
        estimator, _ = SMALL[name]
        copy = clone(estimator)
        assert copy is not estimator
        assert repr(copy) == repr(estimator)
        copy.set_params(**estimator.get_params(deep=False))
        assert name in repr(copy)

    def test_unfitted_says_so(self, name):
        estimator, make = SMALL[name]
        method = next(
            m for m in ("predict", "transform") if hasattr(type(estimator), m)
        )
        with pytest.raises(NotFittedError):
            getattr(clone(estimator), method)(make()[0])

    def test_refit_repeats_and_pickle_keeps(self, name):
        estimator, make = SMALL[name]
        X, y = make()
        fitted = clone(estimator).fit(X, y)
        facts = _facts(name, fitted, X)
        assert_array_equal(_facts(name, fitted.fit(X, y), X), facts)
        loaded = pickle.loads(pickle.dumps(fitted))
        assert_array_equal(_facts(name, loaded, X), facts)

    def test_fit_returns_itself_and_leaves_its_parameters(self, name):
        estimator, make = SMALL[name]
        copy = clone(estimator)
        before = repr(copy.get_params(deep=False))
        assert copy.fit(*make()) is copy
        assert repr(copy.get_params(deep=False)) == before

    def test_every_public_method_is_documented(self, name):
        for attribute, method in inspect.getmembers(type(SMALL[name][0])):
            if not attribute.startswith("_") and inspect.isfunction(method):
                assert method.__doc__, attribute


IMAGE_CLASSIFIERS = ("CNNClassifier", "ResNetClassifier", "ViTClassifier")


@pytest.mark.parametrize("name", IMAGE_CLASSIFIERS)
class TestImages:
    def test_all_forms_of_the_same_images_give_the_same_net(self, name):
        estimator, make = SMALL[name]
        X, y = make()
        expected = clone(estimator).fit(X, y).predict_proba(X)
        scaled = X.astype(np.float64) / 255
        flat = scaled.reshape(len(X), -1)
        shaped = clone(estimator).set_params(image_shape=(8, 8))
        for other, data in (
            (clone(estimator), scaled),
            (clone(estimator), scaled[:, 0]),
            (shaped, flat),
            (shaped, pd.DataFrame(flat)),
        ):
            assert_allclose(other.fit(data, y).predict_proba(data), expected, atol=1e-5)

    def test_labels_of_any_type(self, name):
        estimator, make = SMALL[name]
        X, y = make()
        numbers = clone(estimator).fit(X, y)
        expected = numbers.predict_proba(X)
        for labels in (
            np.array([f"class {k}" for k in y]),
            np.array([f"class {k}" for k in y], dtype=object),
            pd.Series(y * 10 - 5),
            y.astype(float),
        ):
            other = clone(estimator).fit(X, labels)
            assert_array_equal(other.predict_proba(X), expected)
            assert other.classes_.dtype == np.asarray(labels).dtype
            assert set(other.predict(X)) <= set(labels)

    def test_two_fits_of_one_seed_have_one_trajectory(self, name):
        estimator, make = SMALL[name]
        X, y = make()
        first, second = (
            clone(estimator).set_params(augment=True).fit(X, y, eval_set=(X, y))
            for _ in range(2)
        )
        assert_frame_equal(first.trajectory_, second.trajectory_, check_exact=True)

    def test_probabilities_and_trajectory(self, name):
        estimator, make = SMALL[name]
        X, y = make()
        fitted = clone(estimator).fit(X[:100], y[:100], eval_set=(X[100:], y[100:]))
        assert_allclose(fitted.predict_proba(X).sum(axis=1), 1.0, rtol=1e-5)
        last = fitted.trajectory_.iloc[-1]
        assert last["test_error"] == 1 - fitted.score(X[100:], y[100:])
        assert last["train_error"] == pytest.approx(1 - fitted.score(X[:100], y[:100]))
        assert np.isfinite(fitted.trajectory_["log_spectral_complexity"]).all()

    def test_wrong_shapes_are_named(self, name):
        estimator, make = SMALL[name]
        X, y = make()
        with pytest.raises(ValueError, match="Flat images need image_shape"):
            clone(estimator).fit(X.reshape(len(X), -1), y)
        with pytest.raises(ValueError, match="channels are last"):
            clone(estimator).fit(np.moveaxis(np.repeat(X, 3, 1), 1, -1), y)
        with pytest.raises(ValueError, match="image_shape must be"):
            clone(estimator).set_params(image_shape=(8, 9)).fit(
                X.reshape(len(X), -1), y
            )
        fitted = clone(estimator).fit(X, y)
        with pytest.raises(ValueError, match=r"shape \(1, 8, 8\), as in fit, got"):
            fitted.predict(X[:, :, :4])

    def test_presets_are_the_paper_s(self, name):
        cls = type(SMALL[name][0])
        assert cls.from_preset("mnist").normalization == ((0.1307,), (0.3081,))
        assert cls.from_preset("cifar10", max_epochs=7).max_epochs == 7
        with pytest.raises(ValueError, match="name must be one of 'mnist'"):
            cls.from_preset("imagenet")
