"""Weights as the forward pass uses them: counted rightly, refused, or named."""

import copy
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.nn import functional
from torchvision.ops import DeformConv2d

from scalinglaw.exceptions import UncountedParameterWarning
from scalinglaw.norms import (
    NormTracker,
    compute_norms,
    fold_normalization,
    layer_table,
    weight_layers,
)


def _seeded(make):
    torch.manual_seed(0)
    return make()


def _log_norm(*matrices):
    return sum(torch.linalg.matrix_norm(m.double(), 2).log().item() for m in matrices)


def _product(module):
    return compute_norms(module, ["spectral_product"])["spectral_product"]


class Lora(nn.Linear):
    def __init__(self, n_in=6, n_out=5, scale=0.5):
        super().__init__(n_in, n_out)
        self.scale = scale
        self.A = nn.Parameter(torch.randn(2, n_in))
        self.B = nn.Parameter(torch.zeros(n_out, 2))

    def forward(self, x):
        return super().forward(x) + self.scale * (x @ self.A.T @ self.B.T)

    def matrix(self):
        return (self.weight + self.scale * self.B @ self.A).detach()


class Wrapper(nn.Module):
    """An adapter beside a layer, as peft has it; names differ between libraries."""

    def __init__(self, keys=("base_layer", "lora_A", "lora_B"), n_in=6, n_out=5):
        super().__init__()
        self.keys = keys
        setattr(self, keys[0], nn.Linear(n_in, n_out))
        setattr(self, keys[1], nn.ModuleDict({"default": nn.Linear(n_in, 2, False)}))
        setattr(self, keys[2], nn.ModuleDict({"default": nn.Linear(2, n_out, False)}))
        nn.init.zeros_(getattr(self, keys[2])["default"].weight)

    def forward(self, x):
        base, down, up = (getattr(self, key) for key in self.keys)
        return base(x) + 2 * up["default"](down["default"](x))

    def matrix(self):
        base, down, up = (getattr(self, key) for key in self.keys)
        delta = up["default"].weight @ down["default"].weight
        return (base.weight + 2 * delta).detach()


class Bare(nn.Module):
    """An adapter of bare parameters around a layer."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 5)
        self.down = nn.Parameter(torch.randn(6, 2))
        self.up = nn.Parameter(torch.zeros(2, 5))

    def forward(self, x):
        return self.linear(x) + x @ self.down @ self.up

    def matrix(self):
        return (self.linear.weight + (self.down @ self.up).T).detach()


ADAPTERS = {
    "subclass": Lora,
    "peft": Wrapper,
    "other names": lambda: Wrapper(("inner", "a", "b")),
    "bare": Bare,
}


@pytest.mark.parametrize("kind", ADAPTERS)
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.filterwarnings("error")
def test_a_layer_with_a_low_rank_adapter_is_one_matrix(kind, trained):
    layer = _seeded(ADAPTERS[kind])
    if trained:
        for name, parameter in layer.named_parameters():
            if not parameter.any():
                nn.init.normal_(parameter)
                assert name != "bias"
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), layer)
    expected = _log_norm(net[0].weight.detach(), layer.matrix())
    assert_allclose(_product(net), expected, rtol=0, atol=1e-5)
    assert [found.name for found in weight_layers(net)] == ["0", "2"]


def test_layers_in_a_row_are_no_adapter():
    class Row(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.down = nn.Linear(6, 5), nn.Linear(5, 2)
            self.up = nn.Linear(2, 5)

        def forward(self, x):
            return self.up(self.down(self.first(x)))

    row = _seeded(Row)
    expected = [p.detach() for p in row.parameters() if p.ndim == 2]
    assert_allclose(_product(row), _log_norm(*expected), rtol=0, atol=1e-6)


class Standardised(nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, self.matrix(), self.bias)

    def matrix(self):
        mean = self.weight.mean(dim=(1, 2, 3), keepdim=True)
        return (self.weight - mean) / self.weight.std(dim=(1, 2, 3), keepdim=True)


class Equalised(nn.Linear):
    """A learning rate built into the scale."""

    def forward(self, x):
        return functional.linear(x, self.matrix(), self.bias)

    def matrix(self):
        return self.weight / 6**0.5


class SamePadding(nn.Conv2d):
    def forward(self, x):
        x = functional.pad(x, (1, 1, 1, 1))
        return self._conv_forward(x, self.weight, self.bias)

    def matrix(self):
        return self.weight


class Scaled(nn.ConvTranspose2d):
    def forward(self, x):
        return 3 * super().forward(x)

    def matrix(self):
        return 3 * self.weight.transpose(0, 1)


class Coded(nn.Module):
    """Codes of one byte and a scale for each output."""

    def __init__(self):
        super().__init__()
        self.in_features, self.out_features = 6, 5
        weight = torch.randn(5, 6)
        scale = weight.abs().amax(dim=1, keepdim=True) / 127
        self.register_buffer("codes", (weight / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)

    def forward(self, x):
        return functional.linear(x, self.matrix())

    def matrix(self):
        return self.codes * self.scale


@pytest.mark.parametrize(
    "make",
    [
        lambda: Standardised(4, 5, 3, stride=2, padding=1, groups=1),
        lambda: Standardised(4, 5, (3, 2), dilation=2, padding_mode="circular"),
        lambda: SamePadding(4, 5, 3, stride=(2, 3)),
        lambda: Scaled(4, 5, 3, stride=2),
        lambda: Equalised(6, 5),
        Coded,
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_forward_pass_of_ones_own_counts_as_the_matrix_that_it_uses(make):
    layer = _seeded(make)
    matrix = layer.matrix().detach().flatten(1)
    norms = compute_norms(layer, ["spectral_complexity", "group_21"])
    rows, columns = (torch.linalg.vector_norm(matrix, dim=d).sum() for d in (1, 0))
    assert_allclose(norms["spectral_complexity"], rows.log().item(), atol=1e-5)
    assert_allclose(norms["group_21"], columns.log().item(), atol=1e-5)
    if hasattr(layer, "kernel_size"):
        with pytest.raises(ValueError, match=r"operator.*use conv"):
            compute_norms(layer, conv="operator", input_shape=(4, 9, 9))


@pytest.mark.parametrize("groups", [1, 2])
def test_a_grouped_layer_of_ones_own_has_the_matrix_of_the_dense_one(groups):
    layer = _seeded(lambda: Standardised(4, 6, 3, groups=groups))
    with torch.no_grad():
        plain = nn.Conv2d(4, 6, 3, groups=groups)
        plain.weight.copy_(layer.matrix())
    names = ["spectral_complexity", "group_21"]
    expected = compute_norms(plain, names)
    assert compute_norms(layer, names) == pytest.approx(expected, abs=1e-5)


def test_torchs_quantised_layers_count_as_what_they_stand_for():
    net = _seeded(lambda: nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        coded = torch.ao.quantization.quantize_dynamic(copy.deepcopy(net))
    assert "quantized" in type(coded[0]).__module__
    assert_allclose(_product(coded), _product(net), rtol=0, atol=0.02)
    with pytest.raises(ValueError, match="'0' is a Linear, whose quantised weights"):
        compute_norms(coded, ["frobenius"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lstm = torch.ao.quantization.quantize_dynamic(
            nn.Sequential(nn.LSTM(4, 3)), {nn.LSTM}
        )
    for name in ("spectral_product", "frobenius"):
        with pytest.raises(ValueError, match="'0' is a LSTM"):
            compute_norms(lstm, [name])


def _with_weight(weight, requires_grad=False):
    layer = nn.Linear(4, 4, bias=False)
    layer.weight = nn.Parameter(weight, requires_grad)
    return nn.Sequential(layer)


class _Sharded(torch.Tensor):
    def full_tensor(self):
        raise AssertionError("a collective call would wait for other processes")


@pytest.mark.parametrize(
    ("module", "error", "match"),
    [
        (_with_weight(torch.ones(4, 4, dtype=torch.int8)), TypeError, "int8 in '0"),
        (nn.Sequential(nn.Linear(4, 4, device="meta")), ValueError, "'0.*'meta'"),
        (
            nn.Sequential(nn.Linear(4, 4, dtype=torch.cfloat)),
            TypeError,
            "must be real.*'0'",
        ),
        (
            _with_weight(torch.ones(4, 4).as_subclass(_Sharded)),
            ValueError,
            r"'0\.weight' is sharded",
        ),
        (_with_weight(torch.ones(16)), ValueError, r"'0'.*2 dimensions.*\(16,\)"),
        (nn.Sequential(), ValueError, "no weight matrix"),
        (_with_weight(torch.ones(0, 4)), ValueError, "no weight matrix"),
    ],
    ids=["int8", "meta", "complex", "sharded", "flat", "empty", "no entries"],
)
def test_weights_that_cannot_be_read_are_refused_by_name(module, error, match):
    with pytest.raises(error, match=match):
        compute_norms(module)


@pytest.mark.parametrize(
    ("module", "match"),
    [
        (_with_weight(torch.ones(4, 4, dtype=torch.int8)), "int8 in '0.weight'"),
        (nn.Sequential(nn.Linear(4, 4, device="meta")), "'0.weight'.*'meta'"),
        (nn.Sequential(), "no parameter"),
    ],
)
@pytest.mark.parametrize("name", ["frobenius", "l1", "path", "fisher_rao"])
def test_norms_of_all_parameters_refuse_them_too(module, match, name):
    data = {"X": torch.ones(2, 4), "y": torch.tensor([0, 1])}
    with pytest.raises((ValueError, TypeError), match=match):
        compute_norms(module, [name], **data)


def test_entrywise_norms_of_complex_weights_are_those_of_their_sizes():
    net = nn.Linear(4, 3, bias=False, dtype=torch.cfloat)
    entries = net.weight.detach().abs().double()
    norms = compute_norms(net, ["frobenius", "l1"])
    assert_allclose(norms["frobenius"], entries.norm().log().item(), atol=1e-6)
    assert_allclose(norms["l1"], entries.sum().log().item(), atol=1e-6)


def test_a_sparse_or_frozen_weight_is_that_of_the_dense_one():
    weight = torch.diag(torch.tensor([1.0, 2.0, 0.0, 3.0]))
    names = ["spectral_complexity", "frobenius"]
    expected = compute_norms(_with_weight(weight, requires_grad=True), names)
    assert compute_norms(_with_weight(weight), names) == expected
    assert compute_norms(_with_weight(weight.to_sparse()), names) == expected


def test_a_module_nested_too_deeply_is_told():
    net = nn.Linear(2, 2)
    for _ in range(50):
        net = nn.Sequential(net)
    assert np.isfinite(_product(net))
    for _ in range(3000):
        net = nn.Sequential(net)
    for name in ("spectral_product", "frobenius"):
        with pytest.raises(ValueError, match="nested too deeply"):
            compute_norms(net, [name])
    for call in (layer_table, weight_layers, fold_normalization):
        with pytest.raises(ValueError, match="nested too deeply"):
            call(net)


class Failing(nn.Linear):
    """A forward pass that raises or returns nothing."""

    def __init__(self, error):
        super().__init__(4, 3)
        self.error = error

    def forward(self, x):
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("name", ["path", "fisher_rao"])
@pytest.mark.parametrize(
    ("error", "match"),
    [
        (KeyError("mask"), "forward pass fails.*KeyError: 'mask'"),
        (RuntimeError("shapes"), "forward pass fails.*RuntimeError: shapes"),
        (None, r"needs? a network that returns one"),
    ],
)
def test_a_forward_pass_that_fails_is_told_with_the_argument(name, error, match):
    net, data = Failing(error), {"X": torch.ones(2, 4), "y": torch.tensor([0, 1])}
    with pytest.raises(ValueError, match=match):
        compute_norms(net, [name], **data)
    with (
        pytest.warns(UncountedParameterWarning, match="is a Failing, whose forward"),
        pytest.raises(ValueError, match="no weight matrix"),
    ):
        compute_norms(net)


class Named(nn.Module):
    """Parameters that are named like those of torch's hooks, and are none."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 2, bias=False)
        self.kernel_g, self.kernel_v = (nn.Parameter(torch.ones(3, 3)) for _ in "gv")
        self.weight_orig = nn.Parameter(torch.ones(3, 3))
        self.kernel = self.weight = None
        self.register_buffer("weight_mask", torch.zeros(3, 3))

    def forward(self, x):
        return self.head(x @ self.kernel_g @ self.kernel_v @ self.weight_orig)


def test_names_like_those_of_hooks_make_no_hook():
    net = Named()
    with pytest.warns(UncountedParameterWarning) as said:
        assert_allclose(_product(net), _log_norm(net.head.weight.detach()), atol=1e-6)
    for name in ("kernel_g", "kernel_v", "weight_orig"):
        assert any(name in str(warning.message) for warning in said)
    expected = torch.cat([p.detach().flatten() for p in net.parameters()]).norm().log()
    value = compute_norms(net, ["frobenius"])["frobenius"]
    assert_allclose(value, expected.item(), atol=1e-6)


def test_a_weight_that_a_hook_of_ones_own_makes_is_read_from_the_outputs():
    def double(layer, inputs):
        layer.weight = 2 * layer.weight_orig

    layer = _seeded(lambda: nn.Linear(4, 3))
    original = nn.Parameter(layer.weight.detach().clone())
    del layer.weight
    layer.weight_orig, layer.weight = original, torch.zeros(3, 4)
    layer.register_forward_pre_hook(double)
    expected = _log_norm(2 * original.detach())
    assert_allclose(_product(layer), expected, rtol=0, atol=1e-5)


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate, self.up = nn.Linear(4, 2), nn.Parameter(torch.randn(2, 8, 4))

    def forward(self, x):
        return torch.einsum("ne,eoi,ni->no", self.gate(x).softmax(-1), self.up, x)


class OneOff(nn.Linear):
    def forward(self, x):
        return torch.tanh(functional.linear(x, self.weight, self.bias))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Experts, ["up of shape (2, 8, 4)", "Experts"]),
        (
            lambda: nn.Sequential(DeformConv2d(2, 3, 3), nn.Linear(2, 2)),
            ["0.weight of shape (3, 2, 3, 3)", "DeformConv2d"],
        ),
        (lambda: nn.Sequential(OneOff(3, 3), nn.Linear(3, 2)), ["'0' is a OneOff"]),
    ],
)
def test_what_is_not_counted_is_named_once_at_the_line_of_the_user(make, words):
    module = _seeded(make)
    for call in (weight_layers, layer_table, compute_norms, NormTracker):
        with pytest.warns(UncountedParameterWarning) as said:
            tracker = call(module)
        assert all(word in str(said[0].message) for word in words)
        assert {warning.filename for warning in said} == {__file__}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tracker.compute()  # it has been said


class Fused(nn.Module):
    def __init__(self, name, heads="num_heads"):
        super().__init__()
        setattr(self, name, nn.Linear(8, 24, bias=False))
        setattr(self, heads, 2)
        self.proj = nn.Linear(8, 8, bias=False)


def test_fused_attention_has_the_norms_of_torchs_own():
    attention = _seeded(lambda: nn.MultiheadAttention(8, 2, bias=False))
    names = ["spectral_complexity", "group_21"]
    expected = compute_norms(attention, names)
    q, k, v = attention.in_proj_weight.detach().chunk(3)
    by_head = torch.cat([w[4 * h : 4 * h + 4] for h in (0, 1) for w in (q, k, v)])
    for name, heads, weight in [
        ("qkv", "num_heads", attention.in_proj_weight.detach()),
        ("c_attn", "n_head", attention.in_proj_weight.detach()),
        ("query_key_value", "num_attention_heads", by_head),
    ]:
        fused = Fused(name, heads)
        getattr(fused, name).weight.data = weight
        fused.proj.weight.data = attention.out_proj.weight.data
        assert compute_norms(fused, names) == pytest.approx(expected, abs=1e-6)
        assert layer_table(fused)["name"].tolist()[:3] == [
            f"{name}.{part}" for part in ("query", "key", "value")
        ]
    # Nothing says of a layer alone what its rows are.
    assert len(weight_layers(nn.ModuleDict({"qkv": nn.Linear(8, 24)}))) == 1


@pytest.mark.parametrize("how", ["wrapped", "inner", "in place"])
def test_compiled_modules_are_those_that_they_wrap(how):
    net = _seeded(lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    names = ["spectral_complexity", "frobenius", "path"]
    expected = compute_norms(net, names, input_shape=(4,))
    compiled = copy.deepcopy(net)
    if how == "in place":
        compiled.compile(backend="eager")
    elif how == "inner":
        compiled[0] = torch.compile(compiled[0], backend="eager")
    else:
        compiled = torch.compile(compiled, backend="eager")
    assert [layer.name for layer in weight_layers(compiled)] == ["0", "2"]
    assert compute_norms(compiled, names, input_shape=(4,)) == expected
    # A copy has to be made of this one.
    last = compiled._orig_mod[2] if how == "wrapped" else compiled[2]
    torch.nn.utils.parametrizations.weight_norm(last)
    again = compute_norms(compiled, names, input_shape=(4,))
    assert again["spectral_complexity"] == pytest.approx(expected[names[0]], abs=1e-6)
    assert again["path"] == pytest.approx(expected["path"], abs=1e-6)


def test_measuring_a_layer_by_its_answers_leaves_it_alone():
    layer = _seeded(Lora).train()
    state = {name: value.clone() for name, value in layer.state_dict().items()}
    random_state = torch.random.get_rng_state()
    _product(layer)
    assert layer.training
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert all(torch.equal(v, state[k]) for k, v in layer.state_dict().items())
    assert all(p.grad is None for p in layer.parameters())
