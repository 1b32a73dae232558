"""Steps on buffers equal skorch's to the last bit, and what has none says why.

A graph itself needs a GPU; all around it is tested here on a CPU, where a step is
repeated by Python.
"""

import copy
import pickle
import random

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal
from skorch import NeuralNetClassifier
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    GradientNormClipping,
    LRScheduler,
)
from torch import nn

from scalinglaw import CNNClassifier, ResNetClassifier, TrajectoryClassifier
from scalinglaw.classifiers._capture import StaticSteps, why_eager
from scalinglaw.classifiers._net import TrajectoryNet
from scalinglaw.classifiers._numerics import numerics
from scalinglaw.datasets import load_images


@pytest.fixture
def on_buffers(monkeypatch):
    """Return a function that makes all steps run on buffers, or as usual."""

    def switch(on):
        devices = ("cpu", "cuda") if on else ("cuda",)
        monkeypatch.setattr(TrajectoryNet, "static_devices", devices)

    return switch


@pytest.fixture(scope="module")
def digits():
    X, y = load_images("digits")
    return X[:100], y[:100]


class _Dropout(nn.Module):
    def __init__(self, input_shape, n_classes):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 16), nn.Dropout(0.5), nn.Linear(16, n_classes)
        )

    def forward(self, X):
        return self.layers(X)


class _Groups(torch.optim.AdamW):
    """Weight decay on matrices only."""

    def __init__(self, params, lr, weight_decay):
        params = [p for group in params for p in group["params"]]
        groups = [
            {"params": [p for p in params if p.dim() > 1], "weight_decay": 0.3},
            {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0},
        ]
        super().__init__(groups, lr=lr)


SMALL = {"max_epochs": 4, "batch_size": 24, "random_state": 0, "device": "cpu"}
CNN = {"conv_widths": (2, 4), "hidden_width": 8}
# Batches of 24 leave a last one of 4.
RUNS = {
    "last batch": (CNNClassifier, CNN, list),
    "augmentation": (CNNClassifier, CNN | {"augment": True}, list),
    "dropout": (TrajectoryClassifier, {"module": _Dropout}, list),
    "batch norm": (ResNetClassifier, {"widths": (2, 4), "depths": (1, 1)}, list),
    "schedule": (
        CNNClassifier,
        CNN | {"optimizer": "sgd", "lr": 0.1},
        lambda: [LRScheduler("CosineAnnealingLR", T_max=4)],
    ),
    "schedule by batch": (
        CNNClassifier,
        CNN | {"optimizer": "sgd", "lr": 0.1},
        lambda: [LRScheduler("CyclicLR", base_lr=0.01, max_lr=0.1, step_every="batch")],
    ),
    "early stopping": (
        CNNClassifier,
        CNN | {"max_epochs": 20},
        lambda: [EarlyStopping("train_loss", 2, threshold=0.1, load_best=True)],
    ),
    "weight decay groups": (CNNClassifier, CNN | {"optimizer": _Groups}, list),
    "clipping": (CNNClassifier, CNN, lambda: [GradientNormClipping(0.1)]),
    "bfloat16": (CNNClassifier, CNN | {"precision": "bfloat16"}, list),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", RUNS)
def test_steps_on_buffers_equal_those_of_skorch(digits, on_buffers, name, weighted):
    X, y = digits
    cls, parameters, callbacks = RUNS[name]
    given = {"sample_weight": np.linspace(1, 3, len(X))} if weighted else {}
    fitted = []
    for on in (False, True):
        on_buffers(on)
        classifier = cls(**SMALL | parameters, callbacks=callbacks())
        fitted.append(classifier.fit(X, y, eval_set=(X, y), **given))
    one, other = fitted
    assert_frame_equal(one.trajectory_, other.trajectory_, check_exact=True)
    assert_array_equal(one.predict_proba(X), other.predict_proba(X))
    losses = [each.net_.history[:, "batches", :, "train_loss"] for each in fitted]
    assert losses[0] == losses[1]


def test_the_history_and_its_callbacks_are_skorch_s(digits):
    X, y = digits
    X = torch.tensor(X.reshape(len(X), -1), dtype=torch.float32)
    y = torch.tensor(y)

    class Watch(Callback):
        def on_train_begin(self, net, **kwargs):
            self.seen = []

        def on_batch_end(self, net, batch, training, loss, y_pred, **kwargs):
            held = net.history[-1, "batches", -1, "train_loss"]
            self.seen.append((float(held), loss.item(), tuple(y_pred.shape)))

    nets = []
    for kind in (NeuralNetClassifier, TrajectoryNet):
        torch.manual_seed(0)
        nets.append(
            kind(
                nn.Linear(64, 10),
                criterion=nn.CrossEntropyLoss,
                train_split=None,
                max_epochs=3,
                batch_size=24,
                verbose=0,
                callbacks=[("watch", Watch())],
            ).fit(X, y)
        )
    theirs, ours = (
        [{k: v for k, v in row.items() if k != "dur"} for row in net.history]
        for net in nets
    )
    assert theirs == ours
    assert type(ours[0]["batches"][0]["train_loss"]) is float
    assert (
        dict(nets[0].callbacks_)["watch"].seen == dict(nets[1].callbacks_)["watch"].seen
    )


def test_a_run_that_a_callback_ends_mid_epoch_has_numbers_in_its_history(digits):
    class Ends(Callback):
        def on_batch_end(self, net, training=False, **kwargs):
            if len(net.history[-1]["batches"]) == 2:
                raise KeyboardInterrupt

    cnn = CNNClassifier(**CNN, **SMALL, callbacks=[Ends()]).fit(*digits)
    losses = cnn.net_.history[-1, "batches", :, "train_loss"]
    assert list(map(type, losses)) == [float, float]
    assert cnn.trajectory_["step"].iloc[-1] == 2


def _steps(module, optimizer=None, capture=False):
    """Return steps on buffers of a bare module, and the optimiser."""
    optimizer = optimizer or torch.optim.Adam(module.parameters(), lr=0.1)

    def step(batch):
        optimizer.zero_grad()
        logits = module(batch[0])
        loss = nn.functional.cross_entropy(logits, batch[1])
        loss.backward()
        optimizer.step()
        return {"loss": loss.detach(), "y_pred": logits.detach()}

    return StaticSteps(step, module, optimizer, capture), optimizer


def _batch(n=5, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=rng), torch.randint(3, (n,), generator=rng)


def test_results_of_a_step_outlive_the_next():
    steps, _ = _steps(nn.Linear(4, 3))
    for _ in range(5):
        before = steps(_batch())
    held = before["y_pred"].clone()
    steps(_batch(seed=1))
    assert torch.equal(before["y_pred"], held)


class _Counts(nn.Linear):
    calls = 0

    def forward(self, X):
        self.calls += 1
        return super().forward(X)


class _Draws(nn.Linear):
    def forward(self, X):
        return super().forward(X) * random.choice([1.0, 2.0])


class _DrawsNumpy(nn.Linear):
    def forward(self, X):
        return super().forward(X) * np.random.uniform()  # noqa: NPY002


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (_Counts, "a step changes calls, which a graph would not"),
        (_Draws, "changes Python's random numbers"),
        (_DrawsNumpy, "changes NumPy's random numbers"),
    ],
)
def test_what_python_decides_at_each_step_is_trained_eagerly(module, reason):
    # Each draw counts: the last leaves the generators where they were.
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    steps, _ = _steps(module(4, 3))
    try:
        steps(_batch())
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
    assert reason in steps.reason


def test_steps_are_forgotten_when_the_training_changes():
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    steps, optimizer = _steps(module)
    for _ in range(5):
        steps(_batch())
    assert [place.replay is not None for place in steps._places.values()] == [True]
    module[0].requires_grad_(False)
    steps(_batch())
    assert [place.replay is not None for place in steps._places.values()] == [False]
    for momentum in (0.1, 0.2, 0.3):
        optimizer.param_groups[0]["betas"] = (momentum, 0.9)
        steps(_batch())
    assert "again and again" in steps.reason
    steps(_batch())  # goes on without


def test_a_third_shape_of_batches_is_trained_as_usual():
    steps, _ = _steps(nn.Linear(4, 3))
    for n in (5, 3, 2, 5):
        steps(_batch(n))
    assert len(steps._places) == 2
    assert not steps.reason


def test_a_failed_capture_trains_on_and_says_why(monkeypatch):
    class NoGraph:
        def __init__(self):
            raise RuntimeError("operation not permitted\nwhen capturing")

    module = nn.Linear(4, 3)
    twin = copy.deepcopy(module)
    steps, _ = _steps(module)
    plain, _ = _steps(twin)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    for step in range(6):
        if step == 3:
            # What a GPU would do: this machine has none.
            monkeypatch.setattr(torch.cuda, "CUDAGraph", NoGraph)
            monkeypatch.setattr(steps, "_capture", True)
        steps(_batch())
        plain(_batch())
    assert steps.reason == "capture failed with RuntimeError: operation not permitted"
    assert torch.equal(module.weight, twin.weight)


class _Sees(Callback):
    def on_grad_computed(self, net, named_parameters, **kwargs):
        pass


def test_reasons_against_capture_are_told():
    adam = torch.optim.Adam([nn.Parameter(torch.ones(1))])
    rms = torch.optim.RMSprop([nn.Parameter(torch.ones(1))])
    assert why_eager("cuda", adam, [GradientNormClipping(1.0)]) == ""
    assert "CUDA" in why_eager("cpu", adam, [])
    assert "RMSprop is not known" in why_eager("cuda:1", rms, [])
    assert "_Sees sees gradients" in why_eager("cuda", adam, [_Sees()])


def test_a_fitted_classifier_says_why_it_was_not_captured(digits):
    cnn = CNNClassifier(**CNN, **SMALL).fit(*digits)
    assert "CUDA" in cnn.eager_reason_


def test_a_net_can_be_pickled_while_it_trains_on_buffers(digits, on_buffers, tmp_path):
    on_buffers(True)
    keep = Checkpoint(
        monitor=None, dirname=str(tmp_path), f_pickle="net.pkl", f_optimizer=None
    )
    CNNClassifier(**CNN, **SMALL, callbacks=[keep]).fit(*digits)
    with open(tmp_path / "net.pkl", "rb") as file:
        assert len(pickle.load(file).history) == 4


def test_settings_of_numerics_are_those_of_before_when_a_fit_ends():
    def settings():
        return (
            torch.get_float32_matmul_precision(),
            torch.are_deterministic_algorithms_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,
            torch.backends.cudnn.deterministic,
        )

    before = settings()
    with numerics("tf32", True, "cpu"):
        assert settings() == before  # they are the process's: a CPU needs none
    with numerics("tf32", True, "cuda"):
        assert settings() == ("high", True, False, True)
    assert settings() == before
    with numerics("float32", False, "cuda"):
        assert settings()[:2] == ("highest", False)
    assert settings() == before


@pytest.mark.gpu
@pytest.mark.parametrize("name", RUNS)
def test_captured_steps_equal_eager_ones_on_a_gpu(digits, on_buffers, name):
    X, y = digits
    cls, parameters, callbacks = RUNS[name]
    tables = []
    for devices in ((), ("cuda",)):
        TrajectoryNet.static_devices, before = devices, TrajectoryNet.static_devices
        try:
            settings = SMALL | parameters | {"device": "cuda"}
            fitted = cls(**settings, callbacks=callbacks()).fit(X, y, eval_set=(X, y))
        finally:
            TrajectoryNet.static_devices = before
        tables.append(fitted.trajectory_)
    assert fitted.eager_reason_ == "" or name == "weight decay groups"
    columns = ["train_loss", "log_spectral_complexity"]
    assert np.allclose(tables[0][columns], tables[1][columns], rtol=1e-3)


@pytest.mark.gpu
def test_two_fits_of_one_seed_are_equal_on_a_gpu(digits):
    cnn = CNNClassifier(**CNN, **SMALL | {"device": "cuda"}, augment=True)
    one, other = (cnn.fit(*digits).trajectory_ for _ in range(2))
    assert_frame_equal(one, other, check_exact=True)
