r"""Batch normalisation merged into the layer before it, as in evaluation.

In evaluation, batch normalisation multiplies channel c by the fixed number
:math:`\gamma_c/\sqrt{v_c+\epsilon}`. Merged into the layer before, it shows the
weights that the function depends on: if a convolution grows by a factor and the
running variance follows, nothing changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from .effective import (
    TRANSPOSED,
    effective_tensor,
    effective_tensors,
    evaluation_mode,
    first_input,
    plain_copy,
    uncompiled,
)

__all__ = ["Fold", "find_folds", "fold_normalization"]

_NORMALIZATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
# They return what they are given, in evaluation.
_TRANSPARENT = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


@dataclass(frozen=True)
class Fold:
    """A layer and the batch normalisation that follows it.

    Attributes
    ----------
    layer_name, normalization_name : str
        Dotted paths in the network.
    layer, normalization : torch.nn.Module
        The two parts.
    """

    layer_name: str
    normalization_name: str
    layer: nn.Module
    normalization: nn.Module

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the layer that computes what both do."""
        bias = None
        if "bias" in effective_tensors(self.layer):
            bias = effective_tensor(self.layer, "bias")
        part: Any = self.normalization
        arguments = (
            effective_tensor(self.layer, "weight"),
            bias,
            part.running_mean,
            part.running_var,
            part.eps,
            part.weight,
            part.bias,
        )
        if isinstance(self.layer, nn.Linear):
            weight, bias = fuse_linear_bn_weights(*arguments)
        else:
            transposed = isinstance(self.layer, TRANSPOSED)
            weight, bias = fuse_conv_bn_weights(*arguments, transpose=transposed)
        return weight.detach(), bias.detach()


def find_folds(module: nn.Module) -> list[Fold]:
    """Return the pairs of a layer and the batch normalisation that follows it.

    The forward pass says what follows what, not the order of registration: it is
    traced by ``torch.fx``.

    Parameters
    ----------
    module : torch.nn.Module
        The network.

    Returns
    -------
    list of Fold
        Empty without batch normalisation.

    Raises
    ------
    ValueError
        If the network cannot be traced, or one of its batch normalisations does not
        follow a layer of its own.
    """
    if not any(_has_fixed_scale(part) for part in module.modules()):
        return []
    try:
        with evaluation_mode(module):
            graph = fx.symbolic_trace(module).graph
    except Exception as error:
        # A user's forward may raise anything when it meets a proxy.
        raise ValueError(
            "fold_normalization=True needs a network that torch.fx can trace, to see "
            f"which layer each normalisation follows, got {type(module).__name__}: "
            f"{error}. Use fold_normalization=False."
        ) from error
    calls = [node for node in graph.nodes if node.op == "call_module"]
    targets = [node.target for node in calls]
    folds, alone = [], []
    for node in calls:
        part = module.get_submodule(node.target)
        if not _has_fixed_scale(part):
            continue
        source = first_input(node.args, node.kwargs)
        layer = _called(module, source)
        while isinstance(layer, _TRANSPARENT) and len(source.users) == 1:
            source = first_input(source.args, source.kwargs)
            layer = _called(module, source)
        if (
            layer is None
            or not _can_fold(layer, part)
            or len(source.users) > 1
            or targets.count(source.target) > 1
            or targets.count(node.target) > 1
        ):
            alone.append(f"{node.target!r} ({type(part).__name__})")
        else:
            folds.append(Fold(source.target, node.target, layer, part))
    if alone:
        raise ValueError(
            f"fold_normalization=True cannot fold {', '.join(alone)}: each must "
            "follow, at once and once only, a convolution or linear layer whose output "
            "nothing else reads. Use fold_normalization=False."
        )
    return folds


def fold_normalization(module: nn.Module) -> nn.Module:
    """Copy of a network with each batch normalisation merged into the layer before.

    In evaluation mode it computes the same function. Only batch normalisation with
    running statistics has a fixed scale in evaluation; layer, group and instance
    normalisation divide by what they find in each sample, and stay.

    Behind a linear layer, samples are taken to be vectors, shape (n, features). Of
    sequences, shape (n, length, features), ``BatchNorm1d`` scales positions, which
    no weight of the layer can do: the copy raises when it is given some.

    Parameters
    ----------
    module : torch.nn.Module
        The network. It is not changed.

    Returns
    -------
    torch.nn.Module
        The copy, in evaluation mode. A layer that had no bias has one. What a
        parametrization or a hook (``weight_norm``, ``spectral_norm``, ``prune``)
        makes is stored as a parameter.

    Raises
    ------
    TypeError
        If `module` is no module.
    ValueError
        If the network cannot be traced by ``torch.fx``, or one of its batch
        normalisations does not follow a layer of its own.

    Examples
    --------
    >>> import torch
    >>> from scalinglaw.norms import fold_normalization
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    >>> folded, X = fold_normalization(net), torch.ones(2, 3)
    >>> [type(part).__name__ for part in folded]
    ['Linear', 'Identity']
    >>> torch.allclose(folded(X), net.eval()(X))
    True
    """
    module = uncompiled(module)
    folds = find_folds(module)
    folded = plain_copy(module)
    for fold in folds:
        with evaluation_mode(module):
            weight, bias = fold.tensors()
        layer: Any = folded.get_submodule(fold.layer_name)
        layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
        identity = nn.Identity()
        if isinstance(layer, nn.Linear):
            identity.register_forward_pre_hook(_check_vectors, with_kwargs=True)
        _replace(folded, folded.get_submodule(fold.normalization_name), identity)
    return folded


def _replace(module: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put a part in the place of another, under each of its names."""
    for path, part in list(module.named_modules(remove_duplicate=False)):
        if part is old:
            parent, _, name = path.rpartition(".")
            setattr(module.get_submodule(parent), name, new)


def _check_vectors(part: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
    """Raise if a normalisation behind a linear layer was one of positions."""
    # A hook and not a class: torch.fx sees a plain Identity and never looks inside.
    shape = tuple(first_input(args, kwargs).shape)
    if len(shape) > 2:
        raise ValueError(
            "fold_normalization takes the samples behind a linear layer as vectors of "
            f"shape (n, features), got {shape}: BatchNorm1d scales dimension 1 of "
            "these, the positions, and not the outputs of the layer. Use "
            "fold_normalization=False."
        )


def _has_fixed_scale(part: nn.Module) -> bool:
    return (
        isinstance(part, _NORMALIZATIONS)
        and isinstance(part.running_var, torch.Tensor)
        and part.track_running_stats
    )


def _called(module: nn.Module, node: Any) -> nn.Module | None:
    """Return the part that made a value of the graph, if one did."""
    if isinstance(node, fx.Node) and node.op == "call_module":
        return module.get_submodule(str(node.target))
    return None


def _can_fold(layer: nn.Module, normalization: Any) -> bool:
    """Whether the channels of the normalisation are the outputs of the layer."""
    if not isinstance(layer, _LAYERS):
        return False
    if isinstance(layer, TRANSPOSED) and layer.groups > 1:
        return False  # torch's fusion scales the wrong axis of those
    linear = isinstance(layer, nn.Linear)
    if linear and isinstance(normalization, (nn.BatchNorm2d, nn.BatchNorm3d)):
        return False  # it scales an axis that is none of the layer's outputs
    outputs = layer.out_features if linear else layer.out_channels
    return outputs == normalization.num_features
