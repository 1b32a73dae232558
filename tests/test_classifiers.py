"""Training and recording: steps, seeds, devices, any module, skorch nets."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetClassifier
from skorch.callbacks import LRScheduler
from torch import nn

from scalinglaw import (
    CNNClassifier,
    NormRecorder,
    ResNetClassifier,
    TrajectoryClassifier,
    ViTClassifier,
    record_steps,
)
from scalinglaw.classifiers._preparation import PreparedModule, shift_and_mirror
from scalinglaw.datasets import load_images
from scalinglaw.exceptions import ZeroNormWarning
from scalinglaw.norms import NORMS, compute_norms


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return ((X - X.mean(axis=0)) / X.std(axis=0)).astype("float32"), y


@pytest.fixture(scope="module")
def digits():
    X, y = load_images("digits")
    return X[:300], y[:300]


@pytest.mark.parametrize(("n_steps", "n_records"), [(1000, 50), (60, 50), (10**6, 50)])
def test_records_are_log_spaced_from_zero_to_the_end(n_steps, n_records):
    steps = record_steps(n_steps, n_records)
    assert len(steps) == n_records
    assert (steps[0], steps[1], steps[-1]) == (0, 1, n_steps)
    assert (np.diff(steps) > 0).all()
    if n_steps > 500:
        ratio = steps[-10:] / steps[-11:-1]
        assert_allclose(ratio, ratio[0], rtol=0.02)


def test_short_runs_record_every_step():
    assert_array_equal(record_steps(5, 50), np.arange(6))


def test_the_trajectory_is_that_of_the_run(iris):
    X, y = iris
    classifier = TrajectoryClassifier(
        max_epochs=6, batch_size=32, n_records=8, random_state=3
    ).fit(X[::2], y[::2], eval_set=(X[1::2], y[1::2]))
    table = classifier.trajectory_
    assert table["train_size"].eq(75).all()
    assert table["seed"].eq(3).all()
    assert table["n_test"].eq(75).all()
    assert_allclose(table["epoch"], table["step"] / 3)
    assert (table["step"].iloc[0], table["step"].iloc[-1]) == (0, 18)
    final = compute_norms(classifier.module_)["spectral_complexity"]
    assert_allclose(table["log_spectral_complexity"].iloc[-1], final, rtol=1e-9)
    probability = classifier.predict_proba(X[1::2])[np.arange(75), y[1::2]]
    assert_allclose(table["test_loss"].iloc[-1], -np.log(probability).mean(), rtol=1e-5)


def test_two_fits_with_one_seed_are_equal_to_the_last_bit(digits):
    X, y = digits
    cnn = CNNClassifier(
        conv_widths=(4, 8),
        hidden_width=16,
        max_epochs=3,
        augment=True,
        random_state=5,
        device="cpu",
    )
    first = cnn.fit(X, y, eval_set=(X, y)).trajectory_
    torch.manual_seed(99)
    second = cnn.fit(X, y, eval_set=(X, y)).trajectory_
    assert_frame_equal(first, second, check_exact=True)
    other = cnn.set_params(random_state=6).fit(X, y, eval_set=(X, y)).trajectory_
    assert not first["train_loss"].equals(other["train_loss"])


def test_a_seeded_fit_leaves_torch_s_generator_as_it_was(iris):
    before = torch.get_rng_state()
    TrajectoryClassifier(max_epochs=2, random_state=0).fit(*iris)
    assert torch.equal(torch.get_rng_state(), before)


def test_recording_does_not_change_training(iris):
    few, many = (
        TrajectoryClassifier(
            max_epochs=4, n_records=n, random_state=0, device="cpu"
        ).fit(*iris)
        for n in (2, 9)
    )
    assert_array_equal(few.predict_proba(iris[0]), many.predict_proba(iris[0]))


def test_any_module_is_trained_and_not_changed(iris):
    X, y = iris
    network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    before = [p.clone() for p in network.parameters()]
    classifier = TrajectoryClassifier(network, max_epochs=40, lr=0.02, random_state=0)
    assert classifier.fit(X, y).score(X, y) > 0.9
    assert all(map(torch.equal, before, network.parameters()))


class _Net(nn.Module):
    def __init__(self, input_shape, n_classes):
        super().__init__()
        self.linear = nn.Linear(int(np.prod(input_shape)), n_classes)

    def forward(self, X):
        return self.linear(X.flatten(1))


def test_a_class_is_built_for_the_data(digits):
    X, y = digits
    classifier = TrajectoryClassifier(_Net, max_epochs=3, random_state=0)
    classifier.fit(X.astype("float32") / 255, y)
    assert classifier.module_.linear.weight.shape == (10, 64)


def test_the_recorder_works_in_a_skorch_net_of_one_s_own(iris):
    X, y = iris
    recorder = NormRecorder(norms=("frobenius",), n_records=5, eval_set=(X, y))
    net = NeuralNetClassifier(
        nn.Sequential(nn.Linear(4, 3)),
        criterion=nn.CrossEntropyLoss,
        max_epochs=5,
        train_split=None,
        verbose=0,
        callbacks=[recorder],
    ).fit(X, y)
    table = recorder.trajectory_
    assert len(table) == 5
    assert table["test_error"].iloc[-1] == pytest.approx(1 - net.score(X, y))
    assert_allclose(
        table["log_frobenius"].iloc[-1],
        compute_norms(net.module_, ["frobenius"])["frobenius"],
    )


def test_skorch_s_callbacks_and_history_are_there(iris):
    classifier = TrajectoryClassifier(
        max_epochs=3,
        random_state=0,
        optimizer="sgd",
        lr=0.1,
        callbacks=[LRScheduler("StepLR", step_size=1, gamma=0.1)],
    ).fit(*iris)
    assert len(classifier.net_.history) == 3
    rate = classifier.net_.optimizer_.param_groups[0]["lr"]
    assert_allclose(rate, 0.1 * 0.1**3, rtol=1e-6)


def test_a_schedule_survives_cloning(iris):
    classifier = TrajectoryClassifier(
        max_epochs=4,
        lr=0.1,
        callbacks=[LRScheduler("CosineAnnealingLR", T_max=8)],
        random_state=0,
    )
    fitted = clone(classifier).fit(*iris)
    rate = fitted.net_.optimizer_.param_groups[0]["lr"]
    assert_allclose(rate, 0.1 * (1 + np.cos(np.pi / 2)) / 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "optimizer"),
    [
        (
            {"optimizer": "sgd", "lr": 0.3, "momentum": 0.8, "weight_decay": 0.01},
            lambda p: torch.optim.SGD(p, lr=0.3, momentum=0.8, weight_decay=0.01),
        ),
        (
            {"optimizer": "adam", "lr": 0.02, "weight_decay": 0.1},
            lambda p: torch.optim.Adam(p, lr=0.02, weight_decay=0.1),
        ),
        (
            {"optimizer": "adamw", "lr": 0.02},
            lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.0),
        ),
        (
            {"optimizer": torch.optim.AdamW, "lr": 0.02, "weight_decay": 0.3},
            lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.3),
        ),
    ],
)
def test_a_fit_is_the_loop_that_one_would_write(iris, settings, optimizer):
    X, y = map(torch.as_tensor, iris)
    network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    # One batch holds all samples, so that their order changes the last bits only.
    classifier = TrajectoryClassifier(
        network,
        max_epochs=15,
        batch_size=150,
        random_state=0,
        device="cpu",
        **settings,
    ).fit(X.numpy(), y.numpy())
    by_hand = copy.deepcopy(network)
    steps = optimizer(by_hand.parameters())
    for _ in range(15):
        steps.zero_grad()
        nn.functional.cross_entropy(by_hand(X), y).backward()
        steps.step()
    for ours, theirs in zip(
        classifier.module_.parameters(), by_hand.parameters(), strict=True
    ):
        assert_allclose(
            ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-3, atol=1e-5
        )


def test_an_optimiser_without_weight_decay_is_given_none(iris):
    X, y = iris
    newton = TrajectoryClassifier(
        max_epochs=5, lr=0.1, batch_size=150, optimizer=torch.optim.LBFGS
    )
    assert newton.fit(X, y).score(X, y) > 0.9
    with pytest.raises(ValueError, match="weight_decay must be 0 for the optimizer L"):
        newton.set_params(weight_decay=0.1).fit(X, y)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", torch.optim.RMSprop])
def test_optimisers_train(iris, optimizer):
    X, y = iris
    classifier = TrajectoryClassifier(
        max_epochs=30, lr=0.02, optimizer=optimizer, weight_decay=1e-4, random_state=0
    )
    assert classifier.fit(X, y).score(X, y) > 0.85


def test_a_smaller_initialisation_scales_the_weights(digits):
    X, y = digits
    logs = [
        CNNClassifier(
            conv_widths=(4, 8),
            hidden_width=16,
            max_epochs=1,
            init_scale=scale,
            norms=("spectral_product",),
            random_state=0,
        )
        .fit(X, y)
        .trajectory_["log_spectral_product"]
        .iloc[0]
        for scale in (1.0, 0.5)
    ]
    assert_allclose(logs[0] - logs[1], 4 * np.log(2), rtol=1e-5)


def test_every_norm_can_be_recorded(digits):
    X, y = digits
    cnn = CNNClassifier(
        conv_widths=(2, 4), hidden_width=8, max_epochs=1, norms=NORMS, random_state=0
    ).fit(X, y, eval_set=(X, y))
    for name in NORMS:
        assert np.isfinite(cnn.trajectory_[f"log_{name}"]).all(), name


@pytest.mark.parametrize(
    "options", [{"conv": "operator"}, {"fold_normalization": True}]
)
def test_options_of_norms_reach_the_records(digits, options):
    X, y = digits
    resnet = ResNetClassifier(
        widths=(2, 4), depths=(1, 1), max_epochs=1, random_state=0
    )
    plain = resnet.fit(X, y).trajectory_["log_spectral_complexity"].iloc[-1]
    resnet.set_params(**options).fit(X, y)
    recorded = resnet.trajectory_["log_spectral_complexity"].iloc[-1]
    final = compute_norms(resnet.module_, input_shape=(1, 8, 8), **options)
    assert_allclose(recorded, final["spectral_complexity"], rtol=1e-6)
    assert abs(recorded - plain) > 0.1


def test_a_layer_of_zeros_is_recorded_as_minus_infinity_and_named(iris):
    network = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    nn.init.zeros_(network[2].weight)
    with pytest.warns(ZeroNormWarning, match="minus infinity in 1 of"):
        classifier = TrajectoryClassifier(network, max_epochs=2, random_state=0).fit(
            *iris
        )
    first = classifier.trajectory_["log_spectral_complexity"].iloc[0]
    assert np.isneginf(first)


def test_diverging_training_is_an_error(iris):
    with pytest.raises(ValueError, match="diverged"):
        TrajectoryClassifier(lr=1e18, optimizer="sgd", max_epochs=20).fit(*iris)


def test_the_grid_search_of_sklearn_chooses_a_learning_rate(iris):
    X, y = iris
    search = GridSearchCV(
        TrajectoryClassifier(max_epochs=10, random_state=0), {"lr": [1e-6, 0.05]}, cv=2
    )
    assert search.fit(X, y).best_params_ == {"lr": 0.05}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"norms": ("nuclear",)}, "norms must be among"),
        ({"optimizer": "lion"}, "optimizer must be one of"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"device": "tpu!"}, "device must be"),
        ({"max_epochs": 0}, "max_epochs must be at least 1"),
        ({"conv": "fft"}, "conv must be one of 'kernel', 'operator'"),
        ({"optimizer": 3}, "optimizer must be one of 'adam', 'adamw', 'sgd', got 3"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0"),
        ({"momentum": -0.1}, "momentum must be at least 0"),
        ({"init_scale": 0.0}, "init_scale must be above 0"),
    ],
)
def test_bad_parameters_are_named(iris, parameters, message):
    with pytest.raises(ValueError, match=message):
        TrajectoryClassifier(**parameters).fit(*iris)


def test_bad_data_are_named(iris, digits):
    X, y = iris
    with pytest.raises(ValueError, match="label 9, which y has not"):
        TrajectoryClassifier(max_epochs=1).fit(X, y, eval_set=(X, np.full(150, 9)))
    with pytest.raises(ValueError, match="got 3 for 150"):
        TrajectoryClassifier(max_epochs=1).fit(X, y, eval_set=(X, y[:3]))
    with pytest.raises(TypeError, match=r"eval_set must be a pair \(X_test, y_test\)"):
        TrajectoryClassifier(max_epochs=1).fit(X, y, eval_set=X)
    with pytest.raises(TypeError, match="callbacks must be a list of skorch callbacks"):
        TrajectoryClassifier(callbacks=LRScheduler()).fit(X, y)
    with pytest.raises(ValueError, match="use CNNClassifier for images"):
        TrajectoryClassifier(max_epochs=1).fit(digits[0].astype("float32"), digits[1])
    with pytest.raises(TypeError, match=r"module must be an nn\.Module"):
        TrajectoryClassifier("cnn").fit(X, y)
    with pytest.raises(TypeError, match=r"must return an nn\.Module, got str"):
        TrajectoryClassifier(lambda shape, n: "net").fit(X, y)


def test_no_layer_of_the_vision_transformer_starts_at_zero(digits):
    X, y = digits
    vit = ViTClassifier(depth=1, width=8, max_epochs=1, random_state=0).fit(X, y)
    assert np.isfinite(vit.trajectory_["log_spectral_complexity"].iloc[0])


def test_sizes_that_do_not_fit_an_image_are_named(digits):
    X, y = digits
    with pytest.raises(ValueError, match="patch_size must divide a square image"):
        ViTClassifier(patch_size=3).fit(X, y)
    with pytest.raises(ValueError, match="n_heads must divide width"):
        ViTClassifier(width=10, n_heads=4).fit(X, y)
    with pytest.raises(ValueError, match="leaves nothing of images of 8 x 8"):
        CNNClassifier(conv_widths=(2,) * 8).fit(X, y)
    with pytest.raises(ValueError, match="widths and depths must have the same length"):
        ResNetClassifier(widths=(2, 2), depths=(1,)).fit(X, y)
    with pytest.raises(ValueError, match="mean must have 1 entries"):
        CNNClassifier(normalization=((0.1, 0.2), (1.0, 1.0))).fit(X, y)


def test_normalisation_is_that_of_the_pixels(digits):
    X, y = digits
    settings = {
        "conv_widths": (2,),
        "hidden_width": 4,
        "max_epochs": 1,
        "random_state": 0,
    }
    inside = CNNClassifier(normalization=((0.3,), (0.4,)), **settings).fit(X, y)
    by_hand = (X / 255 - 0.3) / 0.4
    outside = CNNClassifier(**settings).fit(by_hand, y)
    assert_allclose(inside.predict_proba(X), outside.predict_proba(by_hand), atol=1e-5)


def test_augmentation_shifts_and_mirrors_within_reach():
    image = torch.zeros(64, 3, 12, 12, dtype=torch.uint8)
    image[:, :, 6, 6] = 1
    moved = shift_and_mirror(image)
    assert moved.shape == image.shape
    assert moved.dtype == torch.uint8
    assert (moved.sum(dim=(2, 3)) == 1).all()
    rows = moved[:, 0].sum(dim=2).argmax(dim=1)
    assert int((rows - 6).abs().max()) <= 4
    assert len(rows.unique()) > 4


def test_augmentation_stays_out_of_predictions(digits):
    X, y = digits
    cnn = CNNClassifier(
        conv_widths=(2,),
        hidden_width=4,
        max_epochs=1,
        augment=True,
        random_state=0,
        device="cpu",
    ).fit(X, y)
    assert_array_equal(cnn.predict_proba(X), cnn.predict_proba(X))
    plain = clone(cnn).set_params(augment=False).fit(X, y)
    assert_array_equal(
        plain.trajectory_["train_loss"].iloc[0], cnn.trajectory_["train_loss"].iloc[0]
    )
    assert (
        plain.trajectory_["train_loss"].iloc[-1]
        != (cnn.trajectory_["train_loss"].iloc[-1])
    )


def test_channels_last_is_the_format_of_batches_and_kernels():
    core = nn.Conv2d(1, 4, 3)
    seen = []
    core.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    before = core.weight.clone()
    PreparedModule(core, channels_last=True)(torch.zeros(2, 1, 8, 8))
    assert torch.equal(core.weight, before)
    for tensor in (core.weight, seen[0]):
        assert tensor.is_contiguous(memory_format=torch.channels_last)
    assert core.weight.stride(1) == 1


def test_channels_are_last_on_a_cpu_unless_told_otherwise(digits):
    X, y = digits
    small = CNNClassifier(conv_widths=(4, 8), hidden_width=16, device="cpu")
    for chosen, stride in (("auto", 1), (True, 1), (False, 9)):
        fitted = clone(small).set_params(channels_last=chosen, max_epochs=1).fit(X, y)
        assert fitted.module_[2].weight.stride(1) == stride
    with pytest.raises(ValueError, match="channels_last must be one of 'auto', True"):
        small.set_params(channels_last="no").fit(X, y)


@pytest.mark.parametrize(
    "option",
    [{"precision": "bfloat16"}, {"precision": "tf32"}, {"channels_last": True}],
)
def test_options_of_speed_keep_the_result_close(digits, option):
    X, y = digits
    settings = {
        "conv_widths": (4, 8),
        "hidden_width": 16,
        "max_epochs": 2,
        "random_state": 0,
    }
    plain = CNNClassifier(**settings, channels_last=False).fit(X, y)
    fast = CNNClassifier(**settings, **option).fit(X, y)
    assert_allclose(fast.predict_proba(X), plain.predict_proba(X), atol=0.03)
