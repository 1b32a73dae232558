"""``scalinglaw demo``: the main job, end to end, in a few minutes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console

from .output import (
    law_to_dict,
    print_json,
    print_table,
    save_figures,
    say,
    show_law,
    spoken_warnings,
)

if TYPE_CHECKING:
    from ..laws import ScalingLawEstimator

__all__ = ["demo"]

_DIGIT_SIZES = [50, 100, 200, 400, 800, 1200]
_PERCEPTRON_INPUTS = 100
_PERCEPTRON_LOADS = [5, 10, 20, 40, 80]


def demo(
    output: Annotated[Path, typer.Option(help="Folder for tables and figures.")] = Path(
        "demo"
    ),
    n_seeds: Annotated[int, typer.Option(help="Runs of each train size.")] = 3,
    max_epochs: Annotated[int, typer.Option(help="Epochs of the network.")] = 150,
    n_jobs: Annotated[int, typer.Option(help="Runs trained at once.")] = 2,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object.")
    ] = False,
) -> None:
    """Train a small CNN on digits and perceptrons on a teacher; print their exponents.

    Takes two to three minutes on two cores, and writes trajectories and figures
    into the output folder.
    """
    start = time.perf_counter()
    output.mkdir(parents=True, exist_ok=True)
    with spoken_warnings():
        cnn = _digits(output, n_seeds, max_epochs, n_jobs)
        perceptron = _perceptrons(output, max(n_seeds, 4), n_jobs)
    seconds = time.perf_counter() - start
    say(f"done in {seconds:.0f} s; tables and figures are in {output}")
    if json:
        print_json({"cnn": law_to_dict(cnn), "perceptron": law_to_dict(perceptron)})
        return
    show_law(cnn, "Small CNN on scikit-learn's digits")
    _say_how_far(cnn)
    show_law(perceptron, "Logistic perceptron on a teacher")
    _say_how_far(perceptron)
    _beside_theory(perceptron)


def _digits(
    output: Path, n_seeds: int, max_epochs: int, n_jobs: int
) -> ScalingLawEstimator:
    from .. import CNNClassifier, TrajectorySweep
    from ..datasets import load_images

    images, labels = load_images("digits")
    network = CNNClassifier(
        conv_widths=(8, 16, 32), hidden_width=512, max_epochs=max_epochs
    )
    sweep = TrajectorySweep(
        network,
        train_sizes=_DIGIT_SIZES,
        n_seeds=n_seeds,
        test_size=500,
        n_jobs=n_jobs,
        random_state=0,
        verbose=1,
    )
    return _fit(sweep.fit(images, labels).trajectories_, output, "digits")


def _perceptrons(output: Path, n_seeds: int, n_jobs: int) -> ScalingLawEstimator:
    from joblib import Parallel, delayed

    from ..trajectories import concat_trajectories

    runs = Parallel(n_jobs=n_jobs)(
        delayed(_one_perceptron)(load, seed)
        for load in reversed(_PERCEPTRON_LOADS)
        for seed in range(n_seeds)
    )
    table = concat_trajectories(runs)
    return _fit(table, output, "perceptron", norm="rms", metric="relative_test_error")


def _one_perceptron(load: int, seed: int) -> pd.DataFrame:
    from ..perceptron import LogisticPerceptron, make_teacher_student

    X, y, teacher = make_teacher_student(
        load * _PERCEPTRON_INPUTS,
        _PERCEPTRON_INPUTS,
        random_state=np.random.default_rng([load, seed]),
    )
    perceptron = LogisticPerceptron(max_norm=1e3, random_state=seed)
    return perceptron.fit(X, y, teacher=teacher).trajectory_


def _fit(table: pd.DataFrame, output: Path, name: str, **parameters: Any) -> Any:
    from ..laws import ScalingLawEstimator
    from ..trajectories import write_trajectories

    write_trajectories(table, output / f"{name}.parquet")
    law = ScalingLawEstimator(**parameters).fit(table)
    save_figures(law, output, f"{name}_")
    return law


def _say_how_far(law: ScalingLawEstimator) -> None:
    """Say whether training went on long enough."""
    censored = int(law.optima_["censored"].sum())
    n_runs = len(law.optima_)
    passed = not law.landmarks_["censored"].any()
    if censored == 0:
        text = "Training was long enough: every run passed its lowest test error."
    elif law.landmark_ == "knee" and passed:
        text = (
            "Training was long enough for gamma2, as every train size passed its knee; "
            f"beyond it the test error of {censored} of {n_runs} runs still fell a "
            "little, or was level, up to the last checkpoint."
        )
    else:
        text = (
            f"Training was short for {censored} of {n_runs} runs: their test error was "
            "still at its lowest at the last checkpoint."
        )
    Console().print(text + "\n", highlight=False)


def _beside_theory(law: ScalingLawEstimator) -> None:
    """Print the perceptrons' optima beside those of exact theory at fixed norm."""
    from .. import theory as exact

    table = law.trajectories_.assign(
        load=lambda t: t["train_size"] / _PERCEPTRON_INPUTS
    )
    lowest = (
        table.groupby(["load", "seed"])["relative_test_error"]
        .min()
        .groupby("load")
        .mean()
    )
    loads = lowest.index.to_numpy()
    shown = pd.DataFrame(
        {
            "simulated, growing norm": lowest.to_numpy(),
            "theory, fixed norm": exact.optimal_error(loads) / exact.hebb_error(loads),
        },
        index=pd.Index([f"{load:g}" for load in loads]),
    )
    print_table(shown, "Lowest error over Hebb's error", "alpha")
    slope = -np.polyfit(np.log(loads), np.log(shown["theory, fixed norm"]), 1)[0]
    Console().print(
        f"At these loads theory has an exponent of {slope:.3f} for that ratio; for "
        "ever larger ones gamma1 = 1/2, gamma2 = 1, and their product 1/2."
    )
