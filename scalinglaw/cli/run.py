"""``scalinglaw run``: a sweep, or a study, and its laws from the command line."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .output import (
    WORKER_KILLED,
    law_to_dict,
    print_json,
    print_table,
    save_figures,
    say,
    show_law,
    spoken_warnings,
)

if TYPE_CHECKING:
    from ..study import StudyResult

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
        Path | None, typer.Option(help="Finished runs are kept here; <output>/cache.")
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
    from .._validation import check_integer, check_option
    from ..study.description import IMAGES, check_jobs
    from ..study.models import check_parameters

    check_option(model, "--model", _MODELS)
    check_option(data, "--data", IMAGES)
    if model == "perceptron":
        _refuse_for_perceptron(context)
    classifier = _classifier(model, width, max_epochs, lr)
    check_parameters(model, classifier)
    output = output or Path("scalinglaw-run")
    _run_sweep(
        classifier,
        model,
        data,
        root=root,
        output=output,
        json=json,
        train_sizes=_train_sizes(train_sizes),
        n_seeds=check_integer(n_seeds, "--n-seeds"),
        test_size=check_integer(test_size, "--test-size"),
        n_jobs=check_jobs(n_jobs, "--n-jobs"),
        random_state=check_integer(random_state, "--random-state", minimum=0),
        cache_dir=cache_dir or output / "cache",
    )


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


def _refuse_for_perceptron(context: typer.Context) -> None:
    for name in ("width", "max_epochs", "lr"):
        if _is_given(context, name):
            raise typer.BadParameter(
                f"--{name.replace('_', '-')} does not go with --model perceptron: its "
                "norm flow has no widths, epochs or learning rate. Leave it out."
            )


def _run_sweep(
    classifier: Any,
    model: str,
    data: str,
    *,
    root: Path | None,
    output: Path,
    json: bool,
    **settings: Any,
) -> None:
    """Train one model, and write its table and figures."""
    from ..datasets import load_images
    from ..laws import ScalingLawEstimator
    from ..study.running import train
    from ..sweep import TrajectorySweep
    from ..trajectories import write_trajectories

    images, labels = load_images(data, root=root)
    if model == "perceptron":
        images = images.reshape(len(images), -1) / 255.0
    _make_folders(output)
    sweep = TrajectorySweep(classifier, verbose=1, **settings)
    norm = "rms" if model == "perceptron" else "spectral_complexity"
    with _kept(settings["cache_dir"]):
        heard = train(sweep, images, labels)
    for text in heard:
        say(f"warning: {text}", style="yellow")
    write_trajectories(sweep.trajectories_, output / "trajectories.parquet")
    with spoken_warnings():
        law = ScalingLawEstimator(norm).fit(sweep.trajectories_)
    files = save_figures(law, output)
    say(f"wrote trajectories.parquet and {len(files)} figures into {output}")
    if json:
        print_json(law_to_dict(law))
    else:
        show_law(law, f"{model} on {data}")


def _make_folders(output: Path, *names: str) -> None:
    """Create the folder of the results: before hours of training, not after them."""
    for folder in (output, *(output / name for name in names)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                f"the folder {folder} for results cannot be made: {error.strerror}. "
                "Give another --output."
            ) from error


@contextmanager
def _kept(cache: Path) -> Iterator[None]:
    """Say where the finished runs are, should training end before its end."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"finished runs are in {cache}: the same command goes on with them")
        raise
    except BrokenExecutor as error:
        raise ChildProcessError(
            f"{WORKER_KILLED} Finished runs are in {cache}: the same command goes on "
            "with them."
        ) from error


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
    from ..study.description import check_jobs
    from ..trajectories import write_trajectories

    if n_jobs is not None:
        check_jobs(n_jobs, "--n-jobs")
    study = read_study(path)
    study = replace(
        study, output=output or study.output, cache=cache_dir or study.cache
    )
    _make_folders(study.output, "trajectories", "figures")
    with _kept(study.cache):
        result = run_study(study, n_jobs=n_jobs, verbose=1, say=say)
    for name, texts in sorted(result.remarks.items(), reverse=True):
        for text in texts:
            say(f"warning: {name}{': ' if name else ''}{text}", style="yellow")
    for name, table in result.trajectories.items():
        write_trajectories(table, study.output / "trajectories" / f"{name}.parquet")
    report = study.output / "report.html"
    with spoken_warnings():
        write_report(result, report, study.output / "figures")
    say(f"wrote report.html, figures and trajectories into {study.output}")
    if json:
        print_json(_as_dict(result))
    else:
        _show_result(result)
    if missing := result.without_laws():
        raise ValueError(
            f"there are no exponents of {', '.join(missing)}: {report} says why."
        )


def _as_dict(result: StudyResult) -> dict[str, Any]:
    return {
        "models": {name: law_to_dict(law) for name, law in result.laws.items()},
        "comparisons": {found.exponent: _pairs(found) for found in result.comparisons},
        "remarks": result.remarks,
    }


def _show_result(result: StudyResult) -> None:
    for name, law in result.laws.items():
        show_law(law, f"{name} on {result.study.data.name}")
    for found in result.comparisons:
        pairs = found.differences.copy()
        pairs.index = [f"{first} - {second}" for first, second in pairs.index]
        print_table(pairs, f"{found.exponent} ({found.correction} adjusted)", "pair")


def _pairs(found: Any) -> dict[str, Any]:
    pairs = found.differences.copy()
    pairs.index = [f"{first} - {second}" for first, second in pairs.index]
    return {"differences": pairs.T.to_dict(), "homogeneity": found.homogeneity}


def _train_sizes(text: str) -> list[int]:
    from .._validation import check_train_sizes

    return check_train_sizes(_integers(text, "--train-sizes"), "--train-sizes")


def _integers(text: str, option: str) -> list[int]:
    """Return the numbers between commas."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"{option} must be integers with commas in between, such as 50,100, got "
            f"{text!r}."
        ) from None


def _classifier(model: str, width: str | None, max_epochs: int, lr: float) -> object:
    """Return the classifier that the options describe."""
    import scalinglaw

    from .._validation import check_integers

    widths = [] if width is None else _integers(width, "--width")
    check_integers(widths, "--width")
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
