"""``scalinglaw run``: a sweep and its laws from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .output import (
    console,
    law_to_dict,
    print_json,
    save_figures,
    show_law,
    spoken_warnings,
)

__all__ = ["run"]

_MODELS = ("cnn", "resnet", "vit", "perceptron")


def run(
    model: Annotated[str, typer.Option(help="cnn, resnet, vit or perceptron.")] = "cnn",
    data: Annotated[
        str, typer.Option(help="digits, fashion-mnist, mnist, cifar10 or cifar100.")
    ] = "digits",
    train_sizes: Annotated[
        str, typer.Option(help="Comma-separated.")
    ] = "50,100,200,400,800,1200",
    n_seeds: Annotated[int, typer.Option(help="Runs of each train size.")] = 3,
    test_size: Annotated[int, typer.Option(help="Images held out.")] = 300,
    max_epochs: Annotated[int, typer.Option(help="Epochs of each run.")] = 100,
    width: Annotated[
        str | None, typer.Option(help="Comma-separated widths of the network's stages.")
    ] = None,
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 1e-3,
    n_jobs: Annotated[int, typer.Option(help="Runs trained at once.")] = 1,
    random_state: Annotated[
        int, typer.Option(help="Determines everything random.")
    ] = 0,
    root: Annotated[
        Path | None, typer.Option(help="Folder of the images, if not the default.")
    ] = None,
    cache_dir: Annotated[
        Path | None, typer.Option(help="Keep finished runs here, and resume.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for table and figures.")] = Path(
        "scalinglaw-run"
    ),
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object.")
    ] = False,
) -> None:
    """Train MODEL on DATA at many train sizes, fit the laws, write table and figures.

    Examples
    --------
        scalinglaw run --model cnn --data digits --width 8,16,32

        scalinglaw run --data fashion-mnist --train-sizes 250,500,1000,2000 --n-jobs 2
    """
    from .._validation import check_option

    check_option(model, "--model", _MODELS)
    from ..datasets import load_images
    from ..laws import ScalingLawEstimator
    from ..sweep import TrajectorySweep
    from ..trajectories import write_trajectories

    images, labels = load_images(data, root=root)
    if model == "perceptron":
        images = images.reshape(len(images), -1) / 255.0
    sweep = TrajectorySweep(
        _classifier(model, width, max_epochs, lr),
        train_sizes=[int(size) for size in train_sizes.split(",")],
        n_seeds=n_seeds,
        test_size=test_size,
        n_jobs=n_jobs,
        cache_dir=cache_dir,
        random_state=random_state,
        verbose=1,
    )
    norm = "rms" if model == "perceptron" else "spectral_complexity"
    with spoken_warnings():
        table = sweep.fit(images, labels).trajectories_
        output.mkdir(parents=True, exist_ok=True)
        write_trajectories(table, output / "trajectories.parquet")
        law = ScalingLawEstimator(norm).fit(table)
    files = save_figures(law, output)
    console.print(f"wrote trajectories.parquet and {len(files)} figures into {output}")
    if json:
        print_json(law_to_dict(law))
    else:
        show_law(law, f"{model} on {data}")


def _classifier(model: str, width: str | None, max_epochs: int, lr: float) -> object:
    """Return the classifier that the options describe."""
    import scalinglaw

    widths = [] if width is None else [int(part) for part in width.split(",")]
    if model == "perceptron":
        return scalinglaw.LogisticPerceptron()
    classes: dict[str, Any] = {
        "cnn": scalinglaw.CNNClassifier,
        "resnet": scalinglaw.ResNetClassifier,
        "vit": scalinglaw.ViTClassifier,
    }
    chosen: dict[str, Any] = {}
    if widths and model == "vit":
        if len(widths) != 1:
            raise ValueError(f"--width of a vit is one number, got {width}.")
        chosen["width"] = widths[0]
    elif widths:
        chosen["conv_widths" if model == "cnn" else "widths"] = tuple(widths)
        if model == "resnet":
            chosen["depths"] = (2,) * len(widths)
    return classes[model](max_epochs=max_epochs, lr=lr, **chosen)
