r"""An ordinary copy of a network: every weight a parameter that is used as it is.

A parameter may be stored as something else: a direction and a length, a tensor and
a mask, the argument of an orthogonal map, or a kernel whose scale a batch
normalisation changes. In evaluation that one multiplies channel c by the fixed number
:math:`\gamma_c/\sqrt{v_c+\epsilon}`. Merged into the layer before, it shows the
weights that the function depends on: if a convolution grows by a factor and the
running variance follows, nothing changes. Every norm is taken of such a copy.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import (
    parametrize,
    prune,
    remove_spectral_norm,
    remove_weight_norm,
)
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from ._modules import (
    TRANSPOSED,
    evaluation_mode,
    first_input,
    told_of_depth,
    uncompiled,
)

__all__ = ["find_folds", "fold_normalization", "ordinary"]

_NORMALIZATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
# They return what they are given, in evaluation.
_TRANSPARENT = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
# Endings of the names that older hooks store a weight under, and their removal.
_OLDER_HOOKS = {
    "_g": remove_weight_norm,
    "_orig": prune.remove,
    "_u": remove_spectral_norm,
}


def ordinary(module: nn.Module, folds: Iterable[tuple[str, str]] = ()) -> nn.Module:
    """Return a network whose parameters are what its forward pass multiplies by.

    Parameters
    ----------
    module : torch.nn.Module
        The network. It is not changed.
    folds : iterable of (str, str)
        Names of layers and of the batch normalisations to merge into them, as
        :func:`find_folds` returns them.

    Returns
    -------
    torch.nn.Module
        The network itself if there is nothing to do; else a copy in evaluation mode
        that shares the memory of all tensors that need no change.
    """
    folds = list(folds)
    if not folds and not any(map(_is_derived, module.modules())):
        return module
    return _ordinary_copy(module, folds)


def _ordinary_copy(module: nn.Module, folds: list[tuple[str, str]]) -> nn.Module:
    with evaluation_mode(module):
        plain = copy.deepcopy(module, _shared(module))
        for part in list(plain.modules()):
            _store_made_tensors(part)
        for layer_name, normalization_name in folds:
            _fold(plain, layer_name, normalization_name)
    return plain


def _is_derived(part: nn.Module) -> bool:
    """Whether a part may use a tensor that is made of others."""
    return parametrize.is_parametrized(part) or bool(_hooked(part))


def _hooked(part: nn.Module) -> list[tuple[str, Any]]:
    """Return names of tensors that an older hook may make, and how to end it."""
    stored = [name for name, _ in part.named_parameters(recurse=False)]
    stored += [name for name, _ in part.named_buffers(recurse=False)]
    return [
        (name.removesuffix(ending), remove)
        for ending, remove in _OLDER_HOOKS.items()
        for name in stored
        if name.endswith(ending) and hasattr(part, name.removesuffix(ending))
    ]


def _shared(module: nn.Module) -> dict[int, Any]:
    """Return what a copy uses in place of each tensor: the same memory."""
    memo: dict[int, Any] = {}
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            if nn.parameter.is_lazy(parameter):
                raise ValueError(
                    f"the {name} of a layer {type(part).__name__} has no shape yet: "
                    "run a batch through the network before its norms are taken."
                )
            # Removing a mask writes over a parameter: not over the original.
            plain = type(parameter) is nn.Parameter
            own = nn.Parameter(parameter.detach(), parameter.requires_grad)
            memo[id(parameter)] = own if plain else parameter
        tensors = [*part.buffers(recurse=False), *vars(part).values()]
        memo.update({id(t): t.detach() for t in tensors if isinstance(t, Tensor)})
    return memo


def _store_made_tensors(part: nn.Module) -> None:
    """Store what parametrizations and older hooks make as parameters."""
    for name, remove in _hooked(part):
        # A parameter of the user's own may be named like those of a hook.
        with suppress(ValueError):
            remove(part, name)
    if not parametrize.is_parametrized(part):
        return
    names = list(part.parametrizations)  # type: ignore[arg-type]
    tensors = {name: getattr(part, name).detach() for name in names}
    # torch.nn.utils.parametrize.remove_parametrizations would take the
    # weight from the original too: a copy shares its generated class.
    part.__class__ = parametrize.type_before_parametrizations(part)
    del part.parametrizations
    for name, tensor in tensors.items():
        part.register_parameter(name, nn.Parameter(tensor))


def _fold(net: nn.Module, layer_name: str, normalization_name: str) -> None:
    """Merge a batch normalisation into a layer, in place."""
    layer: Any = net.get_submodule(layer_name)
    part: Any = net.get_submodule(normalization_name)
    statistics = (part.running_mean, part.running_var, part.eps, part.weight, part.bias)
    identity = nn.Identity()
    if isinstance(layer, nn.Linear):
        fused = fuse_linear_bn_weights(layer.weight, layer.bias, *statistics)
        identity.register_forward_pre_hook(_check_vectors, with_kwargs=True)
    else:
        transposed = isinstance(layer, TRANSPOSED)
        fused = fuse_conv_bn_weights(
            layer.weight, layer.bias, *statistics, transpose=transposed
        )
    layer.weight, layer.bias = (nn.Parameter(tensor.detach()) for tensor in fused)
    _replace(net, part, identity)


def find_folds(module: nn.Module) -> list[tuple[str, str]]:
    """Return the names of layers and of the batch normalisations that follow them.

    The forward pass says what follows what, not the order of registration: it is
    traced by ``torch.fx``.

    Parameters
    ----------
    module : torch.nn.Module
        The network.

    Returns
    -------
    list of (str, str)
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
            folds.append((str(source.target), str(node.target)))
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
    with told_of_depth():
        # The first copy shares memory with the network, the second does not.
        return copy.deepcopy(_ordinary_copy(module, find_folds(module)))


def _replace(module: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put a part in the place of another, under each of its names."""
    for path, part in list(module.named_modules(remove_duplicate=False)):
        if part is old:
            parent, _, name = path.rpartition(".")
            setattr(module.get_submodule(parent), name, new)


def _check_vectors(
    part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
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
