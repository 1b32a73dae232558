"""``scalinglaw run``: a sweep, or a study, and its laws from the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from .output import (
    console,
    law_to_dict,
    print_json,
    print_table,
    save_figures,
    show_law,
    spoken_warnings,
)

__all__ = ["run"]

_MODELS = ("cnn", "resnet", "vit", "perceptron")


def run(
    context: typer.Context,
    study: Annotated[
        Path | None,
        typer.Argument(help="TOML file that describes a study of several models."),
    ] = None,
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
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for table, report and figures; scalinglaw-run."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object.")
    ] = False,
) -> None:
    """Train at many train sizes, fit the laws, write table and figures.

    Either one model by options, or a study of several models from a TOML file,
    with a report in one HTML file. The same command again trains only what is
    missing.

    Examples
    --------
        scalinglaw run study.toml

        scalinglaw run --model cnn --data digits --width 8,16,32

        scalinglaw run --data fashion-mnist --train-sizes 250,500,1000,2000 --n-jobs 2
    """
    if study is not None:
        _refuse_options(context)
        _run_study(
            study,
            n_jobs=n_jobs if _is_given(context, "n_jobs") else None,
            output=output,
            cache_dir=cache_dir,
            json=json,
        )
        return
    output = output or Path("scalinglaw-run")
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


# What may be said beside a file; the rest is in the file.
_BESIDE_STUDY = ("study", "n_jobs", "output", "cache_dir", "json")


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _refuse_options(context: typer.Context) -> None:
    for name in context.params:
        if name not in _BESIDE_STUDY and _is_given(context, name):
            raise typer.BadParameter(
                f"--{name.replace('_', '-')} does not go with a study: its TOML file "
                "says what is trained. Change it there."
            )


def _run_study(
    path: Path,
    *,
    n_jobs: int | None,
    output: Path | None,
    cache_dir: Path | None,
    json: bool,
) -> None:
    """Run a study and write its table, report and figures."""
    from ..study import read_study, run_study, write_report
    from ..trajectories import write_trajectories

    study = read_study(path)
    study = replace(
        study, output=output or study.output, cache=cache_dir or study.cache
    )
    # Before hours of training rather than after them.
    study.output.mkdir(parents=True, exist_ok=True)
    try:
        result = run_study(study, n_jobs=n_jobs, verbose=1, say=_say)
    except KeyboardInterrupt:
        _say(f"finished runs are in {study.cache}: the same command goes on with them")
        raise
    for name, texts in sorted(result.remarks.items(), reverse=True):
        for text in texts:
            _say(f"warning: {name}{': ' if name else ''}{text}", style="yellow")
    tables = study.output / "trajectories"
    tables.mkdir(exist_ok=True)
    for name, table in result.trajectories.items():
        write_trajectories(table, tables / f"{name}.parquet")
    write_report(result, study.output / "report.html", study.output / "figures")
    _say(f"wrote report.html, figures and trajectories into {study.output}")
    if json:
        print_json(
            {
                "models": {name: law_to_dict(law) for name, law in result.laws.items()},
                "comparisons": {
                    found.exponent: _pairs(found) for found in result.comparisons
                },
                "remarks": result.remarks,
            }
        )
        return
    for name, law in result.laws.items():
        show_law(law, f"{name} on {study.data.name}")
    for found in result.comparisons:
        pairs = found.differences.copy()
        pairs.index = [f"{first} - {second}" for first, second in pairs.index]
        print_table(pairs, f"{found.exponent} ({found.correction} adjusted)", "pair")


def _pairs(found: Any) -> dict[str, Any]:
    pairs = found.differences.copy()
    pairs.index = [f"{first} - {second}" for first, second in pairs.index]
    return {"differences": pairs.T.to_dict(), "homogeneity": found.homogeneity}


def _say(text: str, style: str | None = None) -> None:
    console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


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
