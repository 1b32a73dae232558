r"""Path norm: the sum over all paths from an input to an output, in one pass.

.. math::

    \phi = \Bigl(\sum_{\text{paths}} \prod_{\text{edges}} w_e^2\Bigr)^{1/2}

(Neyshabur, Tomioka and Srebro 2015, arXiv:1503.00036). The network is run on ones
with its weights squared; a rectifier then has only positive inputs and does
nothing. A pooled maximum may be any of its window, so that all of them count
(Gonon, Brisebarre, Riccietti and Gribonval 2024, arXiv:2310.01225); an average
is a weight of one over their number.

Numbers leave the range of float64 in deep networks. A `PathTensor` carries the
logarithm of a common factor beside its entries, which are at most 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .effective import evaluation_mode
from .entrywise import scaled

__all__ = ["log_path_norm"]


class PathTensor(Tensor):
    """Sums over the paths that end at each unit, in a forward pass.

    It goes through the network in place of a batch of one. Operations that have no
    meaning for paths raise.

    Attributes
    ----------
    paths : Tensor, float64
        Sums of products of squared weights, over the common factor.
    log_scale : Tensor, float64, shape ()
        Logarithm of the common factor.
    fold : bool
        Whether batch normalisation counts with its scale in evaluation.
    """

    paths: Tensor
    log_scale: Tensor
    fold: bool

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Count paths through an operation of torch."""
        name = getattr(func, "__name__", str(func))
        if name == "__get__":  # of a property
            name = func.__self__.__name__
        kwargs = kwargs or {}
        if name in _ABOUT:
            return func(*_plain(args), **_plain(kwargs))
        if name in _UNCHANGED and isinstance(args[0], PathTensor):
            x = args[0]
            in_place = name.endswith("_") or kwargs.get("inplace", False)
            return x if in_place else _with(x.paths, x.log_scale, x.fold)
        if name in _VIEWS and isinstance(args[0], PathTensor):
            return _view(func, args, kwargs)
        rule = _RULES.get(name)
        if rule is None:
            raise ValueError(
                f"the path norm is not defined for the operation {name!r} in the "
                "forward pass of this network: it knows linear layers, convolutions, "
                "rectifiers and other activations that are zero at zero, pooling, "
                "normalisation, sums and torch's attention. Leave 'path' out of names."
            )
        return rule(func, *args, **kwargs)


def _make(paths: Tensor, log_scale: Tensor, fold: bool) -> PathTensor:
    """Return a tensor of paths, its largest entry brought to 1."""
    top = paths.max()
    top = torch.where(top > 0, top, torch.ones_like(top))
    return _with(paths / top, log_scale + top.log(), fold)


def _with(paths: Tensor, log_scale: Tensor, fold: bool) -> PathTensor:
    result = paths.as_subclass(PathTensor)
    result.paths, result.log_scale, result.fold = paths, log_scale, fold
    return result


def _plain(tree: Any) -> Any:
    """Return arguments with plain tensors in place of those of paths."""
    if isinstance(tree, PathTensor):
        return tree.paths
    if isinstance(tree, tuple | list):
        return type(tree)(map(_plain, tree))
    if isinstance(tree, dict):
        return {key: _plain(value) for key, value in tree.items()}
    return tree


def _squared(weight: Tensor, like: PathTensor) -> tuple[Tensor, Tensor]:
    """Return squared entries, and the logarithm of what they were divided by."""
    if isinstance(weight, PathTensor):
        raise ValueError(
            "the path norm is not defined for a product of two activations, as in a "
            "gate or an attention of one's own. Leave 'path' out of names."
        )
    weight = torch.as_tensor(weight).detach().to(like.paths.device)
    quotient, log_scale = scaled(weight)
    return quotient.double().square(), 2 * log_scale


def _view(func: Any, args: Any, kwargs: Any) -> Any:
    """Move entries about."""
    source: PathTensor = args[0]
    moved = func(*_plain(args), **_plain(kwargs))
    if isinstance(moved, Tensor):
        return _with(moved, source.log_scale, source.fold)
    return type(moved)(_with(part, source.log_scale, source.fold) for part in moved)


def _linear(func: Any, x: Any, weight: Any, bias: Any = None, *a: Any, **k: Any) -> Any:
    """Linear layers and convolutions; paths do not start at biases."""
    if not isinstance(x, PathTensor):
        return _squared(weight, x)  # raises: the weight is an activation
    square, log_scale = _squared(weight, x)
    paths = func(x.paths, square, None, *a, **k)
    return _make(paths, x.log_scale + log_scale, x.fold)


def _aligned(parts: list[Any]) -> tuple[list[Tensor], Tensor, bool]:
    """Return summands over a common factor; constants have no paths."""
    sources = [part for part in parts if isinstance(part, PathTensor)]
    log_scale = torch.stack([part.log_scale for part in sources]).max()
    like = sources[0].paths
    tensors = [
        part.paths * (part.log_scale - log_scale).exp()
        if isinstance(part, PathTensor)
        else torch.zeros_like(torch.as_tensor(part), dtype=like.dtype).to(like.device)
        for part in parts
    ]
    return tensors, log_scale, sources[0].fold


def _add(func: Any, x: Any, y: Any, *, alpha: float = 1) -> PathTensor:
    """Paths through either summand."""
    (left, right), log_scale, fold = _aligned([x, y])
    return _make(left + alpha**2 * right, log_scale, fold)


def _add_in_place(func: Any, x: Any, y: Any, *, alpha: float = 1) -> Any:
    """Like a sum; whoever else holds the tensor sees it."""
    if not isinstance(x, PathTensor):
        raise ValueError(
            "the path norm cannot follow an addition in place to a constant. Write "
            "x + y in the forward pass, or leave 'path' out of names."
        )
    total = _add(func, x, y, alpha=alpha)
    # Its storage may be shared with a tensor of another factor: leave that alone.
    x.paths, x.log_scale = total.paths, total.log_scale
    return x


def _scale(func: Any, x: Any, y: Any) -> PathTensor:
    """Multiply by a constant."""
    if not isinstance(x, PathTensor):
        x, y = y, x
    square, log_scale = _squared(y, x)
    return _make(x.paths * square, x.log_scale + log_scale, x.fold)


def _divide(func: Any, x: Any, y: Any) -> PathTensor:
    """Divide by a constant."""
    if not isinstance(x, PathTensor):
        return _squared(y, x)  # type: ignore[return-value]  # raises
    square, log_scale = _squared(y, x)
    return _make(x.paths / square, x.log_scale - log_scale, x.fold)


def _join(func: Any, tensors: Any, dim: int = 0) -> PathTensor:
    """Concatenate or stack."""
    parts, log_scale, fold = _aligned(list(tensors))
    return _make(func(parts, dim=dim), log_scale, fold)


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
    """Batch normalisation: nothing, or its scale in evaluation."""
    if not x.fold or training or running_var is None:
        return x
    variance = running_var.to(x.paths) + eps
    numerator, log_scale = torch.ones_like(variance), torch.zeros_like(x.log_scale)
    if weight is not None:
        numerator, log_scale = _squared(weight, x)
    shape = (-1, *[1] * (x.paths.ndim - 2))
    factor = (numerator / variance).view(shape)
    return _make(x.paths * factor, x.log_scale + log_scale, x.fold)


def _spatial(x: PathTensor, n_axes: int) -> Tensor:
    """Return entries with two axes of space at least."""
    return x.paths[..., None, :] if n_axes == 1 else x.paths


def _pooled(x: PathTensor, paths: Tensor, n_axes: int) -> PathTensor:
    return _make(paths[..., 0, :] if n_axes == 1 else paths, x.log_scale, x.fold)


def _window_sum(x: Tensor, options: dict[str, Any]) -> Tensor:
    pool = (
        functional.avg_pool2d
        if len(options["kernel_size"]) == 2
        else (functional.avg_pool3d)
    )
    return pool(x, **options, divisor_override=1)


def _window(
    n_axes: int, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool
) -> dict[str, Any]:
    """Return the options of a pooling; one axis is taken as the last of two."""

    def each(value: Any, alone: int) -> tuple[int, ...]:
        values = tuple(value) if isinstance(value, tuple | list) else (value,)
        values = values * (n_axes if len(values) == 1 else 1)
        return (alone, *values) if n_axes == 1 else values

    return {
        "kernel_size": each(kernel_size, 1),
        "stride": each(kernel_size if stride in (None, (), []) else stride, 1),
        "padding": each(padding, 0),
        "ceil_mode": ceil_mode,
    }


def _max_pool(n_axes: int) -> Callable[..., PathTensor]:
    def rule(
        func: Any,
        x: PathTensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> PathTensor:
        """Any entry of the window may be the largest: all of them count."""
        dilations = dilation if isinstance(dilation, tuple | list) else (dilation,)
        if return_indices or any(gap != 1 for gap in dilations):
            raise ValueError(
                "the path norm is not defined here for max-pooling with dilation or "
                "with indices. Leave 'path' out of names."
            )
        options = _window(n_axes, kernel_size, stride, padding, ceil_mode)
        return _pooled(x, _window_sum(_spatial(x, n_axes), options), n_axes)

    return rule


def _avg_pool(n_axes: int) -> Callable[..., PathTensor]:
    def rule(
        func: Any,
        x: PathTensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> PathTensor:
        """Each entry of the window has one weight, which the average of ones shows."""
        options = _window(n_axes, kernel_size, stride, padding, ceil_mode)
        space = _spatial(x, n_axes)
        total = _window_sum(space, options)
        count = _window_sum(torch.ones_like(space), options)
        extra = {"count_include_pad": count_include_pad}
        if n_axes > 1:
            extra["divisor_override"] = divisor_override  # type: ignore[assignment]
        mean = func(torch.ones_like(x.paths), kernel_size, stride, padding, ceil_mode,
                    **extra)  # fmt: skip
        mean = mean[..., None, :] if n_axes == 1 else mean
        return _pooled(x, total * (mean / count).square(), n_axes)

    return rule


def _adaptive_pool(n_axes: int, average: bool) -> Callable[..., PathTensor]:
    def rule(
        func: Any, x: PathTensor, output_size: Any, return_indices: bool = False
    ) -> PathTensor:
        """Windows whose size may change along an axis."""
        pool = getattr(functional, f"adaptive_avg_pool{n_axes}d")
        mean = pool(x.paths, output_size)
        for axis in range(-n_axes, 0):
            n, m = x.paths.shape[axis], mean.shape[axis]
            counts = [-(-(i + 1) * n // m) - i * n // m for i in range(m)]
            count = torch.tensor(counts).to(mean)
            # The mean over the window is its sum of paths over the count; a
            # maximum has weights of one, an average of one over the count.
            factor = 1 / count if average else count
            mean = mean * factor.view(-1, *[1] * (-axis - 1))
        return _make(mean, x.log_scale, x.fold)

    return rule


def _mean(
    func: Any, x: PathTensor, dim: Any = None, keepdim: bool = False, **ignored: Any
) -> PathTensor:
    total = _sum(func, x, dim, keepdim)
    n = x.paths.numel() / total.paths.numel()
    return _with(total.paths, total.log_scale - 2 * math.log(n), x.fold)


def _sum(
    func: Any, x: PathTensor, dim: Any = None, keepdim: bool = False, **ignored: Any
) -> PathTensor:
    dim = tuple(range(x.paths.ndim)) if dim is None else dim
    return _make(x.paths.sum(dim=dim, keepdim=keepdim), x.log_scale, x.fold)


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
    """Attention that looks at every token alike."""
    masked = key_padding_mask is not None or attn_mask is not None or is_causal
    if masked or bias_k is not None or add_zero_attn:
        _refuse_masks()
    weight = v_proj_weight if use_separate_proj_weight else in_weight[-embed_dim:]
    values = _linear(functional.linear, value, weight)
    mixed = _uniform(values, query.shape[0], 0)
    return _linear(functional.linear, mixed, out_weight), None


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
    if attn_mask is not None or is_causal:
        _refuse_masks()
    return _uniform(value, query.shape[-2], -2)


def _refuse_masks() -> None:
    raise ValueError(
        "the path norm is defined here for attention without masks or extra tokens "
        "only. Leave 'path' out of names."
    )


def _uniform(values: Any, n_queries: int, axis: int) -> PathTensor:
    """Mix n tokens with weights 1/n: each query has the sum over n squared."""
    n = values.paths.shape[axis]
    total = values.paths.sum(dim=axis, keepdim=True) / n**2
    shape = list(total.shape)
    shape[axis] = n_queries
    return _make(total.expand(shape), values.log_scale, values.fold)


_ABOUT = frozenset(
    {
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
        "is_same_size",
    }
)
# Rectifiers see positive numbers only. Smooth activations with f(0) = 0, dropout in
# evaluation and normalisation count as nothing, by convention.
_UNCHANGED = frozenset(
    {
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
        "contiguous",
        "clone",
        "detach",
        "to",
        "type",
        "float",
        "double",
        "half",
        "bfloat16",
        "cpu",
        "cuda",
    }
)
_VIEWS = frozenset(
    {
        "flatten",
        "unflatten",
        "reshape",
        "view",
        "view_as",
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
    }
)


def _pad(
    func: Any, x: PathTensor, pad: Any, mode: str = "constant", value: Any = None
) -> Any:
    """Pad; a constant has no paths."""
    return _view(func, (x, pad), {"mode": mode, "value": 0.0})


_RULES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(
        [
            "linear",
            *(f"conv{n}d" for n in (1, 2, 3)),
            *(f"conv_transpose{n}d" for n in (1, 2, 3)),
        ],
        _linear,
    ),
    **dict.fromkeys(["add", "__add__", "__radd__", "sub", "__sub__", "__rsub__"], _add),
    **dict.fromkeys(["add_", "__iadd__", "sub_", "__isub__"], _add_in_place),
    **dict.fromkeys(["mul", "__mul__", "__rmul__", "multiply"], _scale),
    **dict.fromkeys(["div", "true_divide", "__truediv__"], _divide),
    **dict.fromkeys(["cat", "concat", "concatenate", "stack"], _join),
    "mean": _mean,
    "sum": _sum,
    "pad": _pad,
    "batch_norm": _batch_norm,
    "multi_head_attention_forward": _attention,
    "scaled_dot_product_attention": _dot_product_attention,
    **{f"max_pool{n}d": _max_pool(n) for n in (1, 2, 3)},
    **{f"avg_pool{n}d": _avg_pool(n) for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": _adaptive_pool(n, True) for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d": _adaptive_pool(n, False) for n in (1, 2, 3)},
}


def log_path_norm(
    module: nn.Module, input_shape: tuple[int, ...], fold_normalization: bool = False
) -> float:
    r"""Log of the path norm of a network.

    Parameters
    ----------
    module : torch.nn.Module
        The network. Its forward pass is run once, in evaluation mode.
    input_shape : tuple of int
        Shape of a sample. Paths start at each of its entries.
    fold_normalization : bool, default=False
        Whether batch normalisation counts with its scale in evaluation.

    Returns
    -------
    float
        Minus infinity if no path is left, NaN if a weight is not finite.

    Raises
    ------
    ValueError
        If the forward pass has an operation that paths are not defined for.
    """
    device = next(module.parameters()).device
    device = torch.device("cpu") if device.type == "mps" else device
    ones = torch.ones(1, *input_shape, dtype=torch.float64, device=device)
    start = _with(ones, torch.zeros((), dtype=torch.float64).to(device),
                  fold_normalization)  # fmt: skip
    with evaluation_mode(module):
        end = module(start)
    if not isinstance(end, PathTensor):
        raise ValueError(
            f"the path norm needs a network that returns one tensor, got "
            f"{type(end).__name__}. Leave 'path' out of names."
        )
    return float((end.paths.sum().log() + end.log_scale) / 2)
