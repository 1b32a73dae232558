"""The models that a study can name, and their parameters."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._validation import check_integer, check_integers, check_option
from ._tables import DataTable, ModelTable, ask, unknown_key

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Model", "make_model", "multilayer_perceptron"]

_IMAGE_CLASSES = {
    "cnn": "CNNClassifier",
    "resnet": "ResNetClassifier",
    "vit": "ViTClassifier",
}
# Keys of a model, by kind, that are no parameters of its class.
_KEYS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_IMAGE_CLASSES, ("preset", "stop_after_optimum")),
    "mlp": ("hidden_widths", "stop_after_optimum"),
    "module": ("module", "stop_after_optimum"),
    "perceptron": (),
}
_METRICS = ("test_error", "train_error", "test_loss", "train_loss")
_PERCEPTRON_METRICS = ("test_error", "relative_test_error", "train_error", "train_loss")


@dataclass(frozen=True)
class Model:
    """One model of a study.

    Parameters
    ----------
    kind : str
        What the file calls its ``classifier``, such as ``"cnn"``.
    classifier : classifier
        The classifier, not fitted.
    norm : str
        Norm that its laws use unless told otherwise.
    recorded : tuple of str
        Norms that it records.
    metrics : tuple of str
        Columns that a law can take for its error.
    """

    kind: str
    classifier: Any
    norm: str
    recorded: tuple[str, ...]
    metrics: tuple[str, ...] = _METRICS


def make_model(path: str, table: ModelTable, data: DataTable, folder: Path) -> Model:
    """Return the model that a table describes."""
    kind = table.classifier
    classifier = _start(kind, table, path, data, folder)
    params = {key: _plain(value) for key, value in (table.model_extra or {}).items()}
    own = set(classifier.get_params(deep=False)) - {"module", "random_state"}
    known = ["classifier", *_KEYS[kind], *sorted(own)]
    for key in sorted(table.model_fields_set | set(params)):
        if key not in known:
            raise unknown_key(f"{path}.{key}", known)
    classifier.set_params(**params)
    if table.stop_after_optimum:
        from ..sweep import StopAfterOptimum

        classifier.set_params(callbacks=[StopAfterOptimum()])
    _check(path, kind, classifier)
    if kind == "perceptron":
        return Model(kind, classifier, "rms", ("rms",), _PERCEPTRON_METRICS)
    recorded = tuple(classifier.norms)
    return Model(kind, classifier, recorded[0], recorded)


def multilayer_perceptron(
    input_shape: tuple[int, ...], n_classes: int, hidden_widths: Sequence[int] = (100,)
) -> nn.Module:
    """Return fully connected layers on samples of any shape."""
    import math

    from torch import nn

    layers: list[nn.Module] = [nn.Flatten()]
    width = math.prod(input_shape)
    for hidden in hidden_widths:
        layers += [nn.Linear(width, hidden), nn.ReLU()]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, n_classes))


def _start(
    kind: str, table: ModelTable, path: str, data: DataTable, folder: Path
) -> Any:
    """Return the classifier that the keys in `_KEYS` describe."""
    import scalinglaw

    if kind in _IMAGE_CLASSES:
        chosen = getattr(scalinglaw, _IMAGE_CLASSES[kind])
        try:
            preset = data.name or data.file
            return chosen.from_preset(preset) if table.preset else chosen()
        except ValueError as error:
            raise ValueError(
                f"{path}.preset has no settings for data: {error}"
            ) from None
    if kind == "perceptron":
        return scalinglaw.LogisticPerceptron()
    if kind == "mlp":
        given = (100,) if table.hidden_widths is None else table.hidden_widths
        widths = check_integers(given, f"{path}.hidden_widths")
        module = functools.partial(multilayer_perceptron, hidden_widths=widths)
        return scalinglaw.TrajectoryClassifier(module)
    if table.module is None:
        raise ValueError(f'{path}.module is missing: write module = "file:function".')
    return scalinglaw.TrajectoryClassifier(_import(table.module, path, folder))


def _check(path: str, kind: str, classifier: Any) -> None:
    """Check all that can be known of a classifier before it sees data."""
    from ..classifiers._devices import resolve_device

    known = classifier.get_params(deep=False)
    ask(path, known, lambda: classifier.fit(np.empty((0, 1, 1, 1)), np.empty(0)))
    ask(path, known, lambda: resolve_device(classifier.device))
    # Python takes any value for a switch; a file's "no" would count as yes.
    defaults = type(classifier)().get_params(deep=False)
    for name, value in known.items():
        if isinstance(defaults[name], bool):
            check_option(value, f"{path}.{name}", (True, False))
    if not isinstance(known.get("verbose", 0), bool):
        check_integer(known.get("verbose", 0), f"{path}.verbose", minimum=0)


def _import(name: str, path: str, folder: Path) -> Any:
    """Return ``function`` of ``file:function``, looked for beside the study first."""
    file, _, function = name.partition(":")
    if not (file and function):
        raise ValueError(f'{path}.module must be "file:function", got {name!r}.')
    place = str(folder.resolve())
    # It stays there: worker processes find the code by the same path.
    if place not in sys.path:
        sys.path.insert(0, place)
    try:
        return getattr(importlib.import_module(file), function)
    except (Exception, SystemExit) as error:
        # The file is code, which may raise anything.
        raise ValueError(
            f"{path}.module = {name!r} cannot be imported: {type(error).__name__}: "
            f"{error}"
        ) from error


def _plain(value: Any) -> Any:
    """Return lists as tuples, which parameters are."""
    return tuple(map(_plain, value)) if isinstance(value, list) else value
