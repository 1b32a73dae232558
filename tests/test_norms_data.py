"""Norms that look at data: Fisher-Rao against gradients, margins by hand."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrizations, prune
from torchvision.models import VisionTransformer

from scalinglaw.classifiers._networks import residual_network
from scalinglaw.norms import compute_norms, normalized_margins


def _cnn():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(20, 6),
        nn.Dropout(0.5),
        nn.Linear(6, 4),
    )


def _resnet():
    net = residual_network((3, 8, 8), 4, (4, 6), (1, 1))
    # Running statistics of data, as after training.
    net.train()(torch.randn(32, 3, 8, 8))
    return net


def _vit():
    vit = VisionTransformer(8, 4, 2, 2, 8, 16, num_classes=4)
    nn.init.xavier_uniform_(vit.heads.head.weight)
    return vit


NETS = {"cnn": _cnn, "resnet": _resnet, "vit": _vit}


def _net(name):
    torch.manual_seed(0)
    return NETS[name]()


def _data(n=7):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 3, 8, 8, generator=generator), torch.arange(n) % 4


def _fisher_rao(module, X, y, **options):
    return compute_norms(module, ["fisher_rao"], X=X, y=y, **options)["fisher_rao"]


def _old_hook(hook):
    """One of the older functions, which warn that there are newer ones."""

    def apply(layer):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return hook(layer)

    return apply


HOOKS = {
    "weight_norm": _old_hook(torch.nn.utils.weight_norm),
    "spectral_norm": _old_hook(torch.nn.utils.spectral_norm),
    "prune": lambda layer: prune.random_unstructured(layer, "weight", 0.5),
}


def _by_gradients(module, X, y):
    """Root mean square of parameters times gradient, sample by sample."""
    twin = copy.deepcopy(module).double().eval()
    products = []
    for sample, label in zip(X.double(), y, strict=True):
        loss = cross_entropy(twin(sample[None]), label[None])
        gradients = torch.autograd.grad(loss, list(twin.parameters()))
        pairs = zip(twin.parameters(), gradients, strict=True)
        products.append(sum(float((p.detach() * g).sum()) for p, g in pairs))
    return np.log(np.sqrt(np.mean(np.square(products))))


@pytest.mark.parametrize("net", NETS)
def test_fisher_rao_is_that_of_the_gradients_of_each_sample(net):
    module, (X, y) = _net(net), _data()
    assert_allclose(
        _fisher_rao(module, X, y), _by_gradients(module, X, y), rtol=0, atol=1e-6
    )


def test_batches_do_not_matter():
    module, (X, y) = _net("cnn"), _data(300)
    halves = [_fisher_rao(module, X[part::2], y[part::2]) for part in (0, 1)]
    expected = np.logaddexp(2 * halves[0], 2 * halves[1]) / 2 - np.log(2) / 2
    assert_allclose(_fisher_rao(module, X, y), expected, atol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_of_a_homogeneous_network_the_outputs_are_enough(scale):
    # Liang et al. 2019, theorem 3.1: depth times the root mean square of the
    # inner product of logits and the gradient of the loss by them.
    torch.manual_seed(0)
    layers = [nn.Linear(5, 5, bias=False, dtype=torch.float64) for _ in range(4)]
    net = nn.Sequential(*[part for lin in layers for part in (lin, nn.ReLU())][:-1])
    with torch.no_grad():
        layers[0].weight *= scale
    X, y = torch.randn(20, 5).double(), torch.arange(20) % 5
    logits = net(X).detach()
    inner = ((logits.softmax(1) - nn.functional.one_hot(y, 5)) * logits).sum(1)
    expected = 4 * float(inner.square().mean().sqrt())
    assert_allclose(_fisher_rao(net, X, y), np.log(expected), atol=1e-9)


@pytest.mark.parametrize("margin", [1.0, 30.0, 1e4])
def test_margins_far_beyond_the_digits_of_a_softmax_leave_a_finite_log(margin):
    # Two classes and a linear map: theta . gradient = -margin sigmoid(-margin).
    net = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[margin], [0.0]]))
    expected = np.log(margin) - np.logaddexp(0, margin)
    value = _fisher_rao(net, torch.ones(1, 1), torch.tensor([0]))
    assert_allclose(value, expected, rtol=1e-12)


@pytest.mark.parametrize(
    "parametrize", [parametrizations.weight_norm, parametrizations.orthogonal]
)
def test_parametrized_weights_count_as_what_they_make(parametrize):
    torch.manual_seed(0)
    net = nn.Sequential(parametrize(nn.Linear(4, 4)), nn.ReLU(), nn.Linear(4, 3))
    plain = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    with torch.no_grad():
        plain[0].weight.copy_(net[0].weight)
        plain[0].bias.copy_(net[0].bias)
    plain[2].load_state_dict(net[2].state_dict())
    X, y = torch.randn(6, 4), torch.arange(6) % 3
    assert_allclose(_fisher_rao(net, X, y), _by_gradients(plain, X, y), atol=1e-6)
    assert torch.allclose(net(X), plain(X), atol=1e-6)  # and net is as it was


@pytest.mark.parametrize("hook", HOOKS)
def test_weights_behind_an_older_hook_count_as_what_it_makes(hook):
    torch.manual_seed(0)
    net = nn.Sequential(HOOKS[hook](nn.Linear(4, 4)), nn.ReLU(), nn.Linear(4, 3))
    plain = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    X, y = torch.randn(6, 4), torch.arange(6) % 3
    outputs = net.eval()(X)
    with torch.no_grad():
        plain[0].weight.copy_(net[0].weight)
        plain[0].bias.copy_(net[0].bias)
    plain[2].load_state_dict(net[2].state_dict())
    before = net[0].weight
    assert_allclose(_fisher_rao(net, X, y), _by_gradients(plain, X, y), atol=1e-6)
    assert net[0].weight is before
    assert torch.equal(net(X), outputs)


def test_a_derivative_that_torch_lacks_is_told():
    net = nn.Sequential(nn.EmbeddingBag(5, 4), nn.Linear(4, 3))
    X, y = torch.arange(12).reshape(6, 2) % 5, torch.arange(6) % 3
    with pytest.raises(ValueError, match=r"forward mode.*Leave 'fisher_rao' out"):
        _fisher_rao(net, X, y)


class _Classify(nn.Module):
    """Tokens: an embedding, its mean, a linear layer."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(9, 4), nn.Linear(4, 3)

    def forward(self, X):
        return self.head(self.embedding(X).mean(dim=1))


@pytest.mark.parametrize("dtype", [np.int64, np.int16, np.uint16])
def test_tokens_stay_integers_where_an_embedding_looks_them_up(dtype):
    torch.manual_seed(0)
    net, y = _Classify(), torch.arange(6) % 3
    tokens = torch.arange(30).reshape(6, 5) % 9
    # The function of one-hot vectors is the same, and linear in the table.
    plain = nn.Sequential(nn.Linear(9, 4, bias=False), nn.Linear(4, 3))
    with torch.no_grad():
        plain[0].weight.copy_(net.embedding.weight.T)
    plain[1].load_state_dict(net.head.state_dict())
    X = nn.functional.one_hot(tokens, 9).double().mean(dim=1)
    value = _fisher_rao(net, tokens.numpy().astype(dtype), y)
    assert_allclose(value, _by_gradients(plain, X, y), atol=1e-6)


def test_bytes_are_numbers_even_beside_an_embedding():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    X, y = torch.arange(24, dtype=torch.uint8).reshape(6, 4), torch.arange(6) % 3
    expected = _fisher_rao(net, X.float(), y), normalized_margins(net, X.float(), y)
    net.positions = nn.Embedding(2, 2)
    net.forward = lambda X: net[1](net[0](X))
    assert _fisher_rao(net, X, y) == expected[0]
    assert_allclose(normalized_margins(net, X, y), expected[1])


def test_margins_of_tokens_are_refused_since_tokens_have_no_size():
    tokens = torch.arange(30).reshape(6, 5) % 9
    with pytest.raises(ValueError, match=r"indices of an embedding have not.*int64"):
        normalized_margins(_Classify(), tokens, torch.arange(6) % 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", [lambda X: X, lambda X: X.numpy()])
def test_a_network_that_writes_over_its_input_leaves_the_data_alone(form, dtype):
    torch.manual_seed(0)
    X, y = torch.randn(6, 4, dtype=dtype), torch.arange(6) % 3
    linear = nn.Linear(4, 3, dtype=dtype)
    net = nn.Sequential(nn.ReLU(inplace=True), linear)
    apart = nn.Sequential(nn.ReLU(), linear)
    data = X.clone()
    assert _fisher_rao(net, form(data), y) == _fisher_rao(apart, X, y)
    assert torch.equal(data, X)
    margins = normalized_margins(net, form(data), y)
    assert torch.equal(data, X)
    assert_allclose(margins, normalized_margins(apart, X, y), rtol=1e-12)


def test_pruned_weights_count_as_what_is_left():
    torch.manual_seed(0)
    net = prune.random_unstructured(nn.Linear(4, 3), "weight", 0.5)
    plain = nn.Linear(4, 3)
    with torch.no_grad():
        plain.weight.copy_(net.weight)
        plain.bias.copy_(net.bias)
    X, y = torch.randn(6, 4), torch.arange(6) % 3
    before = net.weight
    assert_allclose(_fisher_rao(net, X, y), _by_gradients(plain, X, y), atol=1e-6)
    assert net.weight is before


def test_margins_are_those_of_the_formula():
    module, (X, y) = _net("cnn"), _data()
    logits = module.eval()(X).detach().double().numpy()
    others = np.where(np.eye(4, dtype=bool)[y], -np.inf, logits).max(axis=1)
    raw = logits[np.arange(len(y)), y] - others
    complexity = np.exp(compute_norms(module)["spectral_complexity"])
    expected = raw / (complexity * np.linalg.norm(X.numpy()) / len(X))
    margins = normalized_margins(module, X, y)
    assert_allclose(margins, expected, rtol=1e-5)
    assert (margins < 0).any()
    assert (margins > 0).any()


@pytest.mark.parametrize("layer", [0, 8])
def test_normalised_margins_do_not_depend_on_the_scale_of_a_layer(layer):
    module, (X, y) = _net("cnn"), _data()
    for part in module:
        if getattr(part, "bias", None) is not None:
            nn.init.zeros_(part.bias)
    before = normalized_margins(module, X, y)
    with torch.no_grad():
        module[layer].weight.mul_(100)
    assert_allclose(normalized_margins(module, X, y), before, rtol=1e-4)
    assert_allclose(normalized_margins(module, 3 * X, y), before, rtol=1e-4)


def test_norms_above_the_range_of_floats_leave_margins_their_digits():
    torch.manual_seed(0)
    layers = [nn.Linear(4, 4, bias=False, dtype=torch.float64) for _ in range(9)]
    net = nn.Sequential(*layers)
    X, y = torch.randn(5, 4).double(), torch.arange(5) % 4
    before = normalized_margins(net, X, y)
    with torch.no_grad():
        for layer in layers[1:]:
            layer.weight.mul_(1e38)
    assert compute_norms(net)["spectral_complexity"] > 690
    assert_allclose(normalized_margins(net, X, y), before, rtol=1e-9)


def test_data_may_come_in_any_form():
    module, (X, y) = _net("cnn"), _data()
    expected = _fisher_rao(module, X, y)
    frozen = X.numpy().copy()
    frozen.flags.writeable = False
    labels = pd.Series(y.numpy(), index=np.arange(len(y))[::-1])
    assert _fisher_rao(module, frozen, labels) == expected
    assert_allclose(_fisher_rao(module, X.tolist(), y.tolist()), expected, atol=1e-9)
    margins = normalized_margins(module, frozen, labels)
    assert_allclose(margins, normalized_margins(module, X, y))


LINEAR = nn.Linear(2, 3)
SAMPLES, CLASSES = torch.ones(4, 2), torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize(
    ("module", "X", "y", "error", "match"),
    [
        (LINEAR, None, None, ValueError, "pass X, samples.* and y"),
        (LINEAR, SAMPLES, None, ValueError, "or leave 'fisher_rao' out"),
        (LINEAR, SAMPLES, CLASSES.float(), TypeError, "integers.*return_inverse"),
        (LINEAR, SAMPLES, list("abca"), TypeError, "y must hold.*<U1.*return_inverse"),
        (LINEAR, np.full((4, 2), "a"), CLASSES, TypeError, "X must hold numbers.*<U1"),
        (LINEAR, SAMPLES, CLASSES[:3], ValueError, "the same number of samples"),
        (LINEAR, SAMPLES, CLASSES + 1, ValueError, "between 0 and 2.*1 to 3"),
        (nn.Linear(2, 1), SAMPLES, CLASSES, ValueError, "one logit per class"),
    ],
)
def test_messages_about_data_say_what_to_do(module, X, y, error, match):
    with pytest.raises(error, match=match):
        _fisher_rao(module, X, y)
    with pytest.raises(error, match=match):
        normalized_margins(module, X, y)


def test_a_network_of_zeros_has_no_normalised_margin():
    net = nn.Linear(2, 3)
    nn.init.zeros_(net.weight)
    with pytest.raises(ValueError, match="norm of the network, which is zero"):
        normalized_margins(net, SAMPLES, CLASSES)
