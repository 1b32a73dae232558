r"""Path norm: the sum over all paths from an input to an output, in one pass.

.. math::

    \phi = \Bigl(\sum_{\text{paths}} \prod_{\text{edges}} w_e^2\Bigr)^{1/2}

(Neyshabur, Tomioka and Srebro 2015, arXiv:1503.00036). The network is run on a
`PathTensor` of ones in place of a batch: each operation of torch that it meets is
carried out with squared weights. A rectifier then has only positive inputs and does
nothing. A pooled maximum may be any of its window, so that all of them count (Gonon,
Brisebarre, Riccietti and Gribonval 2024, arXiv:2310.01225); an average is a weight
of one over their number. By convention, smooth activations with f(0) = 0 and
normalisation count as the identity, and attention as a plain mean over tokens.

Numbers leave the range of float64 in deep networks: the tensor carries the logarithm
of a common factor beside its entries, which are at most 1.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ._entrywise import scaled
from ._modules import told_of_shape

__all__ = ["log_path_norm"]

# Operations by their names in torch: those that do nothing to paths, those that move
# entries about, and those that tell something of a tensor or make a constant like it.
_UNCHANGED = """
    relu relu_ relu6 leaky_relu leaky_relu_ elu elu_ celu gelu silu mish hardswish
    hardtanh tanh tanh_ dropout dropout1d dropout2d dropout3d layer_norm group_norm
    instance_norm rms_norm batch_norm detach to type float double half bfloat16 cpu
    cuda contiguous clone
"""
_MOVED = """
    flatten unflatten reshape permute transpose movedim squeeze unsqueeze expand
    expand_as __getitem__ chunk split unbind narrow select index_select flip roll T mT
    t repeat pixel_shuffle pixel_unshuffle channel_shuffle view view_as
"""
_TOLD = """
    shape size dim ndim numel __len__ __hash__ __repr__ device dtype layout is_cuda
    is_cpu is_mps is_nested is_sparse is_quantized is_complex is_floating_point
    is_contiguous stride requires_grad is_leaf grad_fn get_device element_size
    ones_like zeros_like full_like new_ones new_zeros new_full
"""
# torch takes numpy's names of arguments beside its own.
_NUMPY = {"axis": "dim", "keepdims": "keepdim", "x": "input", "x2": "other"}
_RULES: dict[str, Callable[..., Any]] = {}


class PathTensor(Tensor):
    """Sums over the paths that end at each unit, in a forward pass.

    Attributes
    ----------
    paths : Tensor, float64
        Sums of products of squared weights, over the common factor.
    log_scale : Tensor, float64, shape ()
        Logarithm of the common factor.
    """

    paths: Tensor
    log_scale: Tensor

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Count paths through an operation of torch."""
        name = getattr(func, "__name__", str(func))
        if name == "__get__":  # of a property
            name = func.__self__.__name__
        kwargs = {_NUMPY.get(key, key): value for key, value in (kwargs or {}).items()}
        if not args and "input" in kwargs:
            args = (kwargs.pop("input"),)
        rule = _RULES.get(name)
        if rule is None:
            raise _undefined(f"the operation {name!r} in the forward pass")
        try:
            inspect.signature(rule).bind(func, *args, **kwargs)
        except TypeError as error:
            raise _undefined(f"the operation {name!r} ({error})") from error
        return rule(func, *args, **kwargs)


def log_path_norm(net: nn.Module, input_shape: tuple[int, ...]) -> float:
    r"""Log of the path norm of a network.

    Parameters
    ----------
    net : torch.nn.Module
        An ordinary network (see :func:`~._folding.ordinary`) in evaluation mode. Its
        forward pass is run once.
    input_shape : tuple of int
        Shape of a sample. Paths start at each of its entries.

    Returns
    -------
    float
        Minus infinity if no path is left, NaN if a weight is not finite.

    Raises
    ------
    ValueError
        If the forward pass has an operation that paths are not defined for, or does
        not take a sample of that shape.
    """
    device = next(net.parameters()).device
    device = torch.device("cpu") if device.type == "mps" else device
    ones = torch.ones(1, *input_shape, dtype=torch.float64, device=device)
    with told_of_shape(input_shape):
        end = net(_paths(ones, ones.new_zeros(())))
    if not isinstance(end, PathTensor):
        raise ValueError(
            f"the path norm needs a network that returns one tensor, got "
            f"{type(end).__name__}. Leave 'path' out of names."
        )
    return float((end.paths.sum().log() + end.log_scale) / 2)


def _undefined(what: str) -> ValueError:
    return ValueError(
        f"the path norm is not defined here for {what} of this network. It knows "
        "linear layers, convolutions, activations that are zero at zero, pooling, "
        "normalisation, sums and torch's attention. Leave 'path' out of names."
    )


def _paths(sums: Tensor, log_scale: Tensor) -> PathTensor:
    """Return a tensor of paths, its largest entry brought to 1."""
    top = sums.max()
    top = torch.where(top > 0, top, torch.ones_like(top))
    result = (sums / top).as_subclass(PathTensor)
    result.paths, result.log_scale = sums / top, log_scale + top.log()
    return result


def _squared(weight: Any, x: PathTensor) -> tuple[Tensor, Tensor]:
    """Return squared entries of a constant over a factor, and the log of the factor."""
    if isinstance(weight, PathTensor):
        raise _undefined("a product of two activations, as in a gate,")
    weight = torch.as_tensor(weight).detach().to(x.paths.device)
    quotient, log_scale = scaled(weight)
    return quotient.double().square(), 2 * log_scale


def _aligned(parts: list[Any]) -> tuple[list[Tensor], Tensor]:
    """Return tensors over a common factor, and that; constants have no paths."""
    sources = [part for part in parts if isinstance(part, PathTensor)]
    log_scale = torch.stack([part.log_scale for part in sources]).max()
    tensors = [
        part.paths * (part.log_scale - log_scale).exp()
        if isinstance(part, PathTensor)
        else torch.zeros_like(torch.as_tensor(part)).to(sources[0].paths)
        for part in parts
    ]
    return tensors, log_scale


def _rule(names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register what operations do to paths, by their names in torch."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        _RULES.update(dict.fromkeys(names.split(), function))
        return function

    return register


@_rule("linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d")
def _linear(
    func: Any, x: Any, weight: Any, bias: Any = None, *args: Any, **kw: Any
) -> Any:
    # Paths do not start at biases.
    if not isinstance(x, PathTensor):
        raise _undefined("weights that depend on the input")
    square, log_scale = _squared(weight, x)
    return _paths(func(x.paths, square, None, *args, **kw), x.log_scale + log_scale)


@_rule("add add_ __add__ __radd__ __iadd__ sub sub_ __sub__ __rsub__ __isub__")
def _add(func: Any, x: Any, other: Any, *, alpha: float = 1) -> PathTensor:
    (left, right), log_scale = _aligned([x, other])
    return _paths(left + alpha**2 * right, log_scale)


@_rule("mul __mul__ __rmul__ multiply")
def _scale(func: Any, x: Any, other: Any) -> PathTensor:
    if not isinstance(x, PathTensor):
        x, other = other, x
    square, log_scale = _squared(other, x)
    return _paths(x.paths * square, x.log_scale + log_scale)


@_rule("div true_divide __truediv__")
def _divide(func: Any, x: Any, other: Any) -> PathTensor:
    if not isinstance(x, PathTensor):
        raise _undefined("a division by an activation in the forward pass")
    square, log_scale = _squared(other, x)
    return _paths(x.paths / square, x.log_scale - log_scale)


@_rule("cat concat concatenate stack")
def _join(func: Any, tensors: Any, dim: int = 0) -> PathTensor:
    parts, log_scale = _aligned(list(tensors))
    return _paths(func(parts, dim=dim), log_scale)


@_rule("sum mean")
def _reduce(
    func: Any, x: PathTensor, dim: Any = None, keepdim: bool = False
) -> PathTensor:
    dim = tuple(range(x.paths.ndim)) if dim is None else dim
    total = x.paths.sum(dim=dim, keepdim=keepdim)
    n = x.paths.numel() / total.numel() if func.__name__ == "mean" else 1.0
    return _paths(total, x.log_scale - 2 * math.log(n))


@_rule(_UNCHANGED)
def _pass(func: Any, x: PathTensor, *args: Any, **kwargs: Any) -> PathTensor:
    return x


@_rule(_MOVED)
def _move(func: Any, x: PathTensor, *args: Any, **kwargs: Any) -> Any:
    if func.__name__.startswith("view"):
        # The strides of the paths need not be those of numbers.
        shape = args[0].shape if func.__name__ == "view_as" else args
        moved = x.paths.reshape(*shape)
    else:
        moved = func(x.paths, *map(_plain, args), **kwargs)
    if isinstance(moved, Tensor):
        return _paths(moved, x.log_scale)
    return type(moved)(_paths(part, x.log_scale) for part in moved)


@_rule("pad")
def _pad(
    func: Any, x: PathTensor, pad: Any, mode: str = "constant", value: Any = 0
) -> Any:
    # A constant has no paths.
    return _move(func, x, pad, mode=mode)


@_rule(_TOLD)
def _tell(func: Any, x: PathTensor, *args: Any, **kwargs: Any) -> Any:
    return func(x.paths, *map(_plain, args), **kwargs)


def _plain(argument: Any) -> Any:
    return argument.paths if isinstance(argument, PathTensor) else argument


@_rule("multi_head_attention_forward")
def _attention(
    func: Any, query: Any, key: Any, value: Any, width: int, *args: Any, **kwargs: Any
) -> tuple[PathTensor, None]:
    given = inspect.signature(func).bind(query, key, value, width, *args, **kwargs)
    options = given.arguments
    if options["bias_k"] is not None or options["add_zero_attn"]:
        raise _undefined("the extra tokens in the attention")
    weight = options.get("v_proj_weight")
    if not options.get("use_separate_proj_weight"):
        weight = options["in_proj_weight"][-width:]
    values = _linear(functional.linear, value, weight)
    masks = (options.get("key_padding_mask"), options.get("attn_mask"))
    mixed = _mixed(values, query.shape[0], 0, any(mask is not None for mask in masks))
    return _linear(functional.linear, mixed, options["out_proj_weight"]), None


@_rule("scaled_dot_product_attention")
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
    masked = attn_mask is not None or is_causal
    return _mixed(value, query.shape[-2], -2, masked)


def _mixed(values: Any, n_queries: int, axis: int, masked: bool) -> PathTensor:
    """Mix n tokens with weights 1/n: each query has the sum over n squared."""
    if masked:
        raise _undefined("the masks in the attention")
    n = values.paths.shape[axis]
    total = values.paths.sum(dim=axis, keepdim=True) / n**2
    shape = list(total.shape)
    shape[axis] = n_queries
    return _paths(total.expand(shape), values.log_scale)


@_rule(" ".join(f"max_pool{n}d avg_pool{n}d" for n in (1, 2, 3)))
def _pool(func: Any, x: PathTensor, *args: Any, **kwargs: Any) -> PathTensor:
    name, n_axes = func.__name__, int(func.__name__[-2])
    if name.startswith("max"):
        # Any entry of the window may be the largest: all of them count.
        names = "kernel_size stride padding dilation ceil_mode return_indices"
    else:
        names = (
            "kernel_size stride padding ceil_mode count_include_pad divisor_override"
        )
    given = dict(zip(names.split(), args, strict=False)) | kwargs
    dilation = given.get("dilation", 1)
    if given.get("return_indices") or set(_each(dilation, n_axes)) != {1}:
        raise _undefined("max-pooling with dilation or with indices")
    # One axis is taken as the last of two; a sum is an average with divisor 1.
    lift = n_axes == 1
    sums = x.paths[..., None, :] if lift else x.paths
    alone = {"kernel_size": 1, "stride": 1, "padding": 0}
    kernel = given["kernel_size"]
    given["stride"] = (
        kernel if given.get("stride") in (None, (), []) else given["stride"]
    )
    window = {
        key: (alone[key],) * lift + _each(given.get(key, alone[key]), n_axes)
        for key in alone
    } | {"ceil_mode": given.get("ceil_mode", False)}
    add = functional.avg_pool3d if n_axes == 3 else functional.avg_pool2d
    total = add(sums, **window, divisor_override=1)
    if name.startswith("avg"):
        # All entries of a window have one weight, which the average of ones shows.
        ones = torch.ones_like(sums)
        count = add(ones, **window, divisor_override=1)
        options = {"count_include_pad": given.get("count_include_pad", True)}
        if given.get("divisor_override"):
            options["divisor_override"] = given["divisor_override"]
        total = total * (add(ones, **window, **options) / count).square()
    return _paths(total[..., 0, :] if lift else total, x.log_scale)


def _each(value: Any, n_axes: int) -> tuple[int, ...]:
    """Return an option of a pooling for each axis."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    return values * n_axes if len(values) == 1 else values


@_rule(" ".join(f"adaptive_{k}_pool{n}d" for k in ("avg", "max") for n in (1, 2, 3)))
def _adaptive_pool(
    func: Any, x: PathTensor, output_size: Any, return_indices: bool = False
) -> PathTensor:
    kind, n_axes = func.__name__.split("_")[1], int(func.__name__[-2])
    mean = getattr(functional, f"adaptive_avg_pool{n_axes}d")(x.paths, output_size)
    for axis in range(-n_axes, 0):
        # Windows whose size may change along an axis.
        n, m = x.paths.shape[axis], mean.shape[axis]
        counts = [-(-(i + 1) * n // m) - i * n // m for i in range(m)]
        count = torch.tensor(counts).to(mean)
        # The mean over a window is its sum of paths over the count; a maximum has
        # weights of one, an average of one over the count.
        factor = 1 / count if kind == "avg" else count
        mean = mean * factor.view(-1, *[1] * (-axis - 1))
    return _paths(mean, x.log_scale)
