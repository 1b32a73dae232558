"""What does a spectral complexity cost, and how exact is it?

Along a short real training run of each of the paper's networks, at log-spaced records,
side by side: `compute_norms`, and what one would write, layer by layer:
``torch.linalg.svdvals`` in float32, and ``torch.linalg.eigvalsh`` of the smaller Gram
matrix in float64. The error of the logarithm is against ``svdvals`` in float64. Then
spectra made to be hard, with a vanishing gap at the top, and one matrix beyond 2,048,
where the package iterates.

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

from scalinglaw.classifiers._networks import (
    convolutional_network,
    residual_network,
    vision_transformer,
)
from scalinglaw.datasets import load_images
from scalinglaw.norms import compute_norms, weight_layers

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


def by_svdvals(matrix: torch.Tensor) -> float:
    """Return the largest singular value by the plainest route."""
    return float(torch.linalg.svdvals(matrix)[0])


def by_eigvalsh(matrix: torch.Tensor) -> float:
    """Return it by the eigenvalues of the smaller Gram matrix, in float64."""
    matrix = matrix.double() if len(matrix) < len(matrix.T) else matrix.T.double()
    return math.sqrt(float(torch.linalg.eigvalsh(matrix @ matrix.T)[-1]))


def plain(
    module: nn.Module, largest: Callable[..., float], dtype: torch.dtype
) -> float:
    """Return the log spectral complexity, layer by layer."""
    logs = []
    for layer in weight_layers(module):
        (matrix,) = layer.blocks().to(dtype)
        rows = float(torch.linalg.vector_norm(matrix, dim=1).sum())
        logs.append((math.log(largest(matrix)), math.log(rows)))
    tops, rows_ = np.array(logs).T
    return float(tops.sum() + 1.5 * math.log(np.exp(2 / 3 * (rows_ - tops)).sum()))


ROUTES: dict[str, Callable[[nn.Module], float]] = {
    "package": lambda module: compute_norms(module)["spectral_complexity"],
    "svdvals": lambda module: plain(module, by_svdvals, torch.float32),
    "eigvalsh": lambda module: plain(module, by_eigvalsh, torch.float32),
}


def along_a_run(name: str, n_steps: int, n_records: int, seed: int = 0) -> pd.DataFrame:
    """Train one network, and take its norm by every route at each record."""
    build, pixels, batch, lr = NETS[name]
    X, y = digits(pixels)
    torch.manual_seed(seed)
    module = build((3, pixels, pixels), 10)
    optimizer = torch.optim.Adam(module.parameters(), lr=lr)
    records = set(np.unique(np.geomspace(1, n_steps, n_records - 1).round())) | {0}
    rows = []
    for step in range(n_steps + 1):
        if step in records:
            exact = plain(module, by_svdvals, torch.float64)
            for route, norm in ROUTES.items():
                start = time.process_time()
                value = norm(module)
                rows.append(
                    {
                        "network": name,
                        "step": step,
                        "route": route,
                        "log_norm": exact,
                        "ms": 1e3 * (time.process_time() - start),
                        "error": abs(value - exact),
                    }
                )
        rows_of_batch = torch.randint(len(X), (batch,))
        loss = nn.functional.cross_entropy(module(X[rows_of_batch]), y[rows_of_batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return pd.DataFrame(rows)


def summary(records: pd.DataFrame) -> pd.DataFrame:
    """Return one row per network and route: median time, worst error of the log."""
    groups = records.groupby(["network", "route"], sort=False)
    return groups.agg(ms=("ms", "median"), error=("error", "max"))


def hard_spectra(n: int = 512, n_columns: int = 1024, seed: int = 0) -> pd.DataFrame:
    """Return value and time of matrices whose largest values crowd, and of a large."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.linalg.qr(torch.randn(n, n, generator=generator).double()).Q
    right = torch.randn(n_columns, n, generator=generator).double()
    right = torch.linalg.qr(right).Q.mT
    below = torch.linspace(0.9, 0.1, n - 12).double()
    matrices = {
        f"12 values within {gap:g}, {n} x {n_columns}": (
            (left * torch.cat([torch.linspace(1, 1 - gap, 12).double(), below])) @ right
        ).float()
        for gap in (0.05, 1e-4, 1e-9)
    }
    matrices["random, 4096 x 4096"] = torch.randn(4096, 4096, generator=generator)
    rows = []
    for name, matrix in matrices.items():
        layer = nn.Linear(*matrix.shape[::-1], bias=False)
        layer.weight.data = matrix
        for route in ("package", "eigvalsh"):
            start = time.process_time()
            value = ROUTES[route](layer)
            rows.append({"matrix": name, "route": route, "log_norm": value})
            rows[-1]["ms"] = 1e3 * (time.process_time() - start)
    return pd.DataFrame(rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--records", type=int, default=9)
    parser.add_argument("--nets", nargs="+", choices=list(NETS), default=list(NETS))
    arguments = parser.parse_args()
    pd.set_option("display.width", 200)
    tables = [
        along_a_run(name, arguments.steps, arguments.records) for name in arguments.nets
    ]
    print("Median times, worst errors of the log spectral complexity")
    print(summary(pd.concat(tables)).to_string(float_format="{:.3g}".format))
    print("\nHard matrices")
    print(hard_spectra().to_string(index=False, float_format="{:.7g}".format))


if __name__ == "__main__":
    main()
