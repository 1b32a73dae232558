"""``scalinglaw demo``: the main job, end to end, in a few minutes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pandas as pd
import typer

from ._output import (
    in_options,
    law_to_dict,
    print_json,
    print_summary,
    print_table,
    print_text,
    say,
    spoken_warnings,
)
from ._run import run_and_write, show
from ._tables import FIGURES, Json, save_figure

if TYPE_CHECKING:
    from ..laws import ScalingLawEstimator

__all__ = ["demo"]

_STUDY = """
title = "Small CNN on scikit-learn's digits"
output = "."
data.name = "digits"

[sweep]
train_sizes = [50, 100, 200, 400, 800, 1200]
n_seeds = {n_seeds}
test_size = 500
n_jobs = {n_jobs}
random_state = 0

[models.cnn]
classifier = "cnn"
conv_widths = [8, 16, 32]
hidden_width = 512
max_epochs = {max_epochs}
"""
_PERCEPTRON_INPUTS = 100
_PERCEPTRON_LOADS = [5, 10, 20, 40, 80]


def demo(
    output: Annotated[Path, typer.Option(help="Folder for tables and figures.")] = Path(
        "demo"
    ),
    n_seeds: Annotated[int, typer.Option(help="Runs of each train size.")] = 3,
    max_epochs: Annotated[int, typer.Option(help="Epochs of the network.")] = 150,
    n_jobs: Annotated[int, typer.Option(help="Runs trained at once.")] = 2,
    json: Json = False,
) -> None:
    """Train a small CNN on digits and perceptrons on a teacher; print their exponents.

    Takes two to three minutes on two cores, and writes a report, tables and figures
    into the output folder. A second time, only what is missing is trained.
    """
    from ..study._description import parse_study
    from ..study._words import training_length

    start = time.perf_counter()
    output.mkdir(parents=True, exist_ok=True)
    text = _STUDY.format(n_seeds=n_seeds, n_jobs=n_jobs, max_epochs=max_epochs)
    study = parse_study(text, output / "study.toml")
    study.path.write_text(text, encoding="utf-8")
    result, report = run_and_write(study)
    with spoken_warnings() as shown:
        perceptron = _perceptrons(output, max(n_seeds, 4), n_jobs)
        shown += [] if json else perceptron.remarks_
    laws = {**result.laws, "perceptron": perceptron}
    show(result, json=json)
    if json:
        print_json({name: law_to_dict(law) for name, law in laws.items()})
    else:
        title = "Logistic perceptron on a teacher"
        print_summary(title, perceptron.summary(), in_options)
        _beside_theory(perceptron)
        for name, law in laws.items():
            print_text(f"{name}: {training_length(law)[1]}")
    figure = output / "figures" / "perceptron_norm.png"
    say(f"done in {time.perf_counter() - start:.0f} s; open {report} and {figure}")


def _perceptrons(output: Path, n_seeds: int, n_jobs: int) -> ScalingLawEstimator:
    from joblib import Parallel, delayed

    from ..laws import ScalingLawEstimator
    from ..trajectories import concat_trajectories, write_trajectories

    runs = Parallel(n_jobs=n_jobs)(
        delayed(_one_perceptron)(load, seed)
        for load in reversed(_PERCEPTRON_LOADS)
        for seed in range(n_seeds)
    )
    table = concat_trajectories(runs)
    write_trajectories(table, output / "trajectories" / "perceptron.parquet")
    law = ScalingLawEstimator("rms", metric="relative_test_error").fit(table)
    for kind in FIGURES:
        save_figure(law, kind, output / "figures" / f"perceptron_{kind}.png")
    return law


def _one_perceptron(load: int, seed: int) -> pd.DataFrame:
    from ..perceptron import LogisticPerceptron, make_teacher_student

    X, y, teacher = make_teacher_student(
        load * _PERCEPTRON_INPUTS,
        _PERCEPTRON_INPUTS,
        random_state=np.random.default_rng([load, seed]),
    )
    perceptron = LogisticPerceptron(max_norm=1e3, random_state=seed)
    return perceptron.fit(X, y, teacher=teacher).trajectory_


def _beside_theory(law: ScalingLawEstimator) -> None:
    """Print the perceptrons' optima beside those of exact theory at fixed norm."""
    from .. import theory as exact

    log_error = law.trajectories_.groupby(["train_size", "seed"])["log_error"].min()
    lowest = np.exp(log_error).groupby("train_size").mean()
    loads = lowest.index.to_numpy() / _PERCEPTRON_INPUTS
    at_fixed_norm = exact.optimal_error(loads) / exact.hebb_error(loads)
    shown = pd.DataFrame(
        {
            "simulated, growing norm": lowest.to_numpy(),
            "theory, fixed norm": at_fixed_norm,
        },
        index=pd.Index([f"{load:g}" for load in loads]),
    )
    print_table(shown, "Lowest error over Hebb's error", "alpha")
    slope = -np.polyfit(np.log(loads), np.log(at_fixed_norm), 1)[0]
    print_text(
        f"At these loads theory has an exponent of {slope:.3f} for that ratio; for "
        "ever larger ones gamma1 = 1/2, gamma2 = 1, and their product 1/2."
    )
