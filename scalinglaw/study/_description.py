"""What a study is: a TOML file, checked before anything is loaded or trained."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._validation import check_fraction, check_option
from ..laws import PublishedScalingLaw, ScalingLawEstimator, compare_exponents
from ..sweep import TrajectorySweep
from ._models import Model, make_model
from ._tables import Content, DataTable, ask, parse, unknown_key

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Study", "make_law", "parse_study", "read_study"]

# What a file name cannot have on one system or another.
_NOT_IN_NAMES = frozenset('/\\:*?"<>|')
# Files add up to 46 bytes while they are written, and may have 255.
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Study:
    """A study, as its file describes it.

    Parameters
    ----------
    path : Path
        The file; folders in it are relative to its own.
    text : str
        What the file says, and what was changed beside it.
    title : str
        Heading of the report.
    models : dict of str to Model
        What is trained, by name.
    data : DataTable
        What it is trained on: ``name``, ``root``, ``download`` and ``file``.
    sweep : dict
        Parameters of :class:`~scalinglaw.TrajectorySweep`.
    law : dict
        Parameters of :class:`~scalinglaw.ScalingLawEstimator`, or with
        ``method="published"`` of :class:`~scalinglaw.PublishedScalingLaw`.
    comparison : dict
        ``exponents``, ``correction`` and ``margin``.
    output : Path
        Folder of the results.
    cache : Path
        Folder of the finished runs.
    """

    path: Path
    text: str
    title: str
    models: dict[str, Model]
    data: DataTable
    sweep: dict[str, Any]
    law: dict[str, Any]
    comparison: dict[str, Any]
    output: Path
    cache: Path

    @property
    def n_runs(self) -> int:
        """Number of runs of each model."""
        return len(self.sweep["train_sizes"]) * int(self.sweep["n_seeds"])

    @property
    def data_name(self) -> str:
        """Name of the data set, or of its file without the suffix."""
        return self.data.name or Path(str(self.data.file)).stem


def read_study(path: Any, changes: Sequence[str] = ()) -> Study:
    """Read and check the description of a study.

    Parameters
    ----------
    path : path-like
        A TOML file; see the user guide for its keys.
    changes : sequence of str
        Lines with dotted keys, such as ``"sweep.n_seeds = 10"``, whose values replace
        those of the file.

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
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file in UTF-8: {error}") from error
    return parse_study(text, path, changes)


def parse_study(text: str, path: Path, changes: Sequence[str] = ()) -> Study:
    """Check the text of a study whose file is, or will be, at a path."""
    try:
        content = tomllib.loads(text)
        for line in changes:
            content = _merged(content, tomllib.loads(line))
            text += f"\n# changed beside the file: {line}"
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from error
    try:
        return _checked(path, text, parse(content))
    except (ValueError, TypeError) as error:
        raise type(error)(f"{path}: {error}") from error


def make_law(settings: Mapping[str, Any]) -> ScalingLawEstimator | PublishedScalingLaw:
    """Return the estimator of laws whose class the setting ``method`` chooses."""
    params = dict(settings)
    method = params.pop("method", "pooled")
    check_option(method, "method", ("pooled", "published"))
    return (PublishedScalingLaw if method == "published" else ScalingLawEstimator)(
        **params
    )


def _merged(old: Any, new: Any) -> Any:
    """Return nested tables with the values of others in place of their own."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return {**old, **{key: _merged(old.get(key), new[key]) for key in new}}


def _checked(path: Path, text: str, content: Content) -> Study:
    folder = path.parent
    output = folder / (content.output or f"{path.stem}-results")
    for name in content.models:
        _check_name(name)
    study = Study(
        path=path,
        text=text,
        title=content.title or path.stem,
        models={
            name: make_model(f"models.{name}", table, content.data, folder)
            for name, table in content.models.items()
        },
        data=content.data,
        sweep=content.sweep.model_dump(),
        law=content.law,
        comparison=content.comparison.model_dump(),
        output=output,
        cache=output / "cache" if content.cache is None else folder / content.cache,
    )
    _check_sweep(study)
    _check_law(study)
    settings = {key: study.comparison[key] for key in ("correction", "margin")}
    ask("comparison", settings, lambda: compare_exponents({}, **settings))
    for name, model in study.models.items():
        _check_recorded(study.law, name, model)
    return study


def _check_sweep(study: Study) -> None:
    settings = study.sweep
    if isinstance(settings["test_size"], float):
        check_fraction(settings["test_size"], "sweep.test_size")
    classifier = next(iter(study.models.values())).classifier
    sweep = TrajectorySweep(classifier, **settings)
    ask("sweep", settings, lambda: sweep.fit(np.empty((0, 1)), np.empty(0)))


def _check_law(study: Study) -> None:
    from ..datasets import make_trajectories

    law = make_law({"method": study.law.get("method", "pooled")})
    known = ["method", *law.get_params()]
    for key in study.law:
        if key not in known:
            raise unknown_key(f"law.{key}", known)
    law = make_law(study.law)
    # Made-up trajectories at the train sizes of the study, for min_train_size.
    table = make_trajectories(
        train_sizes=sorted(study.sweep["train_sizes"]), n_seeds=1, random_state=0
    ).rename(
        columns={
            "log_spectral_complexity": f"log_{law.norm}",
            "test_error": law.metric,
        }
    )
    ask("law", known, lambda: law.fit(table))


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
    norm, metric = law.get("norm", model.norm), law.get("metric", "test_error")
    for key, value, recorded, advice in (
        ("norm", norm, model.recorded, f"add it to models.{name}.norms"),
        ("metric", metric, model.metrics, "take one of these"),
    ):
        if value not in recorded:
            raise ValueError(
                f"law.{key} = {value!r} is not recorded by models.{name}, but "
                f"{', '.join(map(repr, recorded))}: {advice}."
            )
