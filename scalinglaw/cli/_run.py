"""``scalinglaw run``: train what a study describes, fit its laws, write a report."""

from __future__ import annotations

import json as _json
import sys
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._output import (
    WORKER_KILLED,
    comparison_to_dict,
    law_to_dict,
    print_json,
    print_summary,
    print_table,
    print_text,
    say,
    say_warnings,
)
from ._tables import Json

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from ..study import Study, StudyResult

__all__ = ["run", "run_and_write", "show"]

_MODELS = ("cnn", "resnet", "vit", "mlp", "perceptron")
_DATA = ("digits", "fashion-mnist", "mnist", "cifar10", "cifar100")
# What one model by options is trained with, unless --set says otherwise.
_DEFAULTS = {
    "sweep.train_sizes": [50, 100, 200, 400, 800, 1200],
    "sweep.n_seeds": 3,
    "sweep.test_size": 300,
    "sweep.random_state": 0,
}


def run(
    study: Annotated[
        Path | None, typer.Argument(help="TOML file that describes a study.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(_MODELS)}.", autocompletion=lambda: _MODELS),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(_DATA)}.", autocompletion=lambda: _DATA),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE of the study's file; repeatable."),
    ] = None,
    n_jobs: Annotated[int | None, typer.Option(help="Runs trained at once.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder of the results; scalinglaw-run, or the study's."),
    ] = None,
    cache_dir: Annotated[
        Path | None, typer.Option(help="Finished runs are kept here; <output>/cache.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Download the images if need be.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, and train nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Train at many train sizes, fit the laws, write tables, figures and a report.

    A study is described by a TOML file. With --model and --data such a file is
    written into the output folder and run. The same command again trains only what
    is missing.

    Examples
    --------
        scalinglaw run study.toml --dry-run

        scalinglaw run study.toml --set sweep.n_seeds=10 --n-jobs 2

        scalinglaw run --model cnn --data digits --set models.cnn.max_epochs=50
    """
    from ..study import read_study
    from ..study._description import parse_study

    lines = [_toml_line(change) for change in changes or ()]
    if n_jobs is not None:
        lines.append(f"sweep.n_jobs = {n_jobs}")
    if download:
        lines.append("data.download = true")
    if study is None:
        output = Path("scalinglaw-run") if output is None else output
        text = _description(model or "cnn", data or "digits", lines)
        described = parse_study(text, output / "study.toml")
    elif model is None and data is None:
        described = read_study(study, lines)
    else:
        raise typer.BadParameter(
            f"--{'model' if model else 'data'} does not go with a study: its TOML file "
            "says what is trained. Change it there, or use --set."
        )
    described = replace(
        described,
        output=output or described.output,
        cache=cache_dir or described.cache,
    )
    if dry_run:
        _rehearse(described, json)
        return
    _make_folders(described.output)
    if study is None:
        described.path.write_text(described.text, encoding="utf-8")
    result, report = run_and_write(described)
    show(result, json=json)
    if json:
        laws = {name: law_to_dict(law) for name, law in result.laws.items()}
        pairs = {each.exponent: comparison_to_dict(each) for each in result.comparisons}
        print_json({"models": laws, "comparisons": pairs, "remarks": result.remarks})
    say(f"wrote tables and figures; open {report}")
    if missing := result.without_laws():
        raise ValueError(
            f"there are no exponents of {', '.join(missing)}: {report} says why."
        )


def run_and_write(study: Study) -> tuple[StudyResult, Path]:
    """Run a study and write its results; return them, and the path of the report."""
    from ..study import run_study, write_report

    with _kept(study.cache):
        result = run_study(study, verbose=1, say=say)
    return result, write_report(result)


def show(result: StudyResult, *, json: bool) -> None:
    """Print the laws of a study unless it is for JSON, and remarks, each once."""
    from ..study._running import in_keys

    shown: set[str] = set()
    if not json:
        for name, law in result.laws.items():
            title = f"{name} on {result.study.data_name}"
            print_summary(title, law.summary(), in_keys)
            shown |= set(map(in_keys, law.remarks_))
        for comparison in result.comparisons:
            print_summary("", comparison.summary(), in_keys)
    for name, texts in sorted(result.remarks.items(), reverse=True):
        say_warnings([text for text in texts if text not in shown], name)


def _rehearse(study: Study, json: bool) -> None:
    """Check a study against its data, and print what it would train."""
    from ..study._running import rehearse

    plan = rehearse(study)
    if json:
        print_json({"models": plan.to_dict(orient="index"), "output": study.output})
        return
    print_table(plan, study.title, "model")
    print_text(f"Results would go to {study.output}, finished runs to {study.cache}.")


def _description(model: str, data: str, lines: list[str]) -> str:
    """Return the TOML text of a study of one model."""
    from .._validation import check_option

    check_option(model, "--model", _MODELS)
    check_option(data, "--data", _DATA)
    content = {
        "title": f"{model} on {data}",
        "output": ".",
        "data.name": data,
        **_DEFAULTS,
        f"models.{model}.classifier": model,
    }
    if model != "perceptron":
        content[f"models.{model}.max_epochs"] = 100
    # JSON's texts, numbers and lists are TOML's, too.
    values = {key: _json.dumps(value) for key, value in content.items()}
    for line in lines:
        key, _, value = line.partition(" = ")
        values[key] = value
    return "".join(f"{key} = {value}\n" for key, value in values.items())


def _toml_line(change: str) -> str:
    """Return ``KEY=VALUE`` as a line of TOML; what is no value of it is a text."""
    key, equals, value = (part.strip() for part in change.partition("="))
    if not (equals and key):
        raise typer.BadParameter(
            f"--set must be KEY=VALUE, such as sweep.n_seeds=5, got {change!r}."
        )
    try:
        tomllib.loads(f"{key} = {value}")
    except tomllib.TOMLDecodeError:
        value = _json.dumps(value, ensure_ascii=False)
    return f"{key} = {value}"


def _make_folders(output: Path) -> None:
    """Create the folders of the results: before hours of training, not after them."""
    for folder in (output, output / "trajectories", output / "figures"):
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
