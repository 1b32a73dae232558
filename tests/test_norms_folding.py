"""Folding a normalisation leaves the function alone, and frees the norm of scales."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.nn.utils import parametrizations, prune

from scalinglaw.classifiers._networks import residual_network
from scalinglaw.norms import (
    NORMS,
    compute_norms,
    fold_normalization,
    layer_table,
    weight_layers,
)

EXACT = tuple(name for name in NORMS if name != "fisher_rao")


def _with_statistics(net, shape):
    """Running statistics and scales as after some training."""
    generator = torch.Generator().manual_seed(1)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            n = part.num_features
            part.running_mean.normal_(generator=generator)
            part.running_var.uniform_(0.5, 4, generator=generator)
            with torch.no_grad():
                part.weight.copy_(1 + torch.randn(n, generator=generator) / 4)
                part.bias.normal_(generator=generator)
    return net.eval()


def _resnet():
    return residual_network((3, 8, 8), 4, (4, 6), (1, 2))


def _plain():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 5, 2),
        nn.Dropout2d(),
        nn.BatchNorm2d(5),
        nn.Flatten(),
        nn.Linear(5 * 49, 6),
        nn.BatchNorm1d(6),
        nn.ReLU(),
        nn.Linear(6, 4),
    )


NETS = {"resnet": _resnet, "plain": _plain}


def _net(name):
    torch.manual_seed(0)
    return _with_statistics(NETS[name](), (3, 8, 8))


def _data(n=6):
    generator = torch.Generator().manual_seed(2)
    return {"X": torch.randn(n, 3, 8, 8, generator=generator), "y": torch.arange(n) % 4}


@pytest.mark.parametrize("net", NETS)
def test_folding_leaves_outputs_as_they_were(net):
    module = _net(net)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    folded = fold_normalization(module.train())
    X = _data()["X"]
    kinds = {type(part) for part in folded.modules()}
    assert kinds.isdisjoint({nn.BatchNorm1d, nn.BatchNorm2d})
    assert torch.allclose(folded(X), module.eval()(X), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


@pytest.mark.parametrize("net", NETS)
def test_folded_norms_are_those_of_the_folded_network(net):
    module, data = _net(net), _data()
    norms = compute_norms(module, NORMS, fold_normalization=True, **data)
    expected = compute_norms(fold_normalization(module), NORMS, **data)
    plain = compute_norms(module, NORMS, **data)
    for name in NORMS:
        assert_allclose(norms[name], expected[name], rtol=0, atol=1e-6, err_msg=name)
        assert abs(plain[name] - norms[name]) > 1e-3


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("factor", [1e-2, 30.0])
def test_folded_norms_do_not_see_the_scale_of_a_normalised_convolution(net, factor):
    module, shape = _net(net), {"input_shape": (3, 8, 8)}
    before = compute_norms(module, EXACT, fold_normalization=True, **shape)
    plain = compute_norms(module, EXACT, **shape)
    conv, norm = module[0], module[1]
    with torch.no_grad():
        conv.weight.mul_(factor)
        # What training would have found; eps is not scaled by anything.
        norm.running_mean.mul_(factor)
        norm.running_var.add_(norm.eps).mul_(factor**2).sub_(norm.eps)
    after = compute_norms(module, EXACT, fold_normalization=True, **shape)
    for name in EXACT:
        assert_allclose(after[name], before[name], rtol=0, atol=1e-5, err_msg=name)
    product = compute_norms(module, ["spectral_product"])["spectral_product"]
    assert_allclose(product - plain["spectral_product"], np.log(factor), atol=1e-6)


def test_folded_layers_are_those_that_the_forward_pass_joins():
    # By order of registration the second convolution would get the first scale.
    class Swapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.b, self.a = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
            self.first, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, X):
            return self.second(self.b(torch.relu(self.first(self.a(X)))))

    module = _with_statistics(Swapped(), None)
    X = torch.randn(2, 3, 4, 4)
    assert torch.allclose(fold_normalization(module)(X), module(X), atol=1e-5)
    layers = {layer.name: layer for layer in weight_layers(module, True)}
    scale = module.first.weight / (module.first.running_var + 1e-5).sqrt()
    expected = (module.a.weight * scale.view(-1, 1, 1, 1)).detach()
    assert torch.allclose(layers["a"].weight, expected)


def test_without_batch_normalisation_nothing_is_folded():
    module = nn.Sequential(nn.Linear(8, 5), nn.LayerNorm(5), nn.Linear(5, 4))
    data = {"X": torch.randn(6, 8), "y": torch.arange(6) % 4}
    assert compute_norms(module, NORMS, fold_normalization=True, **data) == (
        compute_norms(module, NORMS, **data)
    )


def test_a_parametrized_layer_is_folded_as_what_it_makes():
    module = nn.Sequential(
        parametrizations.weight_norm(nn.Linear(3, 4)), nn.BatchNorm1d(4)
    )
    module = _with_statistics(module, None)
    X = torch.randn(5, 3)
    assert torch.allclose(fold_normalization(module)(X), module(X), atol=1e-5)
    assert module[0].parametrizations  # and the original is left as it was
    names = ("spectral_product", "frobenius")
    assert compute_norms(module, names, fold_normalization=True) == pytest.approx(
        compute_norms(fold_normalization(module), names), abs=1e-7
    )


def _old_hook(name):
    def apply(layer):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return getattr(torch.nn.utils, name)(layer)

    return apply


@pytest.mark.parametrize("place", [0, 3], ids=["folded", "not folded"])
@pytest.mark.parametrize(
    "hook",
    [
        _old_hook("weight_norm"),
        _old_hook("spectral_norm"),
        lambda layer: prune.random_unstructured(layer, "weight", 0.5),
    ],
    ids=["weight_norm", "spectral_norm", "prune"],
)
def test_a_layer_with_an_older_hook_is_folded_as_what_it_makes(hook, place):
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)
    )
    module[place] = hook(module[place])
    module, X = _with_statistics(module, None), torch.randn(5, 3)
    outputs = module(X)
    folded = fold_normalization(module)
    assert torch.allclose(folded(X), outputs, atol=1e-5)
    assert isinstance(folded[place].weight, nn.Parameter)
    assert torch.equal(module(X), outputs)  # and the original is left as it was
    names, data = ("spectral_product", "l1", "fisher_rao"), (X, torch.arange(5) % 3)
    data = dict(zip("Xy", data, strict=True))
    assert compute_norms(
        module, names, fold_normalization=True, **data
    ) == pytest.approx(compute_norms(folded, names, **data), abs=1e-6)


class _Tied(nn.Module):
    """Two layers with one weight, each with or without normalisation after it."""

    def __init__(self, first, second):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight
        self.norm_a = nn.BatchNorm1d(4) if first else nn.Identity()
        self.norm_b = nn.BatchNorm1d(4) if second else nn.Identity()

    def forward(self, X):
        return self.norm_b(self.b(torch.relu(self.norm_a(self.a(X)))))


@pytest.mark.parametrize(
    ("first", "second", "n_matrices"),
    [(True, False, 2), (False, True, 2), (True, True, 2), (False, False, 1)],
)
def test_a_tied_layer_that_is_folded_counts_as_a_matrix_of_its_own(
    first, second, n_matrices
):
    torch.manual_seed(0)
    module = _with_statistics(_Tied(first, second), None)
    folded = fold_normalization(module)
    names = tuple(name for name in EXACT if name != "path")
    assert compute_norms(module, names, fold_normalization=True) == pytest.approx(
        compute_norms(folded, names), abs=1e-6
    )
    tables = layer_table(module, fold_normalization=True), layer_table(folded)
    assert tables[0]["name"].tolist() == tables[1]["name"].tolist()
    assert len(tables[0]) == n_matrices
    for column in tables[0].columns[2:]:
        assert_allclose(tables[0][column], tables[1][column], atol=1e-6)


def test_folding_behind_a_linear_layer_takes_samples_as_vectors():
    # Of sequences as long as the layer is wide, each position has its own scale.
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Flatten(1))
    module, X = _with_statistics(module, None), torch.randn(6, 3)
    folded = fold_normalization(module)
    for copy in (folded, pickle.loads(pickle.dumps(folded))):
        assert type(copy[1]) is nn.Identity
        assert torch.allclose(copy(X), module(X), atol=1e-5)
        with pytest.raises(ValueError, match=r"vectors of.*got \(2, 4, 4\)"):
            copy(torch.randn(2, 4, 3))
    assert torch.allclose(torch.fx.symbolic_trace(folded)(X), module(X), atol=1e-5)
    data = {"X": torch.randn(2, 4, 3), "y": torch.arange(2)}
    with pytest.raises(ValueError, match="Use fold_normalization=False"):
        compute_norms(module, ["fisher_rao"], fold_normalization=True, **data)


def test_a_normalisation_under_two_names_is_replaced_under_both():
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))

    class Aliased(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.block = module[1], module

        def forward(self, X):
            return self.block(X)

    net, X = _with_statistics(Aliased(), None), torch.randn(5, 3)
    assert torch.allclose(fold_normalization(net)(X), net(X), atol=1e-5)


def test_a_normalisation_may_be_called_by_keyword():
    class Keyword(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.norm = nn.Linear(3, 4), nn.BatchNorm1d(4)
            self.dropout = nn.Dropout()

        def forward(self, X):
            return self.norm(input=self.dropout(input=self.linear(input=X)))

    module, X = _with_statistics(Keyword(), None), torch.randn(5, 3)
    assert torch.allclose(fold_normalization(module)(X), module(X), atol=1e-5)


def test_a_compiled_network_is_folded_as_the_one_that_it_wraps():
    module, X = _net("plain"), _data()["X"]
    folded = fold_normalization(torch.compile(module, backend="eager"))
    assert torch.equal(folded(X), fold_normalization(module)(X))
    layers = weight_layers(torch.compile(module, backend="eager"), True)
    assert [layer.name for layer in layers] == ["0", "3", "7", "10"]


def test_what_is_no_module_cannot_be_folded():
    with pytest.raises(TypeError, match=r"a torch\.nn\.Module, got int"):
        fold_normalization(3)


def test_operator_norms_and_the_table_are_folded_as_well():
    module = _net("resnet")
    options = {"conv": "operator", "input_shape": (3, 8, 8)}
    names = ("spectral_complexity", "group_21")
    folded = fold_normalization(module)
    assert compute_norms(
        module, names, fold_normalization=True, **options
    ) == pytest.approx(compute_norms(folded, names, **options), abs=1e-6)
    tables = (
        layer_table(module, fold_normalization=True, **options),
        layer_table(folded, **options),
    )
    for column in tables[0].columns[2:]:
        assert_allclose(tables[0][column], tables[1][column], rtol=1e-5)


class _Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, X):
        X = self.conv(X)
        return X + self.norm(X)


class _Dynamic(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)

    def forward(self, X):
        return self.norm(self.linear(X)) if X.sum() > 0 else X


@pytest.mark.parametrize(
    ("module", "match"),
    [
        (nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)), "cannot fold '0'"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)),
            r"cannot fold '2' \(BatchNorm2d\).*follow",
        ),
        (_Shared(), "whose output nothing else reads"),
        (_Dynamic(), "torch.fx can trace.*Use fold_normalization=False"),
        (
            nn.Sequential(nn.ConvTranspose2d(4, 4, 2, groups=2), nn.BatchNorm2d(4)),
            "cannot fold '1'",
        ),
        (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm2d(4)), "cannot fold '1'"),
    ],
    ids=[
        "first",
        "after relu",
        "read twice",
        "dynamic",
        "grouped transposed",
        "images",
    ],
)
def test_a_normalisation_that_cannot_be_folded_is_named(module, match):
    for call in (fold_normalization, weight_layers):
        options = {} if call is fold_normalization else {"fold_normalization": True}
        with pytest.raises(ValueError, match=match):
            call(module, **options)
    with pytest.raises(ValueError, match=match):
        compute_norms(module, ["frobenius"], fold_normalization=True)


def test_a_normalisation_without_running_statistics_stays():
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)
    )
    assert isinstance(fold_normalization(module)[1], nn.BatchNorm2d)
