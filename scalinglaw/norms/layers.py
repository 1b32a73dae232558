"""Weights as matrices: which tensors of a module count, and in what shape."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from ..exceptions import UncountedParameterWarning
from .effective import (
    TRANSPOSED,
    effective_tensor,
    effective_tensors,
    evaluation_mode,
    own_modules,
    uncompiled,
)
from .folding import Fold, find_folds

__all__ = ["WeightLayer", "weight_layers"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
# An embedding looks rows up; a normalisation rescales channels.
_WITHOUT_WEIGHT = (nn.Embedding, nn.EmbeddingBag, nn.LayerNorm)
# Applied many times over, or to two arguments: no single linear map.
_NOT_A_MATRIX = (nn.RNNBase, nn.RNNCellBase, nn.Bilinear)


@dataclass(frozen=True)
class WeightLayer:
    """One weight matrix of a module, read anew each time it is asked for.

    Attributes
    ----------
    name : str
        Dotted path of the layer, e.g. ``"layer1.0.conv1"``; attention adds
        ``.query``, ``.key``, ``.value``, and its ``.out_proj`` is a layer.
    module : torch.nn.Module
        The part that holds the weight.
    parameter : str
        Name of the weight in `module`.
    view : callable
        Maps the weight to its blocks.
    fold : Fold, optional
        The batch normalisation whose scale the weight is read with.
    """

    name: str
    module: nn.Module
    parameter: str
    view: Callable[[Tensor], Tensor]
    fold: Fold | None = None

    @property
    def is_convolution(self) -> bool:
        """Whether the layer is a convolution, transposed or not."""
        return isinstance(self.module, _CONVOLUTIONS + TRANSPOSED)

    def weight(self) -> Tensor:
        """Return the weight in its own shape, without gradient."""
        if self.fold is None:
            weight = effective_tensor(self.module, self.parameter).detach()
        else:
            weight = self.fold.tensors()[0]
        if weight.is_complex():
            raise TypeError(
                f"weights must be real, got {weight.dtype} in {self.name!r}. "
                "The norms here are defined for real networks."
            )
        # Sparse layouts have no reductions over rows, MPS has no float64.
        if weight.layout != torch.strided:
            weight = weight.to_dense()
        return weight.cpu() if weight.device.type == "mps" else weight

    def blocks(self) -> Tensor:
        """Return the weight as ``(blocks, rows, columns)``.

        The matrix is block diagonal, with one block per group of a grouped
        convolution and a single one otherwise: so a grouped convolution has
        the norms of the dense one that computes the same. Rows are outputs.
        """
        return self.view(self.weight())


def _linear(weight: Tensor) -> Tensor:
    """View ``(out, in)`` as one block."""
    return weight[None]


def _rows(start: int, stop: int, weight: Tensor) -> Tensor:
    """View some rows of ``(out, in)`` as one block."""
    return weight[None, start:stop]


def _kernel(groups: int, weight: Tensor) -> Tensor:
    """View ``(out, in / groups, *kernel)`` as one block per group."""
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def _transposed_kernel(groups: int, weight: Tensor) -> Tensor:
    """View ``(in, out / groups, *kernel)`` as one block per group."""
    split = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    return split.transpose(1, 2).flatten(2)


def _views(part: nn.Module) -> list[tuple[str, str, Callable[[Tensor], Tensor]]]:
    """Return ``(suffix, parameter, view)`` for each weight matrix of `part`."""
    if isinstance(part, nn.Linear):
        return [("", "weight", _linear)]
    if isinstance(part, _CONVOLUTIONS):
        return [("", "weight", partial(_kernel, part.groups))]
    if isinstance(part, TRANSPOSED):
        return [("", "weight", partial(_transposed_kernel, part.groups))]
    if isinstance(part, nn.MultiheadAttention):
        names = ("query", "key", "value")
        if part.in_proj_weight is None:
            return [(f".{n}", f"{n[0]}_proj_weight", _linear) for n in names]
        # Packed: the three are stacked, but the function multiplies by each.
        dim = part.embed_dim
        return [
            (f".{n}", "in_proj_weight", partial(_rows, i * dim, (i + 1) * dim))
            for i, n in enumerate(names)
        ]
    return []


def _warn_about_uncounted(name: str, part: nn.Module) -> None:
    """Warn if `part` is of unknown kind and holds a matrix of its own."""
    if isinstance(part, _WITHOUT_WEIGHT):
        return
    for parameter in effective_tensors(part):
        shape = tuple(getattr(part, parameter).shape)
        if len(shape) == 2 and min(shape) > 1:
            warnings.warn(
                f"the parameter {f'{name}.{parameter}'.lstrip('.')} of shape {shape} "
                f"belongs to a {type(part).__name__}, which is no layer that is known "
                "here, and is not counted as a weight matrix. If it is one, hold it "
                "in torch.nn.Linear; if it is a table of positions, all is well.",
                UncountedParameterWarning,
                stacklevel=6,
            )


def _find_layers(module: nn.Module, folds: dict[int, Fold]) -> list[WeightLayer]:
    """Return the weight matrices that have entries, each once."""
    layers: list[WeightLayer] = []
    seen: set[tuple] = set()
    for name, part in own_modules(module):
        if isinstance(part, _NOT_A_MATRIX):
            raise ValueError(
                f"{name or 'module'!r} is a {type(part).__name__}, which is not one "
                "linear map: norms of products of layers are not defined for it. "
                "Ask for 'frobenius' or 'l1', which are."
            )
        views = _views(part)
        if not views:
            _warn_about_uncounted(name, part)
        for suffix, parameter, view in views:
            stored = dict(part.named_parameters(recurse=False)).get(parameter)
            if isinstance(stored, UninitializedParameter):
                raise ValueError(
                    f"{name!r} is a lazy layer without a shape yet: "
                    "run one batch through the module first."
                )
            fold = folds.get(id(part))
            # Tied weights are one parameter in two layers, and one matrix unless a
            # scale of its own is merged into one of them.
            holder = part if stored is None or fold else stored
            key = (id(holder), suffix)
            if key in seen:
                continue
            seen.add(key)
            label = (name + suffix).lstrip(".") or "weight"
            layers.append(WeightLayer(label, part, parameter, view, fold))
    return [layer for layer in layers if math.prod(layer.weight().shape)]


def weight_layers(
    module: nn.Module, fold_normalization: bool = False
) -> list[WeightLayer]:
    """Return the weight matrices of `module`, in order of registration.

    Linear layers, convolutions (1-d to 3-d, transposed or not) and attention
    (query, key, value and output projection) count; biases, normalisation
    layers and embeddings do not. A layer or a weight that appears twice
    counts once; with folding, a layer with a normalisation after it counts as one
    of its own.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    fold_normalization : bool, default=False
        Whether weights are read with the scale of the batch normalisation that
        follows, as :func:`fold_normalization` merges it.

    Returns
    -------
    list of WeightLayer
        At least one.

    Raises
    ------
    TypeError
        If `module` is no module.
    ValueError
        If it has no weight matrix, a lazy layer without shape, a layer that is
        not one linear map (recurrent, bilinear), or a batch normalisation that
        cannot be folded.
    """
    module = uncompiled(module)
    folds = find_folds(module) if fold_normalization else []
    with evaluation_mode(module):
        layers = _find_layers(module, {id(fold.layer): fold for fold in folds})
    if not layers:
        raise ValueError(
            "module has no weight matrix: it needs a Linear, a convolution or a "
            "MultiheadAttention among its parts, got "
            f"{type(module).__name__} with "
            f"{sorted({type(part).__name__ for part in module.modules()})}."
        )
    return layers
