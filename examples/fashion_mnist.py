"""
Exponents of a CNN, a ResNet and a ViT on Fashion-MNIST
=======================================================

The study behind the table of the guide's Fashion-MNIST page. Networks are reduced to
what two CPU cores train in an hour or so; the paper's own sizes are the presets
(``CNNClassifier.from_preset("mnist")`` and so on). Finished runs are kept in the
cache folder: interrupt it, start it again, and it goes on.

.. code-block:: shell

    python examples/fashion_mnist.py --models cnn --output fashion --n-jobs 2
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from scalinglaw import (
    CNNClassifier,
    ResNetClassifier,
    ScalingLawDisplay,
    ScalingLawEstimator,
    TrajectorySweep,
    ViTClassifier,
    compare_exponents,
    write_trajectories,
)
from scalinglaw.datasets import load_images

TRAIN_SIZES = [250, 500, 1000, 2000, 4000, 8000]
N_TEST = 2000
# Small batches and a large rate: 250 samples make 240 steps of 60 epochs, enough to
# leave the early law.
TRAINING = {"lr": 2e-3, "batch_size": 64, "n_records": 40}
MODELS = {
    "cnn": CNNClassifier(
        conv_widths=(4, 8, 16), hidden_width=128, max_epochs=60, **TRAINING
    ),
    # Small weights at the start: at Xavier's scale the norm all but stands still while
    # the error falls to 0.3, and no law can be seen.
    "vit": ViTClassifier(
        patch_size=7, depth=2, width=32, init_scale=0.25, max_epochs=60, **TRAINING
    ),
    "resnet": ResNetClassifier(
        widths=(4, 8, 16), depths=(1, 1, 1), max_epochs=40, **TRAINING
    ),
}
# Before these log norms, read off the figures, all train sizes fall together on a
# stretch that is steeper than what follows.
BEGINNINGS = {"cnn": 6.0, "vit": -1.0, "resnet": 5.3}
FEWEST_RECORDS = 6


def sample_images(n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a stratified sample of Fashion-MNIST."""
    images, labels = load_images("fashion-mnist")
    _, images, _, labels = train_test_split(
        images, labels, test_size=n_samples, stratify=labels, random_state=0
    )
    return images, labels


def beyond(table: pd.DataFrame, log_norm: float) -> pd.DataFrame:
    """Return the records beyond a log norm, of runs that have enough of them."""
    rest = table[table["log_spectral_complexity"] > log_norm]
    n_records = rest.groupby(["train_size", "seed"])["epoch"].transform("size")
    return rest[n_records >= FEWEST_RECORDS]


def main() -> None:
    """Train what is missing, fit the laws, compare the models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--output", type=Path, default=Path("fashion"))
    parser.add_argument("--n-seeds", type=int, default=5)
    parser.add_argument("--n-jobs", type=int, default=2)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    images, labels = sample_images(10_000 + N_TEST)
    late_laws = {}
    for name in options.models:
        sweep = TrajectorySweep(
            MODELS[name],
            train_sizes=TRAIN_SIZES,
            n_seeds=options.n_seeds,
            test_size=N_TEST,
            n_jobs=options.n_jobs,
            cache_dir=options.output / "cache",
            random_state=0,
            verbose=1,
        ).fit(images, labels)
        write_trajectories(sweep.trajectories_, options.output / f"{name}.parquet")
        late = beyond(sweep.trajectories_, BEGINNINGS[name])
        late_laws[name] = ScalingLawEstimator().fit(late)
        for title, law in (
            (name, ScalingLawEstimator().fit(sweep.trajectories_)),
            (f"{name}_late", late_laws[name]),
        ):
            print(f"\n== {title}\n{law.summary()}")
            for kind in ("norm", "optimum", "collapse", "data"):
                display = ScalingLawDisplay.from_estimator(law, kind=kind)
                display.figure_.savefig(options.output / f"{title}_{kind}.png", dpi=120)
    if len(late_laws) > 1:
        for exponent in ("gamma_predicted", "gamma_measured"):
            print(compare_exponents(late_laws, exponent=exponent).summary())


if __name__ == "__main__":
    main()
