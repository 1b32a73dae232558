"""Norms against formulas written out in float64, and what leaves them alone."""

import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.nn.utils import prune
from torchvision.models import VisionTransformer, resnet18

from scalinglaw.exceptions import UncountedParameterWarning
from scalinglaw.norms import NORMS, NormTracker, compute_norms, weight_layers

PER_LAYER = ["spectral_complexity", "spectral_product", "group_21"]
# Norms of the weights alone: no sample, no shape of a sample.
WEIGHTS_ONLY = tuple(name for name in NORMS if name not in ("path", "fisher_rao"))


def _cnn(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3),
        nn.Flatten(),
        nn.Linear(8 * 36, 20),
        nn.ReLU(),
        nn.Linear(20, 10),
    )


def _resnet(seed=0):
    torch.manual_seed(seed)
    return resnet18(num_classes=10)


def _vit(seed=0):
    torch.manual_seed(seed)
    vit = VisionTransformer(8, 4, 2, 4, 32, 64, num_classes=10)
    nn.init.xavier_uniform_(vit.heads.head.weight)
    return vit


NETS = {"cnn": _cnn, "resnet": _resnet, "vit": _vit}
SHAPES = {"cnn": (1, 8, 8), "resnet": (3, 32, 32), "vit": (3, 8, 8)}


def _data(net, n=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n, *SHAPES[net], generator=generator)
    return {"X": X, "y": torch.arange(n) % 10}


def _matrices(module):
    """Weights as float64 arrays of shape (out, in), found by parameter name."""
    found = []
    for name, parameter in module.named_parameters():
        array = parameter.detach().double().numpy()
        if name.endswith("in_proj_weight"):
            found += np.split(array, 3)
        elif name.endswith("weight") and array.ndim >= 2:
            found.append(array.reshape(len(array), -1))
    return found


def _reference(module):
    """Every norm by its formula, from singular values of numpy."""
    matrices = _matrices(module)
    spectral = np.array([np.linalg.norm(w, 2) for w in matrices])
    rows = np.array([np.linalg.norm(w, axis=1).sum() for w in matrices])
    columns = np.array([np.linalg.norm(w, axis=0).sum() for w in matrices])
    after = np.append(np.cumsum(columns[::-1])[::-1][1:], 0.0)
    log_product = np.log(spectral).sum()
    flat = np.concatenate(
        [p.detach().double().numpy().ravel() for p in module.parameters()]
    )
    return {
        "spectral_complexity": log_product
        + 1.5 * np.log(((rows / spectral) ** (2 / 3)).sum()),
        "spectral_complexity_columns": log_product
        + 1.5 * np.log(((after / spectral) ** (2 / 3)).sum()),
        "spectral_product": log_product,
        "group_21": np.log(columns.sum()),
        "frobenius": np.log(np.sqrt((flat**2).sum())),
        "l1": np.log(np.abs(flat).sum()),
    }


@pytest.mark.parametrize("net", NETS)
def test_every_norm_equals_its_formula_in_float64(net):
    module = NETS[net]()
    norms, reference = compute_norms(module, WEIGHTS_ONLY), _reference(module)
    assert list(norms) == list(WEIGHTS_ONLY) == list(reference)
    for name in reference:
        assert_allclose(norms[name], reference[name], rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("net", NETS)
def test_computing_leaves_the_module_as_it_was(net):
    module = NETS[net]().train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    module.requires_grad_(True)
    random_state = torch.random.get_rng_state()
    compute_norms(module, NORMS, **_data(net))
    compute_norms(module, NORMS, fold_normalization=True, **_data(net))
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert all(part.training for part in module.modules())
    assert all(p.grad is None and p.requires_grad for p in module.parameters())
    assert torch.equal(torch.random.get_rng_state(), random_state)


def test_resnet18_has_21_weight_layers_and_each_counts():
    module = _resnet()
    layers = weight_layers(module)
    assert len(layers) == 21
    matrices = _matrices(module)
    spectral = np.array([np.linalg.norm(w, 2) for w in matrices])
    rows = np.array([np.linalg.norm(w, axis=1).sum() for w in matrices])
    ratios = rows / spectral
    expected = np.log(spectral).sum() + 1.5 * np.log(np.sum(ratios ** (2 / 3)))
    tracker = NormTracker(module)
    base = tracker.compute()["spectral_complexity"]
    assert_allclose(base, expected, atol=1e-6)
    for layer in layers:
        with torch.no_grad():
            layer.module.weight.mul_(10)
        # Both norms of the layer grow tenfold: their ratio stays, the product moves.
        moved = tracker.compute()["spectral_complexity"]
        assert_allclose(moved, base + np.log(10), rtol=0, atol=1e-5, err_msg=layer.name)
        with torch.no_grad():
            layer.module.weight.div_(10)


@pytest.mark.parametrize("factor", [1e30, 1e-30, 3e37, 1e-37])
@pytest.mark.parametrize("net", NETS)
def test_scaling_all_weights_adds_the_log_of_the_factor_per_layer(net, factor):
    module = NETS[net]()
    shape = {"input_shape": SHAPES[net]}
    # Paths through a network with branches differ in length.
    names = (*WEIGHTS_ONLY, "path") if net == "cnn" else WEIGHTS_ONLY
    n_layers = len(_matrices(module))
    before = compute_norms(module, names, **shape)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.div_(parameter.abs().max().clamp_min(1e-3))
        rescaled = compute_norms(module, names, **shape)
        for parameter in module.parameters():
            parameter.mul_(factor)
    after = compute_norms(module, names, **shape)
    assert all(np.isfinite(v) for v in before.values())
    for name in names:
        power = 1 if name in ("frobenius", "l1", "group_21") else n_layers
        expected = rescaled[name] + power * np.log(float(np.float32(factor)))
        assert_allclose(after[name], expected, rtol=1e-7, atol=1e-6, err_msg=name)
    assert np.isfinite(compute_norms(module, ["path"], **shape)["path"])


def test_float64_weights_may_leave_the_range_of_their_squares():
    layer = nn.Linear(4, 4, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(1e300 * torch.eye(4, dtype=torch.float64))
    norms = compute_norms(layer, (*NORMS[:2], "frobenius", "l1"))
    assert_allclose(norms["frobenius"], np.log(1e300) + np.log(2), rtol=1e-12)
    assert_allclose(norms["spectral_complexity"], np.log(1e300) + np.log(4), rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_norms_of_any_dtype_are_those_of_the_rounded_weights(dtype):
    module = _cnn().to(dtype)
    reference = _reference(module.double())
    norms = compute_norms(_cnn().to(dtype), WEIGHTS_ONLY)
    for name in WEIGHTS_ONLY:
        assert_allclose(norms[name], reference[name], atol=1e-6, err_msg=name)


@pytest.mark.parametrize("conv", [nn.ConvTranspose1d, nn.ConvTranspose2d])
def test_a_transposed_convolution_has_outputs_as_rows(conv):
    layer = conv(3, 5, 2, bias=False)
    matrix = layer.weight.detach().double().transpose(0, 1).flatten(1).numpy()
    norms = compute_norms(layer, ["spectral_complexity", "group_21"])
    rows = np.linalg.norm(matrix, axis=1).sum()
    assert_allclose(norms["spectral_complexity"], np.log(rows), atol=1e-7)
    columns = np.linalg.norm(matrix, axis=0).sum()
    assert_allclose(norms["group_21"], np.log(columns), atol=1e-7)


@pytest.mark.parametrize("conv", [nn.Conv1d, nn.Conv3d, nn.ConvTranspose2d])
def test_a_grouped_convolution_has_the_norms_of_the_dense_one(conv):
    grouped = conv(4, 6, 2, groups=2, bias=False)
    dense = conv(4, 6, 2, bias=False)
    with torch.no_grad():
        dense.weight.zero_()
        # In and out channels by group: the first axis of a transposed
        # convolution's weight is its input.
        first = dense.weight.shape[0] // 2
        second = dense.weight.shape[1] // 2
        for g in range(2):
            block = grouped.weight[g * first : (g + 1) * first]
            rows = slice(g * first, (g + 1) * first)
            dense.weight[rows, g * second : (g + 1) * second] = block
    for name in WEIGHTS_ONLY:
        assert_allclose(
            compute_norms(grouped, [name])[name],
            compute_norms(dense, [name])[name],
            atol=1e-9,
            err_msg=name,
        )


def test_attention_counts_query_key_value_and_output_packed_or_not():
    torch.manual_seed(0)
    packed = nn.MultiheadAttention(8, 2)
    apart = nn.MultiheadAttention(8, 2, kdim=6, vdim=5)
    assert [layer.name for layer in weight_layers(packed)] == [
        "query",
        "key",
        "value",
        "out_proj",
    ]
    shapes = [tuple(layer.blocks().shape) for layer in weight_layers(apart)]
    assert shapes == [(1, 8, 8), (1, 8, 6), (1, 8, 5), (1, 8, 8)]
    q, k, v = packed.in_proj_weight.detach().double().chunk(3)
    out = packed.out_proj.weight.detach().double()
    product = sum(np.log(np.linalg.norm(w.numpy(), 2)) for w in (q, k, v, out))
    assert_allclose(
        compute_norms(packed, ["spectral_product"])["spectral_product"],
        product,
        atol=1e-7,
    )


def test_shared_layers_and_tied_weights_count_once():
    shared = nn.Linear(4, 4)
    assert len(weight_layers(nn.Sequential(shared, nn.ReLU(), shared))) == 1
    embedding, head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
    head.weight = embedding.weight
    tied = nn.ModuleList([embedding, head])
    assert [layer.name for layer in weight_layers(tied)] == ["1"]
    assert_allclose(
        compute_norms(tied, ["frobenius"])["frobenius"],
        np.log(np.linalg.norm(head.weight.detach().double().numpy())),
    )


@pytest.mark.parametrize(
    "parametrize",
    [
        torch.nn.utils.parametrizations.weight_norm,
        torch.nn.utils.parametrizations.spectral_norm,
        torch.nn.utils.parametrizations.orthogonal,
        torch.nn.utils.spectral_norm,
        lambda layer: prune.random_unstructured(layer, "weight", 0.5),
    ],
)
def test_a_parametrized_layer_has_the_norms_of_the_weight_it_uses(parametrize):
    torch.manual_seed(0)
    module = nn.Sequential(parametrize(nn.Linear(5, 4)), nn.ReLU(), nn.Linear(4, 3))
    before = {k: v.clone() for k, v in module.state_dict().items()}
    norms = compute_norms(module, WEIGHTS_ONLY)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert module.training
    plain = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    module.eval()(torch.ones(1, 5))
    with torch.no_grad():
        plain[0].weight.copy_(module[0].weight)
        plain[0].bias.copy_(module[0].bias)
        plain[2].load_state_dict(module[2].state_dict())
    reference = _reference(plain)
    for name in WEIGHTS_ONLY:
        assert_allclose(norms[name], reference[name], atol=1e-6, err_msg=name)


def test_the_old_weight_norm_is_not_read_one_step_late():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        layer = torch.nn.utils.weight_norm(nn.Linear(5, 4, bias=False))
    with torch.no_grad():
        before = compute_norms(layer, WEIGHTS_ONLY)
        layer.weight_g.mul_(2)
    after = compute_norms(layer, WEIGHTS_ONLY)
    for name in WEIGHTS_ONLY[:1] + WEIGHTS_ONLY[2:]:
        assert_allclose(after[name], before[name] + np.log(2), atol=1e-6, err_msg=name)


def test_a_layer_of_zeros_makes_products_minus_infinity():
    module = VisionTransformer(8, 4, 1, 2, 8, 16, num_classes=3)
    norms = compute_norms(module, WEIGHTS_ONLY)
    assert norms["spectral_complexity"] == norms["spectral_product"] == -np.inf
    assert norms["spectral_complexity_columns"] == -np.inf
    assert all(np.isfinite(norms[name]) for name in ("group_21", "frobenius", "l1"))


def test_a_weight_that_is_nan_names_its_layer():
    module = _cnn()
    with torch.no_grad():
        module[3].weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"NaN or infinity in '3' \(1 of 4 tensors\)"):
        compute_norms(module)
    with pytest.raises(ValueError, match=r"in '3.weight'"):
        compute_norms(module, ["frobenius"])
    with torch.no_grad():
        module[3].weight[0, 0, 0, 0] = torch.inf
    for name in NORMS:
        with pytest.raises(ValueError, match="Training has diverged"):
            compute_norms(module, [name], **_data("cnn"))


@pytest.mark.parametrize(
    ("module", "names", "error", "match"),
    [
        (nn.ReLU(), PER_LAYER, ValueError, "no weight matrix.*got ReLU"),
        (nn.ReLU(), ["l1"], ValueError, "no parameter"),
        (nn.LSTM(3, 4), PER_LAYER, ValueError, "LSTM.*Ask for 'frobenius' or 'l1'"),
        (nn.LazyLinear(3), PER_LAYER, ValueError, "run one batch"),
        (nn.LazyLinear(3), ["l1"], ValueError, "run one batch"),
        ("net", PER_LAYER, TypeError, "pass its module_"),
        ("net", ["l1"], TypeError, "pass its module_"),
        (nn.Linear(2, 2), "l1", TypeError, r"Write names=\('l1',\)"),
        (nn.Linear(2, 2), None, TypeError, "names must be a sequence of names"),
        (nn.Linear(2, 2), ["l2"], ValueError, "names must be among"),
        (nn.Linear(2, 2, dtype=torch.cfloat), PER_LAYER, TypeError, "must be real"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_messages_say_what_is_wrong_and_what_to_do(module, names, error, match):
    with pytest.raises(error, match=match):
        compute_norms(module, names)


def test_recurrent_layers_have_entrywise_norms():
    module = nn.LSTM(3, 4)
    assert_allclose(
        compute_norms(module, ["l1"])["l1"],
        np.log(
            sum(p.detach().double().abs().sum().item() for p in module.parameters())
        ),
    )


def test_a_matrix_that_belongs_to_no_layer_is_announced():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.ones(3, 4))
            self.head = nn.Linear(4, 2)

    with pytest.warns(UncountedParameterWarning, match=r"table of shape \(3, 4\)"):
        layers = weight_layers(Bare())
    assert [layer.name for layer in layers] == ["head"]


def test_a_tracker_follows_the_weights():
    module = _cnn()
    tracker = NormTracker(module, WEIGHTS_ONLY)
    for _ in range(3):
        assert tracker.compute() == pytest.approx(
            compute_norms(module, WEIGHTS_ONLY), abs=1e-7
        )
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
