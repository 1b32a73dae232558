"""Convolutions as the matrices that they are, against those matrices."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from scalinglaw.norms import NormTracker, compute_norms, layer_table
from scalinglaw.norms._operator import Operator

PER_LAYER = (
    "spectral_complexity",
    "spectral_complexity_columns",
    "spectral_product",
    "group_21",
)
CIRCULAR = {"padding_mode": "circular"}


def _dense(layer, channels, size):
    """The matrix of a convolution, from the images of single pixels."""
    n = channels * int(np.prod(size))
    pixels = torch.eye(n, dtype=torch.float64).reshape(n, channels, *size)
    with torch.no_grad():
        bias = 0 if layer.bias is None else layer.bias.view(-1, *[1] * len(size))
        images = layer(pixels) - bias
    return images.flatten(1).T


@pytest.mark.parametrize(
    ("layer", "channels", "size"),
    [
        (nn.Conv2d(3, 4, 3, padding=1, **CIRCULAR), 3, (6, 5)),
        (nn.Conv2d(4, 6, 3, 2, padding=1, groups=2, **CIRCULAR), 4, (6, 8)),
        (nn.Conv2d(3, 4, (3, 5), padding=(2, 4), dilation=2, **CIRCULAR), 3, (6, 5)),
        (nn.Conv2d(3, 2, 3, padding=1, **CIRCULAR), 3, (1, 2)),
        (nn.Conv1d(3, 4, 3, 3, padding=1, **CIRCULAR), 3, (9,)),
        (nn.Conv3d(2, 3, 3, (1, 2, 1), padding=1, **CIRCULAR), 2, (4, 4, 3)),
        # No boundary is in their way: patches, single pixels.
        (nn.Conv2d(3, 7, 4, 4), 3, (8, 8)),
        (nn.Conv2d(3, 7, 1, 2), 3, (7, 7)),
        (nn.ConvTranspose2d(3, 7, 2, 2), 3, (4, 4)),
        (nn.ConvTranspose1d(4, 6, 3, 3, groups=2), 4, (4,)),
    ],
    ids=str,
)
def test_operator_norms_are_those_of_the_dense_matrix(layer, channels, size):
    layer = layer.double()
    dense = _dense(layer, channels, size).numpy()
    operator = Operator(layer, layer.weight.detach(), size)
    top = float(torch.linalg.svdvals(operator.blocks()).max())
    assert_allclose(top, np.linalg.norm(dense, 2), rtol=1e-12)
    for log, norm in [
        (operator.log_rows(), np.linalg.norm(dense, axis=1).sum()),
        (operator.log_columns(), np.linalg.norm(dense, axis=0).sum()),
        (operator.log_frobenius(), np.linalg.norm(dense)),
    ]:
        assert_allclose(float(log), np.log(norm), rtol=0, atol=1e-12)


def _circular_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 5, 3, padding=1, **CIRCULAR),
        nn.ReLU(),
        nn.Conv2d(5, 6, 3, 2, padding=1, **CIRCULAR),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 9, 7),
    )


def test_operator_norms_are_those_of_the_fully_connected_network():
    net = _circular_net()
    twin = net.double()
    sizes = {0: (1, (6, 6)), 2: (5, (6, 6))}
    layers = []
    for i, part in enumerate(twin):
        if i in sizes:
            dense = _dense(part, *sizes[i])
            linear = nn.Linear(dense.shape[1], dense.shape[0], dtype=torch.float64)
            linear.weight.data = dense
            layers.append(linear)
        else:
            layers.append(part)
    expected = compute_norms(nn.Sequential(*layers), PER_LAYER)
    norms = compute_norms(net, PER_LAYER, conv="operator", input_shape=(1, 6, 6))
    for name in PER_LAYER:
        assert_allclose(norms[name], expected[name], rtol=0, atol=1e-7, err_msg=name)
    kernel = compute_norms(net, PER_LAYER)
    assert all(abs(kernel[name] - norms[name]) > 0.1 for name in PER_LAYER)


def test_norms_of_all_parameters_do_not_depend_on_the_view_of_a_convolution():
    net, names = _circular_net(), ("frobenius", "l1", "path")
    shape = {"input_shape": (1, 6, 6)}
    assert compute_norms(net, names, conv="operator", **shape) == compute_norms(
        net, names, **shape
    )


def test_without_convolutions_the_operator_is_the_matrix():
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    assert compute_norms(net, conv="operator") == compute_norms(net)


@pytest.mark.parametrize(
    ("size", "stride", "distance"), [(4, 1, 0.15), (8, 1, 0.05), (7, 2, 0.1)]
)
def test_a_zero_boundary_is_below_the_periodic_one_of_the_padded_image(
    size, stride, distance
):
    # The zero-padded map is a part of the periodic one on a larger image, whose
    # frequencies are others: at the input's own size nothing says which is larger.
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 16, 3, stride, padding=1, dtype=torch.float64)
    top = np.linalg.norm(_dense(layer, 16, (size, size)).numpy(), 2)
    weight = layer.weight.detach()
    own, larger = (
        float(torch.linalg.svdvals(Operator(layer, weight, (n, n)).blocks()).max())
        for n in (size, size + 2)
    )
    assert top <= larger * (1 + 1e-12)
    # What the guide says of the distance.
    assert_allclose(own, top, rtol=distance)


def test_the_scale_of_a_kernel_is_the_scale_of_its_operator():
    net = _circular_net()
    shape = {"conv": "operator", "input_shape": (1, 6, 6)}
    before = compute_norms(net, PER_LAYER, **shape)
    with torch.no_grad():
        net[2].weight.mul_(1e30)
    after = compute_norms(net, PER_LAYER, **shape)
    log_scale = np.log(float(np.float32(1e30)))
    for name in PER_LAYER[:1] + PER_LAYER[2:3]:
        assert_allclose(after[name], before[name] + log_scale, rtol=0, atol=1e-6)


def test_a_tracker_of_operators_follows_the_weights():
    net = _circular_net()
    shape = {"conv": "operator", "input_shape": (1, 6, 6)}
    tracker = NormTracker(net, PER_LAYER, **shape)
    for _ in range(3):
        assert tracker.compute() == pytest.approx(
            compute_norms(net, PER_LAYER, **shape), abs=1e-7
        )
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))


def test_a_layer_that_meets_two_sizes_counts_with_the_larger_norm():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3, padding=1, bias=False, **CIRCULAR)

        def forward(self, X):
            return self.conv(self.conv(X)[..., ::2, ::2])

    torch.manual_seed(0)
    net = Twice()
    tops = [
        np.linalg.norm(_dense(net.conv.double(), 2, (n, n)).numpy(), 2) for n in (8, 4)
    ]
    norm = compute_norms(
        net, ["spectral_product"], conv="operator", input_shape=(2, 8, 8)
    )["spectral_product"]
    assert_allclose(norm, np.log(max(tops)), atol=1e-9)


class _Tied(nn.Module):
    """Two convolutions with one weight, the second on images of twice the size."""

    def __init__(self, dilation=1):
        super().__init__()
        options = {"bias": False, "dtype": torch.float64, **CIRCULAR}
        self.small = nn.Conv2d(2, 2, 3, padding=1, **options)
        self.large = nn.Conv2d(2, 2, 3, padding=dilation, dilation=dilation, **options)
        self.large.weight = self.small.weight

    def forward(self, X):
        return self.small(X[..., ::2, ::2]) + self.large(X)[..., ::2, ::2]


def _product(net, **options):
    return compute_norms(net, ["spectral_product"], conv="operator", **options)[
        "spectral_product"
    ]


def test_a_tied_weight_counts_at_the_sizes_of_all_its_layers():
    net = _Tied()
    # A second difference has its norm at a frequency that an image of 3x3 lacks.
    difference = torch.tensor([-1.0, 2.0, -1.0]).double()
    with torch.no_grad():
        net.small.weight.copy_(torch.ones(2, 2, 1, 1) * torch.outer(*[difference] * 2))
    small, large = (
        np.log(np.linalg.norm(_dense(net.small, 2, (n, n)).numpy(), 2)) for n in (3, 6)
    )
    assert_allclose([small, large], np.log([2 * 3**2, 2 * 4**2]))
    assert_allclose(_product(net, input_shape=(2, 6, 6)), large, atol=1e-9)
    # With another geometry it is another operator: the first layer's counts.
    other = _Tied(dilation=2)
    other.load_state_dict(net.state_dict())
    assert_allclose(_product(other, input_shape=(2, 6, 6)), small, atol=1e-9)


def test_a_convolution_may_be_called_by_keyword():
    class Keyword(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, X):
            return self.conv(input=X)

    net, shape = Keyword(), {"input_shape": (2, 6, 6)}
    assert _product(net, **shape) == _product(nn.Sequential(net.conv), **shape)


@pytest.mark.parametrize("call", [compute_norms, layer_table])
@pytest.mark.parametrize(
    ("shape", "error", "match"),
    [
        (6, TypeError, "input_shape must be a sequence of integers, got 6"),
        ((1, 6.5, 6), TypeError, r"input_shape\[1\] must be an integer, got 6.5"),
        ((2, 6, 6), ValueError, r"input_shape must be.*sample.*fails on \(2, 6, 6\)"),
    ],
)
def test_a_shape_that_cannot_be_is_told(call, shape, error, match):
    with pytest.raises(error, match=match):
        call(_circular_net(), conv="operator", input_shape=shape)


def test_messages_of_the_operator_say_what_to_do():
    net = _circular_net()
    with pytest.raises(ValueError, match="conv must be one of 'kernel', 'operator'"):
        compute_norms(net, conv="fft")
    with pytest.raises(ValueError, match=r"pass input_shape=\(channels, height"):
        compute_norms(net, conv="operator")
    net.append(nn.Identity())
    net[-1].unused = nn.Conv2d(1, 1, 1)
    with pytest.raises(ValueError, match=r"does not call '6.unused'"):
        compute_norms(net, conv="operator", input_shape=(1, 6, 6))


def test_layer_table_has_the_norms_of_each_matrix():
    net = _circular_net()
    table = layer_table(net)
    assert table["name"].tolist() == ["0", "2", "5"]
    assert table["shape"].tolist() == [(5, 1, 3, 3), (6, 5, 3, 3), (7, 54)]
    for row, layer in zip(table.itertuples(), (net[0], net[2], net[5]), strict=True):
        matrix = layer.weight.detach().double().flatten(1).numpy()
        values = np.linalg.svd(matrix, compute_uv=False)
        assert_allclose(row.log_spectral, np.log(values[0]), atol=1e-7)
        assert_allclose(row.log_frobenius, np.log(np.linalg.norm(matrix)), atol=1e-7)
        assert_allclose(row.stable_rank, (values**2).sum() / values[0] ** 2, rtol=1e-6)
        rows, columns = (np.linalg.norm(matrix, axis=axis).sum() for axis in (1, 0))
        assert_allclose(row.log_rows_21, np.log(rows), atol=1e-7)
        assert_allclose(row.log_columns_21, np.log(columns), atol=1e-7)
    assert_allclose(
        table["log_spectral"].sum(),
        compute_norms(net, ["spectral_product"])["spectral_product"],
    )


def test_layer_table_of_operators_is_that_of_dense_matrices():
    net = _circular_net().double()
    table = layer_table(net, conv="operator", input_shape=(1, 6, 6))
    dense = _dense(net[2], 5, (6, 6)).numpy()
    values = np.linalg.svd(dense, compute_uv=False)
    assert_allclose(
        table["stable_rank"][1], (values**2).sum() / values[0] ** 2, rtol=1e-7
    )
    assert_allclose(table["log_frobenius"][1], np.log(np.linalg.norm(dense)))


def test_layer_table_of_zeros_has_no_stable_rank():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.MultiheadAttention(4, 2))
    nn.init.zeros_(net[1].weight)
    table = layer_table(net)
    assert table["shape"].tolist()[2:] == [(4, 4)] * 4
    assert np.isneginf(table["log_spectral"][1])
    assert table["stable_rank"].isna().tolist() == [i == 1 for i in range(6)]
