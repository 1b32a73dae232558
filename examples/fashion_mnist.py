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
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
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
# Where a law may begin after a steeper transient that all train sizes share: shares of
# the way from the first record to the median train size's last.
SHARES = np.arange(0.0, 0.6, 0.02)
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
    rest = table[table["log_spectral_complexity"] >= log_norm]
    n_records = rest.groupby(["train_size", "seed"])["epoch"].transform("size")
    return rest[n_records >= FEWEST_RECORDS]


def fit_by_beginning(table: pd.DataFrame) -> dict[float, ScalingLawEstimator]:
    """Fit the laws from later and later beginnings, until they cannot be fitted."""
    norm = table["log_spectral_complexity"]
    last = norm.groupby([table["train_size"], table["seed"]]).max().median()
    laws: dict[float, ScalingLawEstimator] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is not resolved is the question here
        for start in norm.min() + SHARES * (last - norm.min()):
            try:
                law = ScalingLawEstimator(landmark="knee").fit(beyond(table, start))
            except ValueError:
                break
            laws[float(start)] = law
    return laws


def earliest_resolved(laws: dict[float, ScalingLawEstimator]) -> float | None:
    """Return the first beginning that resolves a law as the next one does."""
    starts = list(laws)
    for start, following in zip(starts, starts[1:], strict=False):
        if laws[start].resolved_ and laws[following].resolved_:
            return start
    return None


def draw_beginnings(
    by_model: dict[str, dict[float, ScalingLawEstimator]], path: Path
) -> None:
    """Draw the exponents of each model against the log norm where the fit begins."""
    figure, axes = plt.subplots(
        1, len(by_model), figsize=(4 * len(by_model), 3.6), layout="constrained"
    )
    names = ("gamma1", "gamma2", "gamma_predicted", "gamma_measured")
    for ax, (model, laws) in zip(np.atleast_1d(axes), by_model.items(), strict=True):
        starts = np.array(list(laws))
        resolved = np.array([law.resolved_ for law in laws.values()])
        for color, name in zip(("C0", "C1", "C2", "k"), names, strict=True):
            values = [law.exponents_.loc[name, "estimate"] for law in laws.values()]
            ax.plot(starts, values, color=color, lw=1, alpha=0.5)
            ax.scatter(starts, values, 18, facecolors="none", edgecolors=color)
            shown = np.array(values)[resolved]
            ax.scatter(starts[resolved], shown, 18, color, label=name)
        ax.set(title=model, xlabel="log norm where the fit begins", yscale="log")
        ax.set_ylim(0.03, 4)
    np.atleast_1d(axes)[0].set_ylabel("exponent (full: resolved)")
    np.atleast_1d(axes)[-1].legend(fontsize="small")
    figure.savefig(path, dpi=120)
    plt.close(figure)


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
    late_laws, by_model = {}, {}
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
        table = sweep.trajectories_
        write_trajectories(table, options.output / f"{name}.parquet")
        shown = {name: ScalingLawEstimator().fit(table)}
        by_model[name] = fit_by_beginning(table)
        start = earliest_resolved(by_model[name])
        if start is not None:
            late_laws[name] = by_model[name][start]
            shown[f"{name}, from a log norm of {start:.2f}"] = late_laws[name]
        for title, law in shown.items():
            print(f"\n== {title}\n{law.summary()}")
            for kind in ("norm", "optimum", "collapse", "data"):
                display = ScalingLawDisplay.from_estimator(law, kind=kind)
                late = "" if title == name else "_late"
                path = options.output / f"{name}{late}_{kind}.png"
                display.figure_.savefig(path, dpi=120)
                plt.close(display.figure_)
    draw_beginnings(by_model, options.output / "beginnings.png")
    if len(late_laws) > 1:
        for exponent in ("gamma_predicted", "gamma_measured"):
            print(compare_exponents(late_laws, exponent=exponent).summary())


if __name__ == "__main__":
    main()
