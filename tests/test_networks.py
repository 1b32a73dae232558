"""Architectures, initial weights and presets are the paper's."""

import copy
import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from skorch.callbacks import Callback
from torch import nn

from scalinglaw import CNNClassifier, ResNetClassifier, ViTClassifier
from scalinglaw.classifiers._networks import (
    convolutional_network,
    residual_network,
    vision_transformer,
)
from scalinglaw.classifiers._presets import NORMALIZATION
from scalinglaw.norms import weight_layers

SHAPES = {
    "mnist": (1, 28, 28),
    "fashion-mnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
    "cifar100": (3, 32, 32),
}


def _matrices(network):
    return {layer.name: layer.blocks()[0] for layer in weight_layers(network)}


def _shapes(network):
    return [tuple(matrix.shape) for matrix in _matrices(network).values()]


def test_the_paper_s_cnn_has_its_layers():
    network = convolutional_network((3, 32, 32), 10)
    expected = [(32, 27), (64, 288), (128, 576), (512, 128 * 16 * 16), (10, 512)]
    assert _shapes(network) == expected


def test_pooling_before_the_unit_is_the_paper_s_order_to_the_bit():
    ours = convolutional_network((1, 8, 8), 3, conv_widths=(2, 4), hidden_width=5)
    conv, unit = ours[0:2], nn.ReLU()
    paper = nn.Sequential(*conv, ours[2], unit, nn.MaxPool2d(2), *ours[5:])
    X = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    gradients = []
    for network in (ours, paper):
        network.zero_grad()
        network(X).square().sum().backward()
        gradients.append([p.grad.clone() for p in network.parameters()])
    assert torch.equal(ours(X), paper(X))
    assert all(map(torch.equal, *gradients))


@pytest.mark.parametrize(
    ("depths", "n_layers"), [((2, 2, 2, 2), 21), ((3, 4, 6, 3), 37)]
)
def test_the_paper_s_resnet_has_all_its_weight_layers(depths, n_layers):
    assert len(_shapes(residual_network((3, 32, 32), 10, depths=depths))) == n_layers


def test_the_resnet_s_stem_keeps_the_size_and_three_stages_halve_it():
    network = residual_network((1, 28, 28), 10, (16, 32, 64, 128))
    sizes = []
    for part in network:
        if type(part).__name__ in ("Conv2d", "BasicBlock"):
            part.register_forward_hook(lambda m, i, out: sizes.append(out.shape[1:]))
    network(torch.zeros(2, 1, 28, 28))
    assert sizes[0] == (16, 28, 28)
    assert [tuple(size) for size in sizes[2::2]] == [
        (16, 28, 28),
        (32, 14, 14),
        (64, 7, 7),
        (128, 4, 4),
    ]


@pytest.mark.parametrize("mlp_width", [None, 20])
def test_the_vit_counts_patches_attention_hidden_layers_and_head(mlp_width):
    network = vision_transformer((1, 28, 28), 10, 7, 2, 16, 4, mlp_width)
    hidden = mlp_width or 32
    block = [(16, 16)] * 4 + [(hidden, 16), (16, hidden)]
    assert _shapes(network) == [(16, 49), *block, *block, (10, 16)]
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_linear_map_of_the_vit_starts_xavier_uniform(channels):
    torch.manual_seed(0)
    network = vision_transformer((channels, 32, 32), 10, 4, 1, 64, 4)
    for name, matrix in _matrices(network).items():
        bound = math.sqrt(6 / sum(matrix.shape))
        largest = float(matrix.abs().max())
        assert 0.97 * bound < largest <= bound * (1 + 1e-6), name
        assert_allclose(float(matrix.std()), bound / math.sqrt(3), rtol=0.05)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("cls", [CNNClassifier, ResNetClassifier, ViTClassifier])
def test_a_preset_fits_images_of_its_set(cls, name):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (2, *SHAPES[name]), dtype=np.uint8)
    y = np.arange(2)
    classifier = cls.from_preset(
        name, max_epochs=1, norms=("frobenius",), device="cpu", random_state=0
    )
    probabilities = classifier.fit(X, y).predict_proba(X)
    assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-5)
    assert classifier.normalization == NORMALIZATION[name]
    assert len(classifier.trajectory_) == 2


def test_presets_train_as_the_paper_does():
    for cls in (CNNClassifier, ResNetClassifier, ViTClassifier):
        for name in SHAPES:
            preset = cls.from_preset(name)
            assert (preset.batch_size, preset.n_records) == (128, 50)
            assert (preset.lr, preset.weight_decay) == (1e-3, 0.0)
            kind = "adamw" if cls is ViTClassifier else "adam"
            assert preset.optimizer == kind
    assert ResNetClassifier.from_preset("mnist").widths == (16, 32, 64, 128)
    assert ResNetClassifier.from_preset("cifar10").widths == (64, 128, 256, 512)
    assert ResNetClassifier.from_preset("cifar100").depths == (3, 4, 6, 3)
    sizes = {
        name: (vit.patch_size, vit.depth, vit.width)
        for name in SHAPES
        for vit in [ViTClassifier.from_preset(name)]
    }
    assert sizes == {
        "mnist": (7, 4, 128),
        "fashion-mnist": (7, 4, 128),
        "cifar10": (4, 6, 192),
        "cifar100": (4, 6, 256),
    }


def test_a_subclass_has_the_presets_of_its_parent():
    class Mine(CNNClassifier):
        pass

    assert type(Mine.from_preset("cifar10", lr=0.1)) is Mine
    assert Mine.from_preset("cifar10", lr=0.1).lr == 0.1


class Start(Callback):
    """Keeps the network as it is before training."""

    def on_train_begin(self, net, **kwargs):
        self.core = copy.deepcopy(net.module_.core)


def test_init_scale_multiplies_weights_and_leaves_normalisation():
    X = np.random.default_rng(0).integers(0, 256, (8, 1, 8, 8), dtype=np.uint8)
    y = np.arange(8) % 2
    cores = []
    for scale in (1.0, 0.25):
        start = Start()
        ResNetClassifier(
            widths=(4,),
            depths=(1,),
            init_scale=scale,
            max_epochs=1,
            random_state=0,
            callbacks=[start],
        ).fit(X, y)
        cores.append(start.core)
    for (name, whole), small in zip(
        cores[0].named_parameters(), cores[1].parameters(), strict=True
    ):
        factor = 0.25 if whole.dim() > 1 else 1.0
        assert torch.equal(small, factor * whole), name
    assert any(isinstance(part, nn.BatchNorm2d) for part in cores[0].modules())
