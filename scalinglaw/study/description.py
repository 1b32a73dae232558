"""What a study is: a TOML file, checked key by key.

Each message starts with the file and the dotted path of the key, so that the line
can be found.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._validation import (
    check_fraction,
    check_integer,
    check_number,
    check_option,
    check_train_sizes,
    check_window,
)
from ..laws import ScalingLawEstimator
from ..laws.compare import CORRECTIONS
from .models import Model, make_model
from .tables import Table, check_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["IMAGES", "Data", "Study", "check_jobs", "read_study"]

IMAGES = ("digits", "fashion-mnist", "mnist", "cifar10", "cifar100")
_EXPONENTS = ("gamma1", "gamma2", "gamma_predicted", "gamma_measured")
# What a file name cannot have on one system or another.
_NOT_IN_NAMES = frozenset('/\\:*?"<>|')
# Files add up to 46 bytes while they are written, and may have 255.
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Data:
    """Where the samples come from.

    Parameters
    ----------
    name : str
        A set of images that :func:`~scalinglaw.datasets.load_images` knows, or the
        name of the file.
    root : Path or None
        torchvision's root folder.
    file : Path or None
        ``.npz`` with the arrays ``X`` and ``y``.
    """

    name: str
    root: Path | None = None
    file: Path | None = None


@dataclass(frozen=True)
class Study:
    """A study, as its file describes it.

    Parameters
    ----------
    path : Path
        The file; folders in it are relative to its own.
    text : str
        What it says.
    title : str
        Heading of the report.
    models : dict of str to Model
        What is trained, by name.
    data : Data
        On what.
    sweep : dict
        Parameters of :class:`~scalinglaw.TrajectorySweep`.
    law : dict
        Parameters of :class:`~scalinglaw.ScalingLawEstimator`.
    comparison : dict
        ``exponents``, ``correction`` and ``margin``.
    output, cache : Path
        Folder of the results, and of finished runs.
    """

    path: Path
    text: str
    title: str
    models: dict[str, Model]
    data: Data
    sweep: dict[str, Any]
    output: Path
    cache: Path
    law: dict[str, Any] = field(default_factory=dict)
    comparison: dict[str, Any] = field(default_factory=dict)


def read_study(path: Any) -> Study:
    """Read and check the description of a study.

    Parameters
    ----------
    path : path-like
        A TOML file; see the user guide for its keys.

    Returns
    -------
    Study
        Checked, with nothing loaded or trained yet.

    Raises
    ------
    ValueError, TypeError
        If the file is no TOML or a key is wrong; the message names the key.
    FileNotFoundError
        If there is no such file.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file in UTF-8: {error}") from error
    try:
        return _study(path, text, content)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{path}: {error}") from error


def _study(path: Path, text: str, content: dict[str, Any]) -> Study:
    top = Table(content)
    title = top.take("title", check_text, path.stem)
    folder = path.parent
    output = folder / top.take("output", check_text, f"{path.stem}-results")
    cache = top.take("cache", check_text, None)
    data = _data(top.table("data", required=True), folder)
    sweep = _sweep(top.table("sweep", required=True))
    law = _law(top.table("law"))
    comparison = _comparison(top.table("comparison"))
    described = top.table("models", required=True)
    if not described.content:
        raise ValueError('models must describe at least one, such as "[models.cnn]".')
    for name in described.content:
        _check_name(name)
    models = {
        name: make_model(table.path, table.content, data.name, folder)
        for name, table in described.tables()
    }
    top.done()
    for name, model in models.items():
        _check_recorded(law, name, model)
    _check_smallest(law, sweep["train_sizes"])
    return Study(
        path=path,
        text=text,
        title=title,
        models=models,
        data=data,
        sweep=sweep,
        output=output,
        cache=folder / cache if cache is not None else output / "cache",
        law=law,
        comparison=comparison,
    )


def _check_name(name: str) -> None:
    """Raise unless the tables, figures and runs of a model can be named after it."""
    fits = 0 < len(name.encode()) <= _LONGEST_NAME
    if not (fits and name.isprintable() and name.strip(" .") == name) or (
        _NOT_IN_NAMES & set(name)
    ):
        raise ValueError(
            f"models.{json.dumps(name, ensure_ascii=False)} is no name for a model, as "
            f"files are named after it. Give it 1 to {_LONGEST_NAME} bytes without "
            '/ \\ : * ? " < > | or control characters, and no dot or space at either '
            "end."
        )


def _check_recorded(law: dict[str, Any], name: str, model: Model) -> None:
    """Raise unless a model records the norm and the error of the laws."""
    norm = law.get("norm", model.norm)
    if norm not in model.recorded:
        raise ValueError(
            f"law.norm = {norm!r} is not recorded by models.{name}, but "
            f"{', '.join(map(repr, model.recorded))}: add it to models.{name}.norms."
        )
    metric = law.get("metric", "test_error")
    if metric not in model.metrics:
        raise ValueError(
            f"law.metric = {metric!r} is not recorded by models.{name}, but "
            f"{', '.join(map(repr, model.metrics))}: take one of these."
        )


def _check_smallest(law: dict[str, Any], train_sizes: list[int]) -> None:
    smallest = max(ScalingLawEstimator(**law)._smallest_sizes().values())
    if smallest > train_sizes[-1]:
        raise ValueError(
            f"law.min_train_size must leave a train size, got {smallest:g}: the "
            f"largest of sweep.train_sizes is {train_sizes[-1]}."
        )


def _data(table: Table, folder: Path) -> Data:
    name = table.take("name", _one_of(IMAGES), None)
    root = table.take("root", check_text, None)
    file = table.take("file", check_text, None)
    table.done()
    if (name is None) == (file is None):
        raise ValueError(
            f"data must have either name (one of {', '.join(map(repr, IMAGES))}) or "
            "file (an .npz with the arrays X and y)."
        )
    if file is not None and not file.endswith(".npz"):
        raise ValueError(f"data.file must end in .npz, got {file!r}.")
    return Data(
        name=name or Path(file).stem,
        root=None if root is None else folder / root,
        file=None if file is None else folder / file,
    )


def _sweep(table: Table) -> dict[str, Any]:
    settings = {
        "train_sizes": table.take("train_sizes", check_train_sizes),
        "n_seeds": table.take("n_seeds", check_integer, 5),
        "test_size": table.take("test_size", _size, 0.2),
        "random_state": table.take("random_state", _seed, 0),
        "n_jobs": table.take("n_jobs", check_jobs, None),
        "stack": table.take("stack", _one_of(("auto", True, False)), "auto"),
    }
    table.done()
    return settings


def _law(table: Table) -> dict[str, Any]:
    checks: dict[str, Callable[[Any, str], Any]] = {
        "norm": check_text,
        "metric": check_text,
        "method": _one_of(("pooled", "published")),
        "window": _window,
        "landmark": _one_of(("auto", "knee", "minimum")),
        "min_train_size": _sizes_from,
        "offset": _one_of((True, False)),
        "confidence_level": check_fraction,
    }
    settings = table.take_given(checks)
    try:
        # What one key says may rule out what another does.
        law = ScalingLawEstimator(**settings)
        law._check_parameters()
        law._smallest_sizes()
    except (ValueError, TypeError) as error:
        raise type(error)(f"law.{error}") from error
    return settings


def _comparison(table: Table) -> dict[str, Any]:
    checks: dict[str, Callable[[Any, str], Any]] = {
        "exponents": _exponents,
        "correction": _one_of(CORRECTIONS),
        "margin": lambda value, name: check_number(value, name, minimum=0.0),
    }
    return table.take_given(checks)


def _one_of(options: tuple[Any, ...]) -> Callable[[Any, str], Any]:
    return lambda value, name: check_option(value, name, options)


def _size(value: Any, name: str) -> int | float:
    if isinstance(value, float):
        return check_fraction(value, name)
    return check_integer(value, name)


def _seed(value: Any, name: str) -> int:
    return check_integer(value, name, minimum=0)


def check_jobs(value: Any, name: str) -> int:
    """Return a number of jobs in joblib's sense: negative ones count cores.

    Parameters
    ----------
    value : object
        What was given.
    name : str
        Of the argument, for messages.

    Returns
    -------
    int
        Not 0.

    Raises
    ------
    TypeError, ValueError
        If it is no integer, or 0.
    """
    if value == 0:
        raise ValueError(f"{name} must not be 0; -1 means one run per core.")
    return check_integer(value, name, minimum=-64)


def _window(value: Any, name: str) -> Any:
    try:
        window = check_window(value)
    except (ValueError, TypeError) as error:
        # The check calls it "window", whoever asks.
        raise type(error)(f"{name.removesuffix('window')}{error}") from error
    return window if isinstance(window, str) else tuple(window)


def _sizes_from(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        for key, size in value.items():
            check_option(key, f"the key of {name}", ("gamma1", "gamma2", _EXPONENTS[3]))
            check_number(size, f"{name}.{key}", minimum=0.0)
        return dict(value)
    return check_number(value, name, minimum=0.0)


def _exponents(value: Any, name: str) -> list[str]:
    if not isinstance(value, list) or not value:
        raise TypeError(f"{name} must be a list of exponents, got {value!r}.")
    return [
        check_option(entry, f"{name}[{i}]", _EXPONENTS) for i, entry in enumerate(value)
    ]
