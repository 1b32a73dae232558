"""What the classifiers take as data, and what they say to what they do not."""

import copy

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn

from scalinglaw import CNNClassifier, ResNetClassifier, TrajectoryClassifier
from scalinglaw.datasets import load_images


def _cnn(**changes):
    settings = {
        "conv_widths": (2, 4),
        "hidden_width": 8,
        "max_epochs": 2,
        "n_records": 3,
        "random_state": 0,
        "device": "cpu",
    }
    return CNNClassifier(**settings | changes)


@pytest.fixture(scope="module")
def digits():
    X, y = load_images("digits")
    return X[:200], y[:200]


@pytest.mark.parametrize("wrap", [torch.tensor, list], ids=["tensor", "list"])
@pytest.mark.parametrize("kind", ["image", "module"])
def test_bytes_are_bytes_in_whatever_they_come(digits, wrap, kind):
    X, y = digits
    if kind == "image":
        classifier = _cnn()
    else:
        torch.manual_seed(0)
        linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        classifier = TrajectoryClassifier(
            linear, max_epochs=2, n_records=3, random_state=0, device="cpu"
        )
    expected = classifier.fit(X, y).predict_proba(X)
    assert_array_equal(classifier.predict_proba(wrap(X)), expected)
    assert_array_equal(classifier.fit(wrap(X), y).predict_proba(X), expected)


class _ShiftsInPlace(nn.Module):
    def __init__(self, input_shape, n_classes):
        super().__init__()
        self.linear = nn.Linear(input_shape[0], n_classes)

    def forward(self, X):
        X -= 2.0
        return self.linear(X)


class _ShiftsACopy(_ShiftsInPlace):
    def forward(self, X):
        return self.linear(X - 2.0)


def test_a_network_that_works_in_place_changes_no_data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4)).astype("float32")
    y = (X[:, 0] > 0).astype(int)
    before = X.copy()
    fitted = [
        TrajectoryClassifier(
            module, max_epochs=5, n_records=4, random_state=0, device="cpu"
        ).fit(X, y, eval_set=(X, y))
        for module in (_ShiftsInPlace, _ShiftsACopy)
    ]
    in_place, copied = (each.trajectory_["test_loss"] for each in fitted)
    assert_array_equal(in_place, copied)
    assert_array_equal(fitted[0].predict_proba(X), fitted[1].predict_proba(X))
    assert_array_equal(X, before)


def test_normalisation_may_be_numpy_s_moments(digits):
    X, y = digits
    pixels = X / 255
    moments = pixels.mean(axis=(0, 2, 3)), pixels.std(axis=(0, 2, 3))
    plain = tuple(values.tolist() for values in moments)
    assert_array_equal(
        _cnn(normalization=moments).fit(X, y).predict_proba(X),
        _cnn(normalization=plain).fit(X, y).predict_proba(X),
    )


def test_columns_in_another_order_are_refused(digits):
    X, y = digits
    frame = pd.DataFrame(X.reshape(len(X), -1)).add_prefix("pixel")
    cnn = _cnn(image_shape=(8, 8)).fit(frame, y)
    assert cnn.feature_names_in_[0] == "pixel0"
    cnn.predict(frame)
    with pytest.raises(ValueError, match="feature names"):
        cnn.predict(frame[frame.columns[::-1]])


@pytest.mark.parametrize("n_outputs", [2, 5])
def test_a_network_must_have_one_output_per_class(n_outputs):
    X, y = np.eye(6, 4, dtype="float32"), np.arange(6) % 3
    classifier = TrajectoryClassifier(nn.Linear(4, n_outputs), max_epochs=1)
    message = rf"must return 3 numbers for each sample.*got \({n_outputs},\)"
    with pytest.raises(ValueError, match=message):
        classifier.fit(X, y)


def test_weights_of_another_precision_are_named():
    X, y = np.eye(6, 4, dtype="float32"), np.arange(6) % 3
    classifier = TrajectoryClassifier(nn.Linear(4, 3).double())
    with pytest.raises(ValueError, match=r"float32 weights.*float64 in 'weight'"):
        classifier.fit(X, y)


def test_images_of_another_size_are_refused_by_any_module(digits):
    X, y = digits
    pooled = nn.Sequential(nn.Conv2d(1, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    classifier = TrajectoryClassifier(pooled, max_epochs=1, n_records=2).fit(X, y)
    with pytest.raises(ValueError, match=r"\(1, 8, 8\), as in fit, got \(1, 8, 6\)"):
        classifier.predict(X[..., :6])


def test_a_fit_that_fails_leaves_nothing_to_predict_with(digits):
    X, y = digits
    cnn = _cnn().fit(X, y)
    with pytest.raises(ValueError, match="eval_set has the label 11"):
        cnn.fit(X, y, eval_set=(X[:1], [11]))
    with pytest.raises(NotFittedError):
        cnn.predict(X)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"norms": None}, TypeError, "norms must be a sequence of names, got None"),
        ({"image_shape": 64}, TypeError, "image_shape must be a sequence"),
        ({"conv_widths": 32}, TypeError, "conv_widths must be a sequence"),
        ({"conv_widths": (2, 0)}, ValueError, r"conv_widths\[1\] must be at least 1"),
        ({"normalization": (0.5, 0.2)}, TypeError, r"pair \(mean, std\)"),
        ({"normalization": "mnist"}, TypeError, r"pair \(mean, std\)"),
        ({"normalization": ((0.5,), (0.0,))}, ValueError, "positive standard dev"),
        ({"normalization": ((0.5,), (-0.1,))}, ValueError, "positive standard dev"),
        ({"callbacks": [3]}, TypeError, "callbacks must hold skorch callbacks"),
        ({"random_state": 2**63}, ValueError, r"random_state must be below 2\*\*63"),
    ],
)
def test_bad_parameters_are_named(digits, parameters, error, message):
    with pytest.raises(error, match=message):
        _cnn(**parameters).fit(*digits)


def test_widths_that_are_no_sequence_are_named(digits):
    with pytest.raises(TypeError, match="depths must be a sequence of integers, got 2"):
        ResNetClassifier(widths=(4, 4), depths=2).fit(*digits)


def _frozen():
    module = nn.Linear(4, 3)
    return module.requires_grad_(False)


class _ReturnsNothing(nn.Module):
    def __init__(self, input_shape, n_classes):
        super().__init__()
        self.linear = nn.Linear(input_shape[0], n_classes)

    def forward(self, X):
        self.linear(X)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"momentum": 5}, ValueError, "momentum must be below 1, got 5"),
        ({"device": "meta"}, ValueError, "device='meta' cannot train here"),
        ({"module": _frozen()}, ValueError, "no parameter to train.*frozen"),
        ({"module": nn.Identity()}, ValueError, "no parameter to train"),
        ({"module": _ReturnsNothing}, TypeError, "tensor of logits.* got NoneType"),
        ({"precision": "half"}, ValueError, "precision must be one of 'float32'"),
        ({"criterion": "mse"}, TypeError, "criterion must be a torch loss"),
        (
            {"criterion": nn.CrossEntropyLoss(reduction="none")},
            ValueError,
            "criterion must return one number",
        ),
    ],
)
def test_odd_parameters_are_named_and_nothing_is_left_fitted(
    parameters, error, message
):
    X, y = np.eye(6, 4, dtype="float32"), np.arange(6) % 3
    classifier = TrajectoryClassifier(max_epochs=1).fit(X, y)
    classifier.set_params(**parameters)
    with pytest.raises(error, match=message):
        classifier.fit(X, y)
    assert not [name for name in vars(classifier) if name.endswith("_")]
    with pytest.raises(NotFittedError):
        classifier.predict(X)


def test_a_fit_that_fails_in_training_leaves_nothing_fitted(digits):
    X, y = digits
    cnn = _cnn(lr=1e18, optimizer="sgd", max_epochs=20)
    with pytest.raises(ValueError, match="diverged"):
        cnn.fit(X, y)
    assert not [name for name in vars(cnn) if name.endswith("_")]


def test_features_are_the_numbers_in_a_sample(digits):
    X, y = digits
    flat = X.reshape(len(X), -1)
    for classifier, data in (
        (_cnn(), X),
        (_cnn(), X[:, 0]),
        (_cnn(image_shape=(8, 8)), flat),
        (TrajectoryClassifier(max_epochs=1), flat),
        (
            TrajectoryClassifier(
                nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), max_epochs=1
            ),
            X,
        ),
    ):
        assert classifier.fit(data, y).n_features_in_ == 64


def _whole_batches(**parameters):
    return TrajectoryClassifier(
        max_epochs=30, lr=0.01, batch_size=500, random_state=0, device="cpu"
    ).set_params(**parameters)


def test_a_weight_of_two_is_a_sample_twice_and_of_zero_none():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)).astype("float32"), rng.integers(0, 3, 60)
    weight = rng.integers(0, 4, 60)
    weighted = _whole_batches().fit(X, y, sample_weight=weight)
    repeated = _whole_batches().fit(np.repeat(X, weight, 0), np.repeat(y, weight))
    assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-3)
    columns = ["train_error", "train_loss", "log_spectral_complexity"]
    assert_allclose(
        weighted.trajectory_[columns], repeated.trajectory_[columns], rtol=1e-4
    )
    assert weighted.trajectory_["train_size"].eq((weight > 0).sum()).all()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("class_weight", [None, [1.0, 2.0, 5.0]])
def test_weights_of_one_are_no_weights(reduction, class_weight):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)).astype("float32"), rng.integers(0, 3, 60)
    loss = nn.CrossEntropyLoss(
        None if class_weight is None else torch.tensor(class_weight),
        reduction=reduction,
    )
    plain, weighted = (
        _whole_batches(criterion=loss, batch_size=7, lr=1e-3).fit(X, y, **given)
        for given in ({}, {"sample_weight": np.full(60, 3.0)})
    )
    assert_allclose(
        plain.trajectory_["train_loss"], weighted.trajectory_["train_loss"], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(5), "inconsistent numbers of samples"),
        (np.ones((6, 1)), "sample_weight must be one-dimensional"),
        (-np.ones(6), "sample_weight must hold no negative number"),
        (np.zeros(6), "sample_weight must hold no negative number, and one above 0"),
        (np.full(6, np.nan), "sample_weight contains NaN"),
    ],
)
def test_odd_weights_are_named(weight, message):
    X, y = np.eye(6, 4, dtype="float32"), np.arange(6) % 3
    with pytest.raises(ValueError, match=message):
        TrajectoryClassifier(max_epochs=1).fit(X, y, sample_weight=weight)


def test_parameters_of_fit_are_routed_as_in_scikit_learn():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)).astype("float32"), rng.integers(0, 2, 60)
    weight = rng.uniform(size=60)
    with sklearn.config_context(enable_metadata_routing=True):
        asked = _whole_batches().set_fit_request(sample_weight=True, eval_set=True)
        pipe = make_pipeline(FunctionTransformer(), asked)
        pipe.fit(X, y, sample_weight=weight, eval_set=(X, y))
        silent = make_pipeline(FunctionTransformer(), _whole_batches())
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            silent.fit(X, y, sample_weight=weight)
    expected = _whole_batches().fit(X, y, eval_set=(X, y), sample_weight=weight)
    assert_frame_equal(pipe[-1].trajectory_, expected.trajectory_)
    with pytest.raises(TypeError, match="unexpected keyword argument 'weights'"):
        _whole_batches().fit(X, y, weights=weight)


@pytest.mark.parametrize(
    "criterion",
    [
        nn.CrossEntropyLoss(label_smoothing=0.2),
        nn.CrossEntropyLoss(torch.tensor([1.0, 3.0, 9.0])),
        nn.CrossEntropyLoss(torch.tensor([1.0, 3.0, 9.0]), reduction="sum"),
        nn.MultiMarginLoss,
    ],
    ids=["smoothed", "class weights", "sum", "margin"],
)
def test_the_recorded_loss_is_the_criterion_s_mean_over_all_samples(criterion):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(131, 4)).astype("float32"), rng.integers(0, 3, 131)
    fitted = _whole_batches(criterion=criterion, batch_size=16, lr=1e-4).fit(X, y)
    loss = criterion() if isinstance(criterion, type) else copy.deepcopy(criterion)
    loss.reduction = "mean"
    with torch.no_grad():
        expected = loss(fitted.module_(torch.tensor(X)), torch.tensor(y)).item()
    assert_allclose(fitted.trajectory_["train_loss"].iloc[-1], expected, rtol=1e-5)
    assert_allclose(fitted.predict_proba(X).sum(axis=1), 1.0, rtol=1e-5)
