"""Weights as matrices: which tensors of a module count, and in what shape.

One question decides everywhere: which matrix multiplies the activations?
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import getattr_static
from typing import Any

from torch import Tensor, nn

from .._validation import warn_user
from ..exceptions import UncountedParameterWarning
from ._folding import find_folds, ordinary
from ._modules import (
    TRANSPOSED,
    check_present,
    evaluation_mode,
    is_packed_recurrence,
    named_modules,
    packed_weight,
    readable,
    told_of_depth,
    uncompiled,
)
from ._probe import (
    CONVOLUTIONS,
    adapted_layer,
    geometry,
    is_leaf,
    probe,
    uses_stored_weight,
)

__all__ = ["WeightLayer", "find_layers", "weight_layers"]

# An embedding looks rows up; a normalisation rescales channels.
_WITHOUT_WEIGHT = (nn.Embedding, nn.EmbeddingBag, nn.LayerNorm)
# Applied many times over, or to two arguments: no single linear map.
_NOT_A_MATRIX = (nn.RNNBase, nn.RNNCellBase, nn.Bilinear)
# Names of one linear layer for query, key and value, one after another or by head,
# and of what its attention calls the number of heads.
_FUSED = ("qkv", "to_qkv", "qkv_proj", "Wqkv", "c_attn", "in_proj")
_FUSED_BY_HEAD = ("query_key_value",)
_N_HEADS = ("num_heads", "n_heads", "n_head", "heads", "num_attention_heads")

View = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class WeightLayer:
    """One weight matrix of a module, as it was when it was asked for.

    Attributes
    ----------
    name : str
        Dotted path of the layer, e.g. ``"layer1.0.conv1"``; attention adds
        ``.query``, ``.key``, ``.value``, and its ``.out_proj`` is a layer.
    module : torch.nn.Module
        The part that holds the weight: a copy where the weight is made of other
        tensors, or a normalisation is folded into it.
    weight : Tensor
        The weight in its own shape, without gradient.
    view : callable
        Maps the weight to its blocks.
    """

    name: str
    module: nn.Module
    weight: Tensor
    view: View

    @property
    def is_convolution(self) -> bool:
        """Whether the layer is a convolution, transposed or not."""
        return getattr(self.view, "func", None) in (_kernel, _transposed_kernel)

    def blocks(self) -> Tensor:
        """Return the weight as ``(blocks, rows, columns)``.

        The matrix is block diagonal, with one block per group of a grouped
        convolution and a single one otherwise: so a grouped convolution has
        the norms of the dense one that computes the same. Rows are outputs.
        """
        return self.view(self.weight)


def _linear(weight: Tensor) -> Tensor:
    """View ``(out, in)`` as one block."""
    return weight[None]


def _third(i: int, weight: Tensor) -> Tensor:
    """View one third of the rows of ``(out, in)`` as one block."""
    return weight.unflatten(0, (3, -1))[None, i]


def _third_by_head(n_heads: int, i: int, weight: Tensor) -> Tensor:
    """View one third of the rows of each head as one block."""
    return weight.unflatten(0, (n_heads, 3, -1))[:, i].flatten(0, 1)[None]


def _kernel(groups: int, weight: Tensor) -> Tensor:
    """View ``(out, in / groups, *kernel)`` as one block per group."""
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def _transposed_kernel(groups: int, weight: Tensor) -> Tensor:
    """View ``(in, out / groups, *kernel)`` as one block per group."""
    split = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    return split.transpose(1, 2).flatten(2)


def _attention_views(part: nn.MultiheadAttention) -> list[tuple[str, str, View]]:
    """Return ``(suffix, parameter, view)`` for query, key and value."""
    names = ("query", "key", "value")
    if part.in_proj_weight is None:
        return [(f".{name}", f"{name[0]}_proj_weight", _linear) for name in names]
    # Packed: the three are stacked, but the function multiplies by each.
    return [
        (f".{name}", "in_proj_weight", partial(_third, i))
        for i, name in enumerate(names)
    ]


def _fused_views(name: str, n_outputs: int, parent: Any) -> list[tuple[str, View]]:
    """Return views of one linear layer, or of the three that it stands for.

    Its module says so by the name of the layer and a number of heads.
    """
    own = name.rpartition(".")[2]
    heads = next((getattr(parent, key) for key in _N_HEADS if hasattr(parent, key)), 0)
    fits = isinstance(heads, int) and heads > 0 and n_outputs % (3 * heads) == 0
    views: list[View]
    if fits and own in _FUSED:
        views = [partial(_third, i) for i in range(3)]
    elif fits and own in _FUSED_BY_HEAD:
        views = [partial(_third_by_head, heads, i) for i in range(3)]
    else:
        return [("", _linear)]
    return list(zip((".query", ".key", ".value"), views, strict=True))


class _Finder:
    """Walk through an ordinary network that collects matrices, and names the rest."""

    def __init__(self, net: nn.Module, announce: bool) -> None:
        self._warn = announce
        self.layers: list[WeightLayer] = []
        self._seen: set[tuple[Any, ...]] = set()
        parts = named_modules(net)
        self._parts = dict(parts)
        done: set[int] = set()
        for name, part in parts:
            if id(part) in done:
                continue
            adapted = adapted_layer(part)
            if adapted is not None:
                self._add(name, part, adapted)
                done.update(id(inner) for inner in part.modules())
            else:
                self._visit(name, part)
        for name, part in parts if announce else ():
            self._announce_tied(name, part)

    def _visit(self, name: str, part: Any) -> None:
        kind = type(part)
        if isinstance(part, _NOT_A_MATRIX) or is_packed_recurrence(part):
            raise ValueError(
                f"{name or 'module'!r} is a {kind.__name__}, which is not one "
                "linear map: norms of products of layers are not defined for it. "
                "Ask for 'frobenius' or 'l1', which are."
            )
        stored = dict(part.named_parameters(recurse=False))
        for parameter, tensor in stored.items():
            check_present(tensor, f"{name}.{parameter}".lstrip("."))
        of_torch = kind.__module__.startswith("torch.nn.modules.")
        of_torch &= "forward" not in vars(part)
        counted: set[str] = set()
        packed = packed_weight(part)
        if isinstance(part, nn.MultiheadAttention):
            for suffix, parameter, view in _attention_views(part):
                self._add(name, part, stored[parameter], view, suffix)
                counted.add(parameter)
            if not of_torch:
                self._announce_class(name, part)
        elif packed is not None:
            self._add(name, part, packed, _view_of(part))
        elif isinstance(part, (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)):
            if of_torch and "weight" in stored:
                self._add_stored(name, part)
                counted = {"weight"}
            elif uses_stored_weight(part):
                self._add_stored(name, part)
                return  # whatever else it holds has no part in its outputs
            else:
                if not self._add_probed(name, part):
                    self._announce_class(name, part)
                return
        elif geometry(part) and not of_torch and is_leaf(part):
            if self._add_probed(name, part):
                return
            if not stored:
                self._announce_class(name, part)
        if not isinstance(part, _WITHOUT_WEIGHT):
            self._announce(
                name, part, {n: stored[n] for n in stored if n not in counted}
            )

    def _add_stored(self, name: str, part: Any) -> None:
        weight = part.weight
        n_axes = 2 if isinstance(part, nn.Linear) else 2 + len(part.kernel_size)
        if weight.ndim != n_axes:
            raise ValueError(
                f"the weight of {name or 'module'!r}, a {type(part).__name__}, must "
                f"have {n_axes} dimensions, got shape {tuple(weight.shape)}: it may be "
                "flattened or sharded. Gather it first."
            )
        if not isinstance(part, nn.Linear):
            self._add(name, part, weight, _view_of(part))
            return
        self._add_linear(name, part, weight)

    def _add_linear(self, name: str, part: nn.Module, weight: Tensor) -> None:
        parent = self._parts.get(name.rpartition(".")[0])
        for suffix, view in _fused_views(name, len(weight), parent):
            self._add(name, part, weight, view, suffix)

    def _add_probed(self, name: str, part: nn.Module) -> bool:
        matrix = probe(part)
        if matrix is not None:
            self._add_linear(name, part, matrix)
        return matrix is not None

    def _add(
        self,
        name: str,
        part: nn.Module,
        weight: Tensor,
        view: View = _linear,
        suffix: str = "",
    ) -> None:
        label = (name + suffix).lstrip(".") or "weight"
        # Tied weights are one parameter in two layers, and one matrix.
        if isinstance(weight, nn.Parameter):
            key = (id(weight), suffix)
            if key in self._seen:
                return
            self._seen.add(key)
        weight = readable(weight, label)
        if weight.is_complex():
            raise TypeError(
                f"weights must be real, got {weight.dtype} in {label!r}. "
                "The norms here are defined for real networks."
            )
        if math.prod(weight.shape):
            self.layers.append(WeightLayer(label, part, weight, view))

    def _announce(
        self, name: str, part: nn.Module, left: dict[str, nn.Parameter]
    ) -> None:
        """Warn of parameters of a part that may be matrices and are not counted."""
        if not self._warn:
            return
        for parameter, tensor in left.items():
            shape = tuple(tensor.shape)
            label = f"{name}.{parameter}".lstrip(".")
            # A batch axis of one says that it is added to samples.
            added = shape[:1] == (1,) and any(w in label for w in ("pos", "token"))
            if sum(n > 1 for n in shape) < 2 or (added and len(shape) > 2):
                continue
            warn_user(
                f"the parameter {label} of shape {shape} "
                f"belongs to a {type(part).__name__}, which is no layer that is known "
                "here, and is not counted as a weight matrix. If it is one, hold it "
                "in torch.nn.Linear; if it is a table of positions, all is well.",
                UncountedParameterWarning,
            )

    def _announce_tied(self, name: str, part: nn.Module) -> None:
        """Warn of an embedding whose table the forward pass may multiply by, too."""
        code = getattr(getattr_static(part, "forward", None), "__code__", None)
        used = set(getattr(code, "co_names", ()))
        if type(part).__module__.startswith("torch.nn."):
            return
        for key, child in part.named_children():
            if (
                not isinstance(child, nn.Embedding)
                or (id(child.weight), "") in self._seen
            ):
                continue
            if {key, "weight"} <= used:
                warn_user(
                    f"the forward pass of {name or 'module'!r} reads the weight of its "
                    f"embedding {key!r}: if it multiplies by it, as an output that is "
                    "tied to the embedding, this matrix is not counted. Hold it in a "
                    "torch.nn.Linear without bias whose weight is the embedding's.",
                    UncountedParameterWarning,
                )

    def _announce_class(self, name: str, part: nn.Module) -> None:
        if not self._warn:
            return
        warn_user(
            f"{name or 'module'!r} is a {type(part).__name__}, whose forward pass is "
            "its own and could not be read as one matrix: what it multiplies by "
            "may differ from what is counted of it.",
            UncountedParameterWarning,
        )


def _view_of(part: Any) -> View:
    """Return the view of a layer's weight, stored as torch stores it."""
    if isinstance(part, TRANSPOSED):
        return partial(_transposed_kernel, part.groups)
    if hasattr(part, "kernel_size"):
        return partial(_kernel, part.groups)
    return _linear


def find_layers(net: nn.Module, announce: bool = True) -> list[WeightLayer]:
    """Return the weight matrices that have entries, each once.

    Parameters
    ----------
    net : torch.nn.Module
        An ordinary network, see :func:`~._folding.ordinary`, in evaluation mode.
    announce : bool, default=True
        Whether to warn of what is not counted.

    Returns
    -------
    list of WeightLayer
        At least one.
    """
    layers = _Finder(net, announce).layers
    if not layers:
        raise ValueError(
            "module has no weight matrix: it needs a Linear, a convolution or a "
            "MultiheadAttention among its parts, got "
            f"{type(net).__name__} with "
            f"{sorted({type(part).__name__ for part in net.modules()})}."
        )
    return layers


def weight_layers(
    module: nn.Module, fold_normalization: bool = False
) -> list[WeightLayer]:
    """Return the weight matrices of `module`, in order of registration.

    Linear layers, convolutions (1-d to 3-d, transposed or not) and attention
    (query, key, value and output projection) count; biases, normalisation
    layers and embeddings do not. A layer or a weight that appears twice
    counts once; with folding, a layer with a normalisation after it counts as one
    of its own. A layer with a forward pass of its own counts as the matrix that its
    outputs show: low-rank adapters, quantised and standardised weights among them.

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
        If `module` is no module, or a weight holds integers or complex numbers.
    ValueError
        If it has no weight matrix, one without numbers (lazy, meta, sharded), a layer
        that is not one linear map (recurrent, bilinear), or a batch normalisation that
        cannot be folded.

    Warns
    -----
    UncountedParameterWarning
        For each tensor of two dimensions or more that may multiply activations and is
        not counted, by its name.
    """
    module = uncompiled(module)
    with told_of_depth():
        net = ordinary(module, find_folds(module) if fold_normalization else ())
        with evaluation_mode(net):
            return find_layers(net)
