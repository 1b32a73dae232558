"""What does a spectral complexity cost, and how exact is it?

Along a short real training run of each of the paper's networks, at log-spaced records,
side by side: the norm by `NormTracker`, which starts from the vectors of the record
before (warm), by `compute_norms` (cold), and by ``torch.linalg.svdvals`` layer by layer
in float32. The error is against ``svdvals`` in float64. Then spectra made to be hard,
with a vanishing gap at the top, where the fast route must give up.

The networks have the sizes of the presets for CIFAR-10; the images are scikit-learn's
digits, enlarged for all but the ResNet, so that a run takes a minute on one core. Times
are processor time, to which other work on the machine adds little.

    OMP_NUM_THREADS=1 python benchmarks/norms.py
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import nn

from scalinglaw import record_steps
from scalinglaw.classifiers._networks import (
    convolutional_network,
    residual_network,
    vision_transformer,
)
from scalinglaw.datasets import load_images
from scalinglaw.norms import NormTracker, compute_norms, weight_layers
from scalinglaw.norms.spectral import largest_eigenvalues

# Builder, pixels along an image, batch and learning rate of the run.
NETS: dict[str, tuple[Callable[..., nn.Module], int, int, float]] = {
    "CNN": (convolutional_network, 32, 16, 1e-3),
    "ResNet-18": (residual_network, 8, 32, 1e-3),
    "ViT": (vision_transformer, 32, 16, 1e-3),
}


def digits(pixels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scikit-learn's digits as colour images of a given size."""
    images, labels = load_images("digits")
    X = torch.tensor(np.asarray(images), dtype=torch.float32).reshape(-1, 1, 8, 8)
    X = nn.functional.interpolate(X / X.max(), size=(pixels, pixels))
    return X.repeat(1, 3, 1, 1), torch.tensor(np.asarray(labels, dtype=np.int64))


def by_svdvals(module: nn.Module, dtype: torch.dtype) -> float:
    """Return the log spectral complexity by the plain route, layer by layer."""
    logs = []
    for layer in weight_layers(module):
        (matrix,) = layer.blocks().to(dtype)
        top = float(torch.linalg.svdvals(matrix)[0])
        rows = float(torch.linalg.vector_norm(matrix, dim=1).sum())
        logs.append((math.log(top), math.log(rows)))
    tops, rows_ = np.array(logs).T
    product = float(tops.sum())
    return product + 1.5 * math.log(np.exp(2 / 3 * (rows_ - tops)).sum())


def seconds(action: Callable[[], float]) -> tuple[float, float]:
    """Return the result of an action and its processor time."""
    start = time.process_time()
    result = action()
    return result, time.process_time() - start


def along_a_run(name: str, n_steps: int, n_records: int, seed: int = 0) -> pd.DataFrame:
    """Train one network, and take its norm by every route at each record."""
    build, pixels, batch, lr = NETS[name]
    X, y = digits(pixels)
    torch.manual_seed(seed)
    module = build((3, pixels, pixels), 10)
    optimizer = torch.optim.Adam(module.parameters(), lr=lr)
    tracker = NormTracker(module)
    records = set(record_steps(n_steps, n_records).tolist())
    rows = []
    for step in range(n_steps + 1):
        if step in records:
            warm, warm_s = seconds(lambda: _complexity(tracker))
            cold, cold_s = seconds(lambda: compute_norms(module)["spectral_complexity"])
            plain, plain_s = seconds(lambda: by_svdvals(module, torch.float32))
            exact = by_svdvals(module, torch.float64)
            rows.append(
                {
                    "network": name,
                    "step": step,
                    "log_norm": exact,
                    "warm_ms": 1e3 * warm_s,
                    "cold_ms": 1e3 * cold_s,
                    "svdvals_ms": 1e3 * plain_s,
                    "warm_error": abs(math.expm1(warm - exact)),
                    "cold_error": abs(math.expm1(cold - exact)),
                    "svdvals_error": abs(math.expm1(plain - exact)),
                }
            )
        rows_of_batch = torch.randint(len(X), (batch,))
        loss = nn.functional.cross_entropy(module(X[rows_of_batch]), y[rows_of_batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return pd.DataFrame(rows)


def _complexity(tracker: NormTracker) -> float:
    return tracker.compute()["spectral_complexity"]


def summary(records: pd.DataFrame) -> pd.DataFrame:
    """Return one row per network: median times, worst errors."""
    # The first record of a tracker has nothing to start from.
    warm = records[records["step"] > 0].groupby("network", sort=False)
    every = records.groupby("network", sort=False)
    table = pd.DataFrame(
        {
            "svdvals_ms": every["svdvals_ms"].median(),
            "cold_ms": every["cold_ms"].median(),
            "warm_ms": warm["warm_ms"].median(),
        }
    )
    table["cold_times"] = table["svdvals_ms"] / table["cold_ms"]
    table["warm_times"] = table["svdvals_ms"] / table["warm_ms"]
    for route in ("svdvals", "cold", "warm"):
        table[f"{route}_error"] = every[f"{route}_error"].max()
    table["growth"] = every["log_norm"].last() - every["log_norm"].first()
    return table


def hard_spectra(n: int = 512, n_columns: int = 1024, seed: int = 0) -> pd.DataFrame:
    """Return value, proof and time of matrices whose largest values crowd."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.linalg.qr(torch.randn(n, n, generator=generator).double()).Q
    right = torch.randn(n_columns, n, generator=generator).double()
    right = torch.linalg.qr(right).Q.mT
    below = torch.linspace(0.9, 0.1, n - 12).double()
    spectra = {
        "12 values within 1e-1": torch.linspace(1.0, 0.95, 12),
        "12 values within 1e-4": torch.linspace(1.0, 1 - 1e-4, 12),
        "12 values within 1e-9": torch.linspace(1.0, 1 - 1e-9, 12).double(),
        "12 equal values": torch.ones(12),
    }
    rows = []
    for name, top in spectra.items():
        values = torch.cat([top.double(), below])
        matrix = ((left * values) @ right).float()[None]
        exact = float(torch.linalg.svdvals(matrix[0].double())[0])
        vectors = None
        for start in ("cold", "warm"):
            begin = time.process_time()
            squared, vectors, proved = largest_eigenvalues(matrix, vectors)
            elapsed = time.process_time() - begin
            rows.append(
                {
                    "spectrum": name,
                    "start": start,
                    "route": "proved" if proved.item() else "all eigenvalues",
                    "ms": 1e3 * elapsed,
                    "error": abs(math.sqrt(float(squared)) / exact - 1),
                }
            )
    return pd.DataFrame(rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--records", type=int, default=9)
    parser.add_argument("--nets", nargs="+", choices=list(NETS), default=list(NETS))
    arguments = parser.parse_args()
    pd.set_option("display.width", 200)
    tables = []
    for name in arguments.nets:
        tables.append(along_a_run(name, arguments.steps, arguments.records))
        print(tables[-1].to_string(index=False, float_format="{:.3g}".format))
    records = pd.concat(tables)
    print("\nMedian times, worst errors")
    print(summary(records).to_string(float_format="{:.3g}".format))
    print("\nSpectra with a small gap, 512 x 1024")
    print(hard_spectra().to_string(index=False, float_format="{:.3g}".format))


if __name__ == "__main__":
    main()
