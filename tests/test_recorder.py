"""What the recorder hands to the norms: every name, data, shapes, options."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping
from torch import nn

from scalinglaw import (
    CNNClassifier,
    NormRecorder,
    ResNetClassifier,
    ViTClassifier,
    record_steps,
)
from scalinglaw.norms import NORMS, compute_norms


def _images(n=60, size=8, seed=0):
    rng = np.random.default_rng(seed)
    y = np.sort(rng.integers(0, 3, n))  # by class: a head of the data is one class
    X = rng.normal(size=(n, 1, size, size)).astype("float32") + y[:, None, None, None]
    return X.astype("float32"), y


def _conv_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 64, 3),
    )


def _train(recorder, module=None, data=None, **options):
    X, y = data or _images()
    settings = {"max_epochs": 2, "batch_size": 20, "lr": 1e-3} | options
    net = NeuralNetClassifier(
        module or _conv_net(),
        criterion=nn.CrossEntropyLoss,
        train_split=None,
        verbose=0,
        callbacks=[recorder],
        **settings,
    )
    net.fit(X, y.astype("int64"))
    return net, recorder.trajectory_


@pytest.mark.parametrize("conv", ["kernel", "operator"])
@pytest.mark.parametrize("fold", [False, True])
def test_every_norm_is_recorded_with_the_recorders_options(conv, fold):
    recorder = NormRecorder(NORMS, 4, conv=conv, fold_normalization=fold)
    net, table = _train(recorder)
    X, y = _images()
    expected = compute_norms(
        net.module_, NORMS, conv=conv, fold_normalization=fold, X=X, y=y
    )
    for name in NORMS:
        assert_allclose(table[f"log_{name}"].iloc[-1], expected[name], atol=1e-6)
        assert np.isfinite(table[f"log_{name}"]).all()


@pytest.mark.parametrize(
    "classifier",
    [
        CNNClassifier(conv_widths=(4, 6), hidden_width=8),
        ResNetClassifier(widths=(4, 6), depths=(1, 1)),
        ViTClassifier(depth=1, width=8, n_heads=2),
    ],
    ids=lambda c: type(c).__name__,
)
def test_the_papers_networks_have_all_norms_at_every_record(classifier):
    X, y = _images()
    classifier.set_params(norms=NORMS, max_epochs=2, n_records=4, random_state=0)
    table = classifier.fit(X, y).trajectory_
    assert np.isfinite(table[[f"log_{name}" for name in NORMS]]).all(axis=None)


def test_fisher_rao_sees_inputs_as_the_network_does():
    X, y = _images()
    pixels = np.clip(40 * X + 80, 0, 255).astype("uint8")
    classifier = CNNClassifier(
        conv_widths=(4, 6),
        hidden_width=8,
        normalization=((0.3,), (0.4,)),
        augment=True,
        norms=("fisher_rao",),
        max_epochs=1,
        n_records=3,
        random_state=0,
    ).fit(pixels, y)
    prepared = (torch.as_tensor(pixels) / 255 - 0.3) / 0.4
    expected = compute_norms(classifier.module_, ["fisher_rao"], X=prepared, y=y)
    assert_allclose(
        classifier.trajectory_["log_fisher_rao"].iloc[-1],
        expected["fisher_rao"],
        atol=1e-6,
    )


def test_fisher_rao_takes_samples_from_all_over_the_training_set():
    X, y = _images(n=700)
    recorder = NormRecorder(("fisher_rao",), 2)
    net, table = _train(recorder, data=(X, y), max_epochs=1)
    chosen = np.unique(np.linspace(0, 699, 256).round().astype(int))
    expected = compute_norms(net.module_, ["fisher_rao"], X=X[chosen], y=y[chosen])
    assert len(chosen) == 256
    assert set(y[chosen]) == {0, 1, 2}
    assert_allclose(table["log_fisher_rao"].iloc[-1], expected["fisher_rao"], atol=1e-9)


def test_the_shape_of_a_sample_leaves_the_training_alone():
    plain, with_path = (
        _train(NormRecorder(names, 4))[1]
        for names in (("frobenius",), ("frobenius", "path", "fisher_rao"))
    )
    assert_allclose(plain["log_frobenius"], with_path["log_frobenius"], rtol=0)
    assert_allclose(plain["train_loss"], with_path["train_loss"], rtol=0)


@pytest.mark.parametrize("n_steps", [1, 2, 3, 60, 10_000])
@pytest.mark.parametrize("n_records", [2, 3, 10, 50])
def test_records_go_from_before_the_first_step_to_the_last(n_steps, n_records):
    steps = record_steps(n_steps, n_records)
    assert len(steps) == min(n_records, n_steps + 1)
    assert (steps[0], steps[-1]) == (0, n_steps)
    assert (np.diff(steps) > 0).all()


def test_the_recorder_keeps_no_data_when_training_ends():
    recorder = NormRecorder(NORMS, 3, eval_set=None)
    _train(recorder)
    kept = [v for v in vars(recorder).values() if isinstance(v, torch.Tensor)]
    assert not kept
    assert not hasattr(recorder, "_recorder")


def test_an_early_stop_is_recorded():
    stop = EarlyStopping(monitor="train_loss", patience=1, threshold=10.0)
    recorder = NormRecorder(("path",), 50)
    X, y = _images()
    NeuralNetClassifier(
        _conv_net(),
        criterion=nn.CrossEntropyLoss,
        train_split=None,
        verbose=0,
        max_epochs=30,
        batch_size=20,
        callbacks=[("stop", stop), ("recorder", recorder)],
    ).fit(X, y.astype("int64"))
    table = recorder.trajectory_
    assert table["epoch"].iloc[-1] < 30
    assert table["step"].is_unique


class _TakesTwo(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, left, right):
        return self.linear(torch.cat([left, right], dim=1))


def test_a_net_of_two_inputs_has_no_path_and_is_told_so():
    X = {"left": np.ones((9, 2), "float32"), "right": np.ones((9, 2), "float32")}
    y = np.arange(9) % 3
    assert len(_train(NormRecorder(n_records=2), _TakesTwo(), (X, y))[1]) == 2
    with pytest.raises(ValueError, match=r"a net that takes one tensor, got.*dict"):
        _train(NormRecorder(("path",)), _TakesTwo(), (X, y))


def test_unknown_options_are_refused_before_training():
    with pytest.raises(ValueError, match="conv must be one of"):
        _train(NormRecorder(conv="dense"))


def test_samples_that_skorch_holds_out_are_not_trained_on():
    X, y = _images(n=60)
    recorder = NormRecorder(("frobenius",), 6)
    net = NeuralNetClassifier(
        _conv_net(),
        criterion=nn.CrossEntropyLoss,
        verbose=0,
        max_epochs=3,
        batch_size=20,
        callbacks=[recorder],
    ).fit(X, y.astype("int64"))
    table = recorder.trajectory_
    # skorch's own split keeps a fifth for validation: 48 samples, 3 batches.
    assert set(table["train_size"]) == {48}
    assert table[["step", "epoch"]].iloc[-1].tolist() == [9, 3.0]
    trained_on, _ = net.get_split_datasets(X, y.astype("int64"))
    X_train = torch.stack([torch.as_tensor(x) for x, _ in trained_on])
    y_train = np.array([int(label) for _, label in trained_on])
    error = float(np.mean(net.predict(X_train) != y_train))
    assert table["train_error"].iloc[-1] == pytest.approx(error)


def test_a_run_of_no_epochs_has_one_record():
    _, table = _train(NormRecorder(("frobenius",), 6), max_epochs=0)
    assert table[["step", "train_size"]].to_numpy().tolist() == [[0, 60]]
