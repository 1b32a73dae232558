"""The models that a study can name, and their parameters."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._validation import check_integer, check_option
from .tables import check_text, unknown_key

if TYPE_CHECKING:
    from torch import nn

__all__ = ["KINDS", "Model", "make_model", "multilayer_perceptron"]

_IMAGE_CLASSES = {
    "cnn": "CNNClassifier",
    "resnet": "ResNetClassifier",
    "vit": "ViTClassifier",
}
KINDS = (*_IMAGE_CLASSES, "mlp", "module", "perceptron")


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
    """

    kind: str
    classifier: Any
    norm: str
    recorded: tuple[str, ...]


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
    import scalinglaw

    params = {key: _plain(value) for key, value in content.items()}
    if "classifier" not in params:
        raise ValueError(
            f"{path}.classifier is missing: it is one of {', '.join(map(repr, KINDS))}."
        )
    kind = check_option(params.pop("classifier"), f"{path}.classifier", KINDS)
    if kind == "perceptron":
        classifier: Any = scalinglaw.LogisticPerceptron()
    elif kind in _IMAGE_CLASSES:
        chosen = getattr(scalinglaw, _IMAGE_CLASSES[kind])
        preset = check_option(
            params.pop("preset", False), f"{path}.preset", (True, False)
        )
        try:
            classifier = chosen.from_preset(data) if preset else chosen()
        except ValueError as error:
            raise ValueError(
                f"{path}.preset has no settings for data: {error}"
            ) from None
    elif kind == "mlp":
        widths = params.pop("hidden_widths", (100,))
        if not isinstance(widths, tuple):
            raise TypeError(f"{path}.hidden_widths must be a list, got {widths!r}.")
        for i, width in enumerate(widths):
            check_integer(width, f"{path}.hidden_widths[{i}]")
        module = functools.partial(multilayer_perceptron, hidden_widths=widths)
        classifier = scalinglaw.TrajectoryClassifier(module)
    else:
        if "module" not in params:
            raise ValueError(
                f'{path}.module is missing: write module = "file:function".'
            )
        name = check_text(params.pop("module"), f"{path}.module")
        classifier = scalinglaw.TrajectoryClassifier(
            _import(name, f"{path}.module", folder)
        )
    stops = params.pop("stop_after_optimum", False)
    check_option(stops, f"{path}.stop_after_optimum", (True, False))
    known = sorted(set(classifier.get_params(deep=False)) - {"module", "random_state"})
    for key in params:
        if key not in known:
            options = ["classifier", "preset", "stop_after_optimum", *known]
            raise unknown_key(f"{path}.{key}", key, options)
    classifier.set_params(**params)
    if stops:
        if kind == "perceptron":
            raise ValueError(
                f"{path}.stop_after_optimum is for networks: a perceptron ends at its "
                "max_norm. Leave it out."
            )
        from ..sweep import StopAfterOptimum

        classifier.set_params(callbacks=[StopAfterOptimum()])
    check = getattr(classifier, "_check_parameters", None)
    if check is not None:
        try:
            check()
        except (ValueError, TypeError) as error:
            # The message starts with the parameter.
            raise type(error)(f"{path}.{error}") from error
    recorded = tuple(getattr(classifier, "norms", ("rms",)))
    return Model(kind, classifier, recorded[0], recorded)


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
    if not function:
        raise ValueError(f'{path} must be "file:function", got {name!r}.')
    place = str(folder.resolve())
    # It stays there: worker processes find the code by the same path.
    if place not in sys.path:
        sys.path.insert(0, place)
    try:
        return getattr(importlib.import_module(file), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{path} = {name!r} cannot be imported: {error}") from error


def _plain(value: Any) -> Any:
    """Return lists as tuples, which parameters are."""
    return tuple(map(_plain, value)) if isinstance(value, list) else value
