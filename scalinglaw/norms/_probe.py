"""The matrix of a layer, found from what the layer does.

A layer with a forward pass of its own (low-rank adapters, quantised or standardised
weights, a learning rate built into the scale) multiplies by something else than
what it stores. Its outputs say by what: they are linear in the input but for a
bias, so that the columns are the answers to single entries of one.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ._modules import TRANSPOSED

__all__ = [
    "CONVOLUTIONS",
    "adapted_layer",
    "geometry",
    "is_leaf",
    "probe",
    "uses_stored_weight",
]

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
# Accepted difference from a linear map, relative to the outputs. Quantised inputs
# are rounded to 8 bits.
_LINEAR = 0.02
_TWINS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def geometry(part: Any) -> tuple[int, tuple[int, ...]] | None:
    """Return input channels and size of the kernel of what calls itself a layer.

    Returns
    -------
    (int, tuple of int) or None
        An empty kernel for a linear layer; None if it is no layer.
    """
    inputs, kernel = getattr(part, "in_channels", None), cast("tuple[int, ...]", ())
    if inputs is None or not hasattr(part, "kernel_size"):
        # The names of torch, and of the linear layer of transformers' GPT-2.
        inputs = getattr(part, "in_features", getattr(part, "nx", None))
    else:
        kernel = part.kernel_size
        if isinstance(kernel, int):
            kernel = (kernel,) * (getattr(getattr(part, "weight", None), "ndim", 2) - 2)
    return (inputs, tuple(kernel)) if isinstance(inputs, int) else None


def is_leaf(part: nn.Module) -> bool:
    """Whether a module has no parts with parameters."""
    return not any(True for child in part.children() for _ in child.parameters())


def uses_stored_weight(part: Any) -> bool:
    """Whether a layer of a class derived from torch's multiplies by its ``weight``."""
    x = _random_input(part)
    weight = getattr(part, "weight", None)
    if x is None or not isinstance(weight, Tensor) or not weight.is_floating_point():
        return False
    try:
        if isinstance(part, nn.Linear):
            expected = functional.linear(x, weight, part.bias)
        elif isinstance(part, CONVOLUTIONS) and part.padding_mode == "zeros":
            options: Any = (part.stride, part.padding, part.dilation, part.groups)
            expected = _TWINS[x.ndim - 2](x, weight, part.bias, *options)
        else:
            return False
        output = part(x)
    except Exception:
        return False  # a user's forward may raise anything
    return _agree(output, expected)


def probe(part: Any, like: Any = None) -> Tensor | None:
    """Return the matrix that a layer multiplies by, from its answers.

    Parameters
    ----------
    part : torch.nn.Module
        A linear layer or convolution, whatever its class.
    like : torch.nn.Module, optional
        Layer whose inputs `part` takes; `part` itself by default.

    Returns
    -------
    Tensor of shape (out, in) or (out, in * taps), or None
        None if the layer does not take such inputs alone, or is not linear. Taps of
        a convolution stand in any order, with columns of zeros among them.
    """
    like = part if like is None else like
    inputs, kernel = geometry(like) or (0, ())
    x = _random_input(like)
    if x is None:
        return None
    try:
        zero = part(torch.zeros_like(x[:1]))
        if not _agree(part(x[:1]) + part(x[1:]) - zero, part(x[:1] + x[1:])):
            return None
        if not kernel:
            return _columns(part(torch.eye(inputs).to(x)), zero)
        size = x.shape[2:]
        unit = torch.zeros(inputs, inputs, *size).to(x)
        # A stride passes over taps: an input at each of its phases meets them all.
        stride = (1,) * len(size) if isinstance(like, TRANSPOSED) else _stride(like)
        answers = []
        for phase in itertools.product(*map(range, stride)):
            place = tuple(n // 2 + shift for n, shift in zip(size, phase, strict=True))
            diagonal: Any = (torch.arange(inputs), torch.arange(inputs), *place)
            unit.zero_()
            unit[diagonal] = 1
            answers.append(_columns(part(unit), zero))
        return torch.cat(answers, dim=1)
    except Exception:
        return None  # a user's forward may raise anything


def _columns(outputs: Tensor, zero: Tensor) -> Tensor:
    """Return answers of shape (in, out, ...) as a matrix (out, in * ...)."""
    return (outputs - zero).movedim(1, 0).flatten(1)


def _stride(layer: Any) -> tuple[int, ...]:
    stride = getattr(layer, "stride", 1)
    n_axes = len((geometry(layer) or (0, ()))[1])
    return (stride,) * n_axes if isinstance(stride, int) else tuple(stride)


def _random_input(layer: Any) -> Tensor | None:
    """Return two random inputs of a layer, large enough that no border matters."""
    found = geometry(layer)
    if found is None:
        return None
    inputs, kernel = found
    dilation = getattr(layer, "dilation", 1)
    dilation = (dilation,) * len(kernel) if isinstance(dilation, int) else dilation
    size = []
    for taps, gap, stride in zip(kernel, dilation, _stride(layer), strict=True):
        reach = gap * (taps - 1) + 1
        size.append(2 * reach + 2 * stride)
    like = next((p for p in layer.parameters() if p.is_floating_point()), None)
    generator = torch.Generator().manual_seed(math.prod([inputs, *size]))
    x = torch.randn(2, inputs, *size, generator=generator)
    return x if like is None else x.to(like.device, like.dtype)


def _agree(output: Any, expected: Tensor) -> bool:
    if not isinstance(output, Tensor) or output.shape != expected.shape:
        return False
    tolerance = 8 * torch.finfo(output.dtype).eps ** 0.5
    error = torch.linalg.vector_norm((output - expected).double())
    size = torch.linalg.vector_norm(expected.double())
    return bool(error <= min(_LINEAR, tolerance) * size)


def adapted_layer(part: nn.Module) -> Tensor | None:
    r"""Return the matrix of a layer with a low-rank adapter beside it.

    The wrapper multiplies by :math:`W + sBA`, while W, A and B are matrices of
    their own to anyone who reads its parts. It is known by being linear as a whole,
    and by its distance from W, whose rank is at most that of the other matrices. Where
    the parts are named after LoRA, being linear is enough.

    Parameters
    ----------
    part : torch.nn.Module
        A module that holds a layer, and other matrices.

    Returns
    -------
    Tensor or None
        None if `part` is something else.
    """
    if type(part).__module__.startswith("torch.nn."):
        return None
    names = [*dict(part.named_children()), *dict(part.named_parameters(recurse=False))]
    named = any("lora" in name.lower() for name in names)
    for base in part.children():
        weight: Any = getattr(base, "weight", None)
        if geometry(base) is None or not is_leaf(base):
            continue
        own = {id(parameter) for parameter in base.parameters()}
        others = [p for p in part.parameters() if p.ndim > 1 and id(p) not in own]
        if not others or not (named or _may_adapt(weight, others)):
            continue
        matrix = probe(part, base)
        if matrix is None or named:
            return matrix
        if matrix.shape != weight.shape:
            continue
        rank = sum(min(p.shape) for p in others) // 2
        values = torch.linalg.svdvals((matrix - weight).double())
        if values[rank] <= 1e-4 * torch.linalg.vector_norm(weight.double()):
            return matrix
    return None


def _may_adapt(weight: Any, others: list[nn.Parameter]) -> bool:
    """Whether matrices are of lower rank than a weight, and fit its sides."""
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        return False
    return all(
        p.ndim == 2
        and min(p.shape) < min(weight.shape)
        and max(p.shape) in weight.shape
        for p in others
    )
