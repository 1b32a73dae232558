"""The models that a study can name, and their parameters."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._validation import check_integer, check_integers, check_option
from .tables import check_text, unknown_key

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "KINDS",
    "Model",
    "check_parameters",
    "make_model",
    "multilayer_perceptron",
]

_IMAGE_CLASSES = {
    "cnn": "CNNClassifier",
    "resnet": "ResNetClassifier",
    "vit": "ViTClassifier",
}
KINDS = (*_IMAGE_CLASSES, "mlp", "module", "perceptron")
# Keys of a model, by kind, that are no parameters of its class.
_KEYS = dict.fromkeys(_IMAGE_CLASSES, ("preset", "stop_after_optimum")) | {
    "mlp": ("hidden_widths", "stop_after_optimum"),
    "module": ("module", "stop_after_optimum"),
    "perceptron": (),
}
_METRICS = ("test_error", "train_error", "test_loss", "train_loss")
_PERCEPTRON_METRICS = ("test_error", "relative_test_error", "train_error", "train_loss")
# Python takes any value for these; a file's "no" would count as yes.
_SWITCHES = ("fold_normalization", "augment")


@dataclass(frozen=True)
class Model:
    """One model of a study.

    Parameters
    ----------
    kind : str
        One of ``KINDS``.
    classifier : classifier
        Not fitted.
    norm : str
        The norm that its laws use unless told otherwise.
    recorded : tuple of str
        The norms that it records.
    metrics : tuple of str
        The columns that a law can take for its error.
    """

    kind: str
    classifier: Any
    norm: str
    recorded: tuple[str, ...]
    metrics: tuple[str, ...] = _METRICS


def make_model(path: str, content: dict[str, Any], data: str, folder: Path) -> Model:
    """Return the model that a table describes.

    Parameters
    ----------
    path : str
        Dotted path of the table, for messages.
    content : dict
        Its keys: ``classifier``, one of ``KINDS``, and parameters of that class.
        ``preset = true`` starts from the paper's settings for the data;
        ``hidden_widths`` belongs to an "mlp", ``module = "file:function"`` to a
        "module"; ``stop_after_optimum = true`` ends runs early.
    data : str
        Name of the data set, for presets.
    folder : Path
        Where the code of a "module" is looked for first.

    Returns
    -------
    Model
        Ready to be cloned.

    Raises
    ------
    ValueError, TypeError
        If a parameter is unknown or out of range.
    """
    params = {key: _plain(value) for key, value in content.items()}
    if "classifier" not in params:
        raise ValueError(
            f"{path}.classifier is missing: it is one of {', '.join(map(repr, KINDS))}."
        )
    kind = check_option(params.pop("classifier"), f"{path}.classifier", KINDS)
    classifier = _start(kind, params, path, data, folder)
    stops = params.pop("stop_after_optimum", False)
    check_option(stops, f"{path}.stop_after_optimum", (True, False))
    if stops and kind == "perceptron":
        raise ValueError(
            f"{path}.stop_after_optimum is for networks: a perceptron ends at its "
            "max_norm. Leave it out."
        )
    known = sorted(set(classifier.get_params(deep=False)) - {"module", "random_state"})
    for key in params:
        if key not in known:
            options = ["classifier", *_KEYS[kind], *known]
            raise unknown_key(f"{path}.{key}", key, options)
    classifier.set_params(**params)
    if stops:
        from ..sweep import StopAfterOptimum

        classifier.set_params(callbacks=[StopAfterOptimum()])
    try:
        check_parameters(kind, classifier)
    except (ValueError, TypeError) as error:
        # The message starts with the parameter.
        raise type(error)(f"{path}.{error}") from error
    if kind == "perceptron":
        return Model(kind, classifier, "rms", ("rms",), _PERCEPTRON_METRICS)
    recorded = tuple(classifier.norms)
    return Model(kind, classifier, recorded[0], recorded)


def check_parameters(kind: str, classifier: Any) -> None:
    """Check all that can be known of a classifier before it sees data.

    Parameters
    ----------
    kind : str
        One of ``KINDS``.
    classifier : classifier
        Not fitted.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range; the message starts with its name.
    """
    from ..classifiers._devices import resolve_device

    classifier._check_parameters()
    resolve_device(classifier.device)
    if kind == "perceptron":
        return
    if not isinstance(classifier.verbose, bool):
        check_integer(classifier.verbose, "verbose", minimum=0)
    for name in _SWITCHES:
        check_option(getattr(classifier, name, False), name, (True, False))


def _start(
    kind: str, params: dict[str, Any], path: str, data: str, folder: Path
) -> Any:
    """Return the classifier that the keys in `_KEYS` describe; take them out."""
    import scalinglaw

    if kind in _IMAGE_CLASSES:
        chosen = getattr(scalinglaw, _IMAGE_CLASSES[kind])
        preset = check_option(
            params.pop("preset", False), f"{path}.preset", (True, False)
        )
        try:
            return chosen.from_preset(data) if preset else chosen()
        except ValueError as error:
            raise ValueError(
                f"{path}.preset has no settings for data: {error}"
            ) from None
    if "preset" in params:
        raise ValueError(
            f"{path}.preset is for {', '.join(map(repr, _IMAGE_CLASSES))}, got it with "
            f"classifier = {kind!r}: the paper has no settings for that. Leave it out."
        )
    if kind == "perceptron":
        return scalinglaw.LogisticPerceptron()
    if kind == "mlp":
        widths = params.pop("hidden_widths", (100,))
        if not isinstance(widths, tuple):
            raise TypeError(f"{path}.hidden_widths must be a list, got {widths!r}.")
        check_integers(widths, f"{path}.hidden_widths")
        module = functools.partial(multilayer_perceptron, hidden_widths=widths)
        return scalinglaw.TrajectoryClassifier(module)
    if "module" not in params:
        raise ValueError(f'{path}.module is missing: write module = "file:function".')
    name = check_text(params.pop("module"), f"{path}.module")
    return scalinglaw.TrajectoryClassifier(_import(name, f"{path}.module", folder))


def multilayer_perceptron(
    input_shape: tuple[int, ...], n_classes: int, hidden_widths: Sequence[int] = (100,)
) -> nn.Module:
    """Return fully connected layers on samples of any shape.

    Parameters
    ----------
    input_shape : tuple of int
        Of one sample; it is flattened.
    n_classes : int
        Outputs.
    hidden_widths : sequence of int, default=(100,)
        Rectified linear units of each hidden layer; none makes a linear softmax
        classifier.

    Returns
    -------
    nn.Module
        The network.
    """
    import math

    from torch import nn

    layers: list[nn.Module] = [nn.Flatten()]
    width = math.prod(input_shape)
    for hidden in hidden_widths:
        layers += [nn.Linear(width, hidden), nn.ReLU()]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, n_classes))


def _import(name: str, path: str, folder: Path) -> Any:
    """Return ``function`` of ``file:function``, looked for beside the study first."""
    file, _, function = name.partition(":")
    if not (file and function):
        raise ValueError(f'{path} must be "file:function", got {name!r}.')
    place = str(folder.resolve())
    # It stays there: worker processes find the code by the same path.
    if place not in sys.path:
        sys.path.insert(0, place)
    try:
        return getattr(importlib.import_module(file), function)
    except (Exception, SystemExit) as error:
        # The file is code, which may raise anything.
        raise ValueError(
            f"{path} = {name!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _plain(value: Any) -> Any:
    """Return lists as tuples, which parameters are."""
    return tuple(map(_plain, value)) if isinstance(value, list) else value
