"""What layers, sums and moves of entries do to paths."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .path_tensor import (
    PathTensor,
    aligned,
    make_paths,
    rule,
    squared,
    undefined,
    wrap,
)

__all__: list[str] = []

# A rectifier sees positive numbers only. Smooth activations with f(0) = 0 and
# normalisation without a fixed scale count as nothing, by convention.
_UNCHANGED = (
    "relu",
    "relu_",
    "relu6",
    "leaky_relu",
    "leaky_relu_",
    "elu",
    "elu_",
    "celu",
    "gelu",
    "silu",
    "mish",
    "hardswish",
    "hardtanh",
    "tanh",
    "tanh_",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "layer_norm",
    "group_norm",
    "instance_norm",
    "rms_norm",
    "detach",
    "to",
    "type",
    "float",
    "double",
    "half",
    "bfloat16",
    "cpu",
    "cuda",
)
# Entries that change places; facts about a tensor, and constants of its shape.
_MOVED = (
    "flatten",
    "unflatten",
    "reshape",
    "permute",
    "transpose",
    "movedim",
    "moveaxis",
    "swapaxes",
    "squeeze",
    "unsqueeze",
    "expand",
    "expand_as",
    "__getitem__",
    "chunk",
    "split",
    "unbind",
    "narrow",
    "select",
    "index_select",
    "flip",
    "roll",
    "T",
    "mT",
    "t",
    "pixel_shuffle",
    "pixel_unshuffle",
    "repeat",
    "tile",
    "contiguous",
    "clone",
)
_FACTS = (
    "shape",
    "size",
    "dim",
    "ndim",
    "ndimension",
    "numel",
    "nelement",
    "__len__",
    "__hash__",
    "__repr__",
    "device",
    "dtype",
    "layout",
    "is_cuda",
    "is_cpu",
    "is_mps",
    "is_nested",
    "is_sparse",
    "is_quantized",
    "is_complex",
    "is_floating_point",
    "is_contiguous",
    "stride",
    "requires_grad",
    "is_leaf",
    "grad_fn",
    "get_device",
    "element_size",
    "ones_like",
    "zeros_like",
    "full_like",
    "new_ones",
    "new_zeros",
    "new_full",
)


@rule(
    "linear",
    *(f"conv{n}d" for n in (1, 2, 3)),
    *(f"conv_transpose{n}d" for n in (1, 2, 3)),
)
def _linear(
    func: Any, x: Any, weight: Any, bias: Any = None, *args: Any, **kwargs: Any
) -> PathTensor:
    """Multiply by squared weights; paths do not start at biases."""
    if not isinstance(x, PathTensor):
        raise undefined("weights that depend on the input")
    square, log_scale = squared(weight, x)
    paths = func(x.paths, square, None, *args, **kwargs)
    return make_paths(paths, x.log_scale + log_scale, x.fold)


@rule("add", "__add__", "__radd__", "sub", "__sub__", "__rsub__")
def _add(func: Any, x: Any, other: Any, *, alpha: float = 1) -> PathTensor:
    """Take the paths through either summand."""
    (left, right), log_scale, fold = aligned([x, other])
    return make_paths(left + alpha**2 * right, log_scale, fold)


@rule("add_", "__iadd__", "sub_", "__isub__")
def _add_in_place(func: Any, x: Any, other: Any, *, alpha: float = 1) -> PathTensor:
    """Add in place: whoever else holds the tensor sees it."""
    if not isinstance(x, PathTensor):
        raise undefined("an addition in place to a constant in the forward pass")
    total = _add(func, x, other, alpha=alpha)
    # Its storage may be shared with a tensor of another factor: leave that alone.
    x.paths, x.log_scale = total.paths, total.log_scale
    return x


@rule("mul", "__mul__", "__rmul__", "multiply")
def _scale(func: Any, x: Any, other: Any) -> PathTensor:
    """Multiply by a constant."""
    if not isinstance(x, PathTensor):
        x, other = other, x
    square, log_scale = squared(other, x)
    return make_paths(x.paths * square, x.log_scale + log_scale, x.fold)


@rule("div", "true_divide", "__truediv__")
def _divide(func: Any, x: Any, other: Any) -> PathTensor:
    """Divide by a constant."""
    if not isinstance(x, PathTensor):
        raise undefined("a division by an activation in the forward pass")
    square, log_scale = squared(other, x)
    return make_paths(x.paths / square, x.log_scale - log_scale, x.fold)


@rule("cat", "concat", "concatenate", "stack")
def _join(func: Any, tensors: Any, dim: int = 0) -> PathTensor:
    """Put tensors side by side."""
    parts, log_scale, fold = aligned(list(tensors))
    return make_paths(func(parts, dim=dim), log_scale, fold)


@rule("mean")
def _mean(
    func: Any, x: PathTensor, dim: Any = None, keepdim: bool = False, dtype: Any = None
) -> PathTensor:
    """Give each of n entries the weight 1/n, squared."""
    total = _sum(func, x, dim, keepdim)
    n = x.paths.numel() / total.paths.numel()
    return wrap(total.paths, total.log_scale - 2 * math.log(n), x.fold)


@rule("sum")
def _sum(
    func: Any, x: PathTensor, dim: Any = None, keepdim: bool = False, dtype: Any = None
) -> PathTensor:
    """Take the paths through every entry."""
    dim = tuple(range(x.paths.ndim)) if dim is None else dim
    return make_paths(x.paths.sum(dim=dim, keepdim=keepdim), x.log_scale, x.fold)


@rule(*_UNCHANGED)
def _pass(func: Any, x: PathTensor, *args: Any, **kwargs: Any) -> PathTensor:
    """Leave paths as they are."""
    in_place = func.__name__.endswith("_") or kwargs.get("inplace", False)
    # A later addition in place must not reach a tensor that this one came from.
    return x if in_place else wrap(x.paths, x.log_scale, x.fold)


@rule("batch_norm")
def _batch_norm(
    func: Any,
    x: PathTensor,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> PathTensor:
    """Leave paths as they are, or multiply by the squared scale of evaluation."""
    if not x.fold or training or running_var is None:
        return wrap(x.paths, x.log_scale, x.fold)
    variance = running_var.to(x.paths) + eps
    numerator, log_scale = squared(torch.ones_like(variance), x)
    if weight is not None:
        numerator, log_scale = squared(weight, x)
    factor = (numerator / variance).view(-1, *[1] * (x.paths.ndim - 2))
    return make_paths(x.paths * factor, x.log_scale + log_scale, x.fold)


@rule(*_MOVED)
def _move(func: Any, x: PathTensor, *args: Any, **kwargs: Any) -> Any:
    """Move entries about."""
    moved = func(x.paths, *map(_plain, args), **kwargs)
    if isinstance(moved, Tensor):
        return wrap(moved, x.log_scale, x.fold)
    return type(moved)(wrap(part, x.log_scale, x.fold) for part in moved)


@rule("view")
def _view(func: Any, x: PathTensor, *shape: Any) -> PathTensor:
    """Take another shape; the strides of the paths need not be those of numbers."""
    return _move(Tensor.reshape, x, *shape)


@rule("view_as", "reshape_as")
def _view_as(func: Any, x: PathTensor, other: Any) -> PathTensor:
    """Take the shape of another tensor."""
    return _move(Tensor.reshape, x, other.shape)


@rule("pad")
def _pad(
    func: Any, x: PathTensor, pad: Any, mode: str = "constant", value: Any = None
) -> PathTensor:
    """Pad; a constant has no paths."""
    return _move(func, x, pad, mode=mode, value=0.0)


@rule(*_FACTS)
def _tell(func: Any, x: PathTensor, *args: Any, **kwargs: Any) -> Any:
    """Answer without regard to the entries."""
    return func(x.paths, *map(_plain, args), **kwargs)


def _plain(argument: Any) -> Any:
    return argument.paths if isinstance(argument, PathTensor) else argument


@rule("multi_head_attention_forward")
def _attention(
    func: Any,
    query: Any,
    key: Any,
    value: Any,
    embed_dim: int,
    n_heads: int,
    in_weight: Any,
    in_bias: Any,
    bias_k: Any,
    bias_v: Any,
    add_zero_attn: bool,
    dropout_p: float,
    out_weight: Any,
    out_bias: Any,
    *,
    key_padding_mask: Any = None,
    attn_mask: Any = None,
    use_separate_proj_weight: bool = False,
    v_proj_weight: Any = None,
    is_causal: bool = False,
    **ignored: Any,
) -> tuple[PathTensor, None]:
    """Project values, mix them alike, and project what comes out."""
    masked = key_padding_mask is not None or attn_mask is not None or is_causal
    if masked or bias_k is not None or add_zero_attn:
        _refuse_masks()
    weight = v_proj_weight if use_separate_proj_weight else in_weight[-embed_dim:]
    values = _linear(functional.linear, value, weight)
    mixed = _uniform(values, query.shape[0], 0)
    return _linear(functional.linear, mixed, out_weight), None


@rule("scaled_dot_product_attention")
def _dot_product_attention(
    func: Any,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **ignored: Any,
) -> PathTensor:
    """Mix values alike."""
    if attn_mask is not None or is_causal:
        _refuse_masks()
    return _uniform(value, query.shape[-2], -2)


def _refuse_masks() -> None:
    raise undefined("the masks or extra tokens in the attention")


def _uniform(values: Any, n_queries: int, axis: int) -> PathTensor:
    """Mix n tokens with weights 1/n: each query has the sum over n squared."""
    n = values.paths.shape[axis]
    total = values.paths.sum(dim=axis, keepdim=True) / n**2
    shape = list(total.shape)
    shape[axis] = n_queries
    return make_paths(total.expand(shape), values.log_scale, values.fold)
