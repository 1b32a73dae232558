"""The largest singular value, whatever the spectrum and the scale."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from scalinglaw.norms import NormTracker, compute_norms, layer_table


def _with_spectrum(singular_values, n_columns, seed=0):
    """A matrix of the given singular values, in random directions."""
    generator = torch.Generator().manual_seed(seed)
    n = len(singular_values)
    left = torch.linalg.qr(torch.randn(n, n, generator=generator).double()).Q
    right = torch.randn(n_columns, n, generator=generator).double()
    values = torch.as_tensor(singular_values, dtype=torch.float64)
    return (left * values) @ torch.linalg.qr(right).Q.mT


SPECTRA = {
    "one far above": [2.0, *np.linspace(1, 0.1, 199)],
    "wide": np.geomspace(1, 1e-8, 200),
    "no gap": np.ones(200),
    "pair": [1.0, 1.0, *np.linspace(0.9, 0.1, 198)],
    "gap of 1e-9": [1.0, 1 - 1e-9, *np.linspace(0.9, 0.1, 198)],
    "crowd": 1 - 1e-5 * np.arange(200) / 200,
    "crowd of 12 above": [*(1 - 1e-7 * np.arange(12)), *np.linspace(0.5, 0.1, 188)],
    "rank one": [1.0, *np.zeros(199)],
    "zero": np.zeros(200),
}


def _product(*matrices):
    """Log of the product of the largest singular values."""
    layers = []
    for matrix in matrices:
        layer = nn.Linear(*matrix.shape[::-1], bias=False, dtype=matrix.dtype)
        layer.weight.data = matrix
        layers.append(layer)
    norms = compute_norms(nn.Sequential(*layers), ["spectral_product"])
    return norms["spectral_product"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_the_value_is_right_whatever_the_gap(spectrum, dtype):
    values = SPECTRA[spectrum]
    matrix = _with_spectrum(values, 300).to(dtype)
    with np.errstate(divide="ignore"):
        exact = np.log(np.max(values))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for oriented in (matrix, matrix.T.contiguous()):
        assert_allclose(_product(oriented), exact, rtol=0, atol=tolerance)


@pytest.mark.parametrize("factor", [1e30, 1e-30, 1e-37, 0.0])
def test_neither_overflow_nor_underflow_reaches_the_value(factor):
    matrix = factor * _with_spectrum(SPECTRA["wide"], 300).float()
    with np.errstate(divide="ignore"):
        exact = np.log(np.float64(np.float32(factor)))
    assert_allclose(_product(matrix), exact, rtol=1e-6)


def test_layers_of_one_shape_do_not_mix():
    torch.manual_seed(0)
    scales = (1e-3, 1.0, 1e3)
    matrices = [torch.randn(n, 200) * s for n in (90, 140) for s in scales]
    exact = [torch.linalg.matrix_norm(m.double(), 2).log().item() for m in matrices]
    net = nn.ModuleList(nn.Linear(200, len(m)) for m in matrices)
    for layer, matrix in zip(net, matrices, strict=True):
        layer.weight.data = matrix
    assert_allclose(layer_table(net)["log_spectral"], exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spectrum", ["one far above", "no gap", "zero"])
def test_a_large_matrix_has_the_value_of_the_dense_route(monkeypatch, spectrum, dtype):
    # The route of matrices beyond a side of 2,048, at a size that is quick to check.
    monkeypatch.setattr("scalinglaw.norms._spectral._DENSE", 100)
    matrix = _with_spectrum(SPECTRA[spectrum], 300).to(dtype)
    with np.errstate(divide="ignore"):
        exact = np.log(np.max(SPECTRA[spectrum]))
    assert_allclose(_product(matrix), exact, rtol=0, atol=1e-5)


def test_an_iteration_that_does_not_converge_is_not_trusted(monkeypatch):
    monkeypatch.setattr("scalinglaw.norms._spectral._DENSE", 100)
    monkeypatch.setattr(
        "scalinglaw.norms._spectral.svds",
        lambda operator, **options: (np.eye(200)[:, :1], np.ones(1), np.eye(300)[:1]),
    )
    matrix = _with_spectrum(SPECTRA["one far above"], 300)
    assert_allclose(_product(matrix), np.log(2.0), rtol=0, atol=1e-9)


def test_a_wide_layer_counts_as_its_singular_value():
    torch.manual_seed(0)
    left, right = torch.randn(2100, 1), torch.randn(2100, 1)
    matrix = torch.randn(2100, 2100) / 50 + left @ right.T / 20
    exact = torch.linalg.matrix_norm(matrix.double(), 2).log().item()
    assert_allclose(_product(matrix), exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize("how", ["medium", "autocast"])
def test_reduced_precision_products_are_not_trusted(how):
    torch.manual_seed(0)
    matrix = torch.randn(200, 400)
    exact = torch.linalg.svdvals(matrix.double())[0].log().item()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium" if how == "medium" else before)
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
            value = _product(matrix)
            layer = nn.Linear(400, 200)
            layer.weight.data = matrix
            (looked_up,) = layer_table(layer)["log_spectral"]
    finally:
        torch.set_float32_matmul_precision(before)
    assert_allclose([value, looked_up], exact, rtol=0, atol=1e-5)


def _wide_cnn():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 160, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(160 * 4, 192),
        nn.ReLU(),
        nn.Linear(192, 10),
    )


def test_a_tracker_is_right_on_every_record_of_a_training_run():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    X = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    y = torch.tensor(labels)
    module = _wide_cnn()
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    tracker = NormTracker(module, ["spectral_complexity", "spectral_product"])
    records = {0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89}
    generator = torch.Generator().manual_seed(0)
    moved = []
    for step in range(90):
        # The last record is of the weights at the end: no step follows it.
        if step in records:
            norms = tracker.compute()
            product = sum(
                np.log(np.linalg.norm(p.detach().double().flatten(1).numpy(), 2))
                for p in module.parameters()
                if p.ndim > 1
            )
            assert_allclose(norms["spectral_product"], product, rtol=0, atol=1e-5)
            moved.append(norms["spectral_complexity"])
        if step == 89:
            break
        batch = torch.randint(len(X), (64,), generator=generator)
        loss = nn.functional.cross_entropy(module(X[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert moved[-1] > moved[0] + 1
    assert moved[-1] == pytest.approx(
        compute_norms(module)["spectral_complexity"], abs=1e-7
    )
