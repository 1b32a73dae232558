"""The path norm: sums over all paths, by hand and by other means."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torchvision.models import VisionTransformer, resnet18
from torchvision.models.resnet import BasicBlock

from scalinglaw.norms import compute_norms


def _path(module, shape=None, **options):
    return compute_norms(module, ["path"], input_shape=shape, **options)["path"]


def _squared(module):
    """A double copy with squared weights and no biases; normalisation removed."""
    twin = copy.deepcopy(module).double().eval()
    for name, part in list(twin.named_modules()):
        if isinstance(part, nn.BatchNorm2d | nn.LayerNorm):
            parent, _, own = name.rpartition(".")
            setattr(twin.get_submodule(parent), own, nn.Identity())
        for parameter in part.parameters(recurse=False):
            parameter.data = parameter.data.square()
        if getattr(part, "bias", None) is not None:
            part.bias.data.zero_()
    return twin


def _sum_of_paths(twin, shape):
    with torch.no_grad():
        return float(twin(torch.ones(1, *shape, dtype=torch.float64)).sum())


def test_every_path_of_a_small_network_is_counted_by_hand():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.ReLU())
    net.append(nn.Linear(2, 2))
    first, second, third = (
        p.detach().double().numpy() for p in net.parameters() if p.ndim == 2
    )
    total = 0.0
    for i in range(3):
        for j in range(4):
            for k in range(2):
                for m in range(2):
                    total += (first[j, i] * second[k, j] * third[m, k]) ** 2
    assert_allclose(_path(net), np.log(total) / 2, rtol=0, atol=1e-9)


def test_pooling_sums_over_maxima_and_divides_averages_by_the_window():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.MaxPool2d(2, stride=1),
        nn.Conv2d(3, 4, 3, groups=1),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * 4, 5),
    )
    twin = _squared(net)
    # A sum over 4 entries; an average has squared weights of 1/16.
    twin[2] = nn.AvgPool2d(2, stride=1, divisor_override=1)
    twin[4] = nn.AvgPool2d(2, divisor_override=16)
    expected = np.log(_sum_of_paths(twin, (2, 14, 14))) / 2
    assert_allclose(_path(net, (2, 14, 14)), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool1d(3, 2, 1),
        nn.AvgPool1d(3, 2, 1, count_include_pad=False),
        nn.AvgPool1d(3, 2, 1),
        nn.AdaptiveAvgPool1d(3),
        nn.AdaptiveMaxPool1d(3),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        nn.AvgPool2d(2, divisor_override=3),
        nn.AdaptiveAvgPool2d((2, 3)),
        nn.AdaptiveMaxPool2d(3),
        nn.AvgPool3d(2),
        nn.AdaptiveAvgPool3d(2),
    ],
    ids=str,
)
def test_any_pooling_has_the_paths_that_its_derivative_shows(pool):
    # The weight of an average is its derivative; an entry that enters w windows
    # of a maximum has w paths, found by giving it the largest value.
    n_axes = int(type(pool).__name__[-2])
    shape = (1, *(7,) * n_axes)
    n = int(np.prod(shape))
    if "Max" in type(pool).__name__:
        spikes = torch.eye(n).reshape(n, *shape)
        total = float((pool(spikes) > 0).sum())
    else:
        x = torch.zeros(1, *shape, dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(pool, x)
        total = float(jacobian.square().sum())
    net = nn.Sequential(nn.Identity(), pool, nn.Flatten(), nn.LazyLinear(1))
    net(torch.ones(1, *shape))
    nn.init.ones_(net[3].weight)
    assert_allclose(_path(net, shape), np.log(total) / 2, rtol=0, atol=1e-9)


def test_a_residual_block_adds_the_paths_of_its_branches():
    block = BasicBlock(3, 3)
    twin = _squared(block)
    x = torch.ones(1, 3, 5, 5, dtype=torch.float64)
    with torch.no_grad():
        through = twin.conv2(twin.conv1(x)).sum() + x.sum()
    assert_allclose(
        _path(block, (3, 5, 5)), float(through.log()) / 2, rtol=0, atol=1e-9
    )


def test_resnet18_has_the_paths_of_its_squared_twin():
    torch.manual_seed(0)
    net = resnet18(num_classes=7)
    twin = _squared(net)
    twin.maxpool = nn.AvgPool2d(3, 2, 1, divisor_override=1)
    twin.avgpool = nn.AvgPool2d(2, divisor_override=16)
    expected = np.log(_sum_of_paths(twin, (3, 64, 64))) / 2
    assert_allclose(_path(net, (3, 64, 64)), expected, rtol=0, atol=1e-6)


def test_vit_has_the_paths_of_attention_that_looks_everywhere_alike():
    torch.manual_seed(0)
    net = VisionTransformer(8, 4, 2, 4, 32, 64, num_classes=10)
    nn.init.xavier_uniform_(net.heads.head.weight)
    weights = {
        name: p.detach().double().numpy() ** 2 for name, p in net.named_parameters()
    }
    patches = weights["conv_proj.weight"].sum(axis=(1, 2, 3))
    # The class token is no input: no path starts there.
    tokens = np.vstack([np.zeros(32), *[patches] * 4])
    for i in range(2):
        prefix = f"encoder.layers.encoder_layer_{i}."
        value = weights[prefix + "self_attention.in_proj_weight"][64:]
        out = weights[prefix + "self_attention.out_proj.weight"]
        uniform = np.full((5, 5), 1 / 25)
        tokens = tokens + uniform @ tokens @ value.T @ out.T
        hidden = tokens @ weights[prefix + "mlp.0.weight"].T
        tokens = tokens + hidden @ weights[prefix + "mlp.3.weight"].T
    total = (tokens[0] @ weights["heads.head.weight"].T).sum()
    assert_allclose(_path(net, (3, 8, 8)), np.log(total) / 2, rtol=0, atol=1e-6)


@pytest.mark.parametrize("factor", [1e-3, 50.0])
def test_rescaling_two_consecutive_layers_leaves_path_and_function(factor):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(20, 3),
    )
    X = torch.randn(5, 1, 8, 8)
    names = ["path", "spectral_complexity", "frobenius"]
    before = compute_norms(net, names, input_shape=(1, 8, 8))
    outputs = net(X)
    # One factor per channel: the strongest form of the symmetry.
    factors = factor ** torch.linspace(0.1, 1, 4)
    with torch.no_grad():
        net[0].weight *= factors[:, None, None, None]
        net[0].bias *= factors
        net[3].weight /= factors[:, None, None]
    after = compute_norms(net, names, input_shape=(1, 8, 8))
    assert torch.allclose(net(X), outputs, rtol=1e-4, atol=1e-6)
    assert_allclose(after["path"], before["path"], rtol=0, atol=1e-6)
    for name in names[1:]:
        assert abs(after[name] - before[name]) > 0.1


def test_paths_of_deep_networks_leave_the_range_of_floats_and_stay_finite():
    layers = [nn.Linear(4, 4, bias=False) for _ in range(40)]
    net = nn.Sequential(*layers)
    for layer in layers:
        nn.init.constant_(layer.weight, 1e30)
    expected = 40 * np.log(float(np.float32(1e30))) + 41 * np.log(4) / 2
    assert_allclose(_path(net), expected, rtol=1e-7)
    for layer in layers:
        nn.init.constant_(layer.weight, 1e-30)
    expected = 40 * np.log(float(np.float32(1e-30))) + 41 * np.log(4) / 2
    assert_allclose(_path(net), expected, rtol=1e-7)


class _Custom(nn.Module):
    def __init__(self, step, n=3):
        super().__init__()
        self.first, self.last = nn.Linear(n, n), nn.Linear(n, n)
        self.step = step

    def forward(self, X):
        return self.last(self.step(self.first(X)))


def _squares(net):
    return (p.detach().double() ** 2 for p in net.parameters() if p.ndim == 2)


def test_constants_and_moves_of_entries_act_on_paths_as_on_numbers():
    def step(x):
        shifted = (torch.relu(x) - 2.0) / 2.0  # a constant is no path
        both = torch.cat([shifted, torch.ones_like(shifted)], dim=1)
        return both[:, :3].flip(1) * torch.tensor([1.0, 2.0, 3.0])

    net = _Custom(step)
    first, last = _squares(net)
    mixed = (first.sum(dim=1) / 4).flip(0) * torch.tensor([1.0, 4.0, 9.0])
    assert_allclose(_path(net), float((last @ mixed).sum().log()) / 2, atol=1e-9)


def test_an_addition_in_place_does_not_reach_the_tensor_before_a_rectifier():
    def step(x):
        out = torch.relu(x)
        out += x
        return out + x

    net = _Custom(step)
    first, last = _squares(net)
    total = (last @ (3 * first.sum(dim=1))).sum()
    assert_allclose(_path(net), float(total.log()) / 2, atol=1e-9)


def test_attention_of_ones_own_by_torchs_product_counts_alike():
    def step(x):
        tokens = x.unflatten(-1, (3, 1))
        product = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
        return product.flatten(-2)

    net = _Custom(step)
    first, last = _squares(net)
    total = (last @ (first.sum() / 9 * torch.ones(3).double())).sum()
    assert_allclose(_path(net), float(total.log()) / 2, atol=1e-9)


def _reduce_by_numpys_names(x):
    halves = x.unflatten(-1, (3, 2)).mean(axis=2, keepdims=True)
    halves = torch.add(torch.sum(input=halves, axis=-1), other=1.0)
    return torch.cat([halves, torch.mul(halves, x2=2.0)], axis=1)


def _reduce_by_torchs_names(x):
    halves = x.unflatten(-1, (3, 2)).mean(dim=2, keepdim=True)
    halves = torch.sum(halves, -1) + 1.0
    return torch.cat([halves, 2.0 * halves], dim=1)


def test_numpys_names_of_arguments_are_those_of_torch():
    torch.manual_seed(0)
    net = _Custom(_reduce_by_numpys_names, 6)
    x = torch.randn(2, 6)
    assert torch.equal(_reduce_by_numpys_names(x), _reduce_by_torchs_names(x))
    value = _path(net)
    net.step = _reduce_by_torchs_names
    assert value == _path(net)


@pytest.mark.parametrize(
    "step",
    [
        lambda x: x.unflatten(-1, (2, 3)).transpose(1, 2).contiguous().view(-1, 6),
        lambda x: (
            x.unflatten(-1, (2, 3))
            .mT.clone(memory_format=torch.contiguous_format)
            .view(x.shape)
        ),
        lambda x: nn.functional.layer_norm(
            x.unflatten(-1, (2, 3)).transpose(1, 2), (2,)
        ).view_as(x),
    ],
    ids=["contiguous", "clone", "layer_norm"],
)
def test_a_view_of_what_has_changed_places_has_its_paths(step):
    torch.manual_seed(0)
    net = _Custom(step, 6)
    net(torch.ones(1, 6))  # torch allows it
    first, last = _squares(net)
    moved = first.sum(dim=1).reshape(2, 3).T.reshape(6)
    assert_allclose(_path(net), float((last @ moved).sum().log()) / 2, atol=1e-9)


@pytest.mark.parametrize(
    ("step", "match"),
    [
        (
            lambda x: torch.sum(x, dim=1, out=torch.empty(1)),
            r"operation 'sum' \(got an unexpected keyword argument 'out'\)",
        ),
        (lambda x: x * x, "product of two activations"),
        (torch.sigmoid, "operation 'sigmoid'"),
        (lambda x: torch.softmax(x, dim=-1), "operation 'softmax'"),
        (lambda x: x @ torch.eye(3), "Leave 'path' out of names"),
    ],
)
def test_operations_without_paths_are_named(step, match):
    with pytest.raises(ValueError, match=match):
        _path(_Custom(step))


def test_a_network_of_convolutions_needs_the_shape_of_a_sample():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))
    with pytest.raises(ValueError, match=r"pass input_shape, such as"):
        _path(net)
    by_data = compute_norms(net, ["path"], X=torch.ones(2, 3, 8, 8))["path"]
    assert by_data == _path(net, (3, 8, 8))


def test_a_shape_that_the_network_refuses_is_told():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))
    message = r"input_shape must be the shape of one sample.*fails on \(1, 8, 8\)"
    with pytest.raises(ValueError, match=message):
        _path(net, (1, 8, 8))
    vit = VisionTransformer(8, 4, 1, 2, 8, 16, num_classes=3)
    with pytest.raises(ValueError, match=r"fails on \(3, 6, 6\).*Wrong image height"):
        _path(vit, (3, 6, 6))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_paths_of_any_dtype_are_those_of_the_rounded_weights(dtype):
    torch.manual_seed(0)
    net = _Custom(torch.relu).to(dtype)
    assert_allclose(_path(net), _path(copy.deepcopy(net).double()), atol=1e-12)
