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

from scalinglaw.classifiers.resnet import residual_network
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


def test_a_derivative_that_torch_lacks_is_told():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        net = torch.nn.utils.weight_norm(nn.Linear(4, 3))
    X, y = torch.randn(6, 4), torch.arange(6) % 3
    with pytest.raises(ValueError, match=r"forward mode.*Leave 'fisher_rao' out"):
        _fisher_rao(net, X, y)


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
