"""The largest singular value: proved where it is quick, exact everywhere."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from scalinglaw.norms import NormTracker, compute_norms
from scalinglaw.norms.spectral import gram, largest_eigenvalues
from scalinglaw.norms.spectrum import SpectralNorms


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_the_value_is_exact_whatever_the_gap(spectrum, dtype):
    matrix = _with_spectrum(SPECTRA[spectrum], 300).to(dtype)[None]
    exact = torch.linalg.svdvals(matrix.double())[0, 0]
    values, rows, _ = largest_eigenvalues(matrix)
    assert_allclose(values.sqrt(), exact[None], rtol=2e-8, atol=1e-12)
    again, _, _ = largest_eigenvalues(matrix, rows)
    assert_allclose(again.sqrt(), exact[None], rtol=2e-8, atol=1e-12)


def test_the_proof_fails_without_a_gap_and_holds_with_one():
    crowd = _with_spectrum(SPECTRA["crowd"], 300)
    apart = _with_spectrum(SPECTRA["one far above"], 300)
    _, _, proved = largest_eigenvalues(torch.stack([crowd, apart]).float())
    assert proved.tolist() == [False, True]


@pytest.mark.parametrize("n_hidden", [1, 3])
def test_stale_vectors_blind_to_the_largest_value_cannot_hide_it(n_hidden):
    # Vectors of before that are exactly orthogonal to what now leads, and
    # stay so under every product: only the proof can notice.
    n, hidden = 160, n_hidden
    diagonal = torch.linspace(1, 0.1, n)
    diagonal[-hidden:] = 5.0 - 0.5 * torch.arange(hidden)
    matrix = torch.zeros(1, n, n + 40)
    matrix[0, :, :n] = torch.diag(diagonal)
    stale = torch.eye(n)[None, :8]
    values, _, proved = largest_eigenvalues(matrix, stale)
    assert_allclose(values, [25.0], rtol=1e-12)
    assert not proved.any()


def test_batches_do_not_mix_their_members():
    torch.manual_seed(0)
    matrices = torch.randn(5, 140, 200) * torch.logspace(-3, 3, 5)[:, None, None]
    together, _, _ = largest_eigenvalues(matrices)
    exact = torch.linalg.svdvals(matrices.double())[:, 0]
    assert_allclose(together.sqrt(), exact, rtol=1e-8)


def test_gram_by_blocks_is_the_product():
    torch.manual_seed(0)
    matrices = torch.randn(2, 203, 210, dtype=torch.float64)
    assert_allclose(gram(matrices), matrices @ matrices.mT, rtol=1e-12, atol=1e-10)


def test_reduced_precision_products_are_not_trusted():
    torch.manual_seed(0)
    matrix = torch.randn(1, 200, 400)
    exact = torch.linalg.svdvals(matrix.double())[:, 0]
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        values, _, _ = largest_eigenvalues(matrix)
    finally:
        torch.set_float32_matmul_precision(before)
    assert_allclose(values.sqrt(), exact, rtol=1e-8)


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
            assert_allclose(norms["spectral_product"], product, rtol=0, atol=1e-7)
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


def test_two_trackers_of_one_run_agree_to_the_bit():
    torch.manual_seed(0)
    module = _wide_cnn()
    trackers = [NormTracker(module), NormTracker(module)]
    for _ in range(3):
        first, second = (tracker.compute() for tracker in trackers)
        assert first == second
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(1.1)


def test_most_of_a_warm_record_needs_no_eigenvalues():
    torch.manual_seed(0)
    spectral = SpectralNorms()
    blocks = [torch.randn(1, 160, 320), torch.randn(1, 320, 160), torch.randn(1, 9, 9)]
    for _ in range(3):
        spectral([block * 1.0 for block in blocks])
    # The two large ones by proof at each call, the small one directly.
    assert (spectral.n_proved, spectral.n_computed) == (6, 3)
