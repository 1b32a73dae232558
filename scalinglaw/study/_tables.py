"""The outer shape of a study's TOML file, and messages that name the key.

What a key may be is left to the class that takes it: a sweep, a classifier, a law.
Its own check speaks, with the key's path before its words.
"""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

__all__ = ["Content", "DataTable", "ModelTable", "ask", "parse", "unknown_key"]

_Text = Annotated[str, Field(pattern=r"\S")]


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class DataTable(_Table):
    """Where the samples come from: ``[data]``."""

    name: Literal["digits", "fashion-mnist", "mnist", "cifar10", "cifar100"] | None = (
        None
    )
    root: _Text | None = None
    download: bool = False
    file: Annotated[str, Field(pattern=r"\.npz$")] | None = None

    @model_validator(mode="after")
    def _has_one_source(self) -> DataTable:
        if (self.name is None) == (self.file is None):
            raise ValueError(
                'must have either name, such as "digits", or file, an .npz with the '
                "arrays X and y"
            )
        return self


class ModelTable(_Table):
    """What is trained: ``[models.<name>]``; other keys are the classifier's own."""

    model_config = ConfigDict(extra="allow")

    classifier: Literal["cnn", "resnet", "vit", "mlp", "module", "perceptron"]
    preset: bool = False
    hidden_widths: list[int] | None = None
    module: _Text | None = None
    stop_after_optimum: bool = False


class SweepTable(_Table):
    """Parameters of :class:`~scalinglaw.TrajectorySweep`: ``[sweep]``."""

    train_sizes: Any
    n_seeds: Any = 5
    test_size: Any = 0.2
    random_state: Any = 0
    n_jobs: Any = None


class ComparisonTable(_Table):
    """Arguments of :func:`~scalinglaw.compare_exponents`: ``[comparison]``."""

    exponents: Annotated[
        list[Literal["gamma1", "gamma2", "gamma_predicted", "gamma_measured"]],
        Field(min_length=1),
    ] = ["gamma_predicted", "gamma_measured"]
    correction: Any = "holm"
    margin: Any = None
    include_unresolved: bool = False


class Content(_Table):
    """The whole file."""

    title: _Text | None = None
    output: _Text | None = None
    cache: _Text | None = None
    data: DataTable
    sweep: SweepTable
    models: Annotated[dict[str, ModelTable], Field(min_length=1)]
    law: dict[str, Any] = {}
    comparison: ComparisonTable = ComparisonTable()


def parse(content: Mapping[str, Any]) -> Content:
    """Check the outer shape of a study."""
    try:
        return Content.model_validate(content)
    except ValidationError as error:
        raise ValueError(_message(error.errors()[0])) from None


def ask(key: str, names: Collection[str], call: Callable[[], Any]) -> None:
    """Let a class check its parameters, and put the key before what it says."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
    except (ValueError, TypeError) as error:
        # Messages about a parameter begin with its name.
        if re.split(r"\W", str(error), maxsplit=1)[0] in names:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"{key}.{error}") from error


def unknown_key(path: str, known: Collection[str]) -> ValueError:
    """Return the error for a key that does not exist, with the likely one."""
    close = difflib.get_close_matches(path.rpartition(".")[2], known, n=1)
    advice = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}."
    return ValueError(f"{path} is not a key of a study: {advice}")


def _message(error: Any) -> str:
    """Return in one sentence what pydantic found."""
    *parents, key = error["loc"]
    path = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return str(unknown_key(path, _keys(parents)))
    if error["type"] == "missing":
        table = not parents
        return f"{path} is missing{f': add a table [{key}]' if table else ''}."
    if error["type"] in ("model_type", "dict_type"):
        return (
            f"{path} must be a table, got {error['input']!r}. Write [{path}] on a line "
            "of its own, and its keys below."
        )
    if error["type"] == "value_error":
        return f"{path} {error['ctx']['error']}."
    if "pattern" in error.get("ctx", {}):
        need = "end in .npz" if path == "data.file" else "not be empty"
        return f"{path} must {need}, got {error['input']!r}."
    need = re.sub(r"^\w+ should", "must", error["msg"]).partition(" after valid")[0]
    return f"{path} {need}, got {error['input']!r}."


def _keys(parents: list[Any]) -> list[str]:
    """Return the keys that the file, or a table in it, may have."""
    fields = Content.model_fields
    if parents:
        table = fields[parents[0]].annotation
        fields = table.model_fields  # type: ignore[union-attr]
    return list(fields)
