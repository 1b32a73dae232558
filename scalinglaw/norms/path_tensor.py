"""Sums over paths in place of a batch, and the rules that carry them through.

Numbers leave the range of float64 in deep networks. A `PathTensor` carries the
logarithm of a common factor beside its entries, which are at most 1.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .entrywise import scaled

__all__ = [
    "PathTensor",
    "aligned",
    "make_paths",
    "rule",
    "squared",
    "undefined",
    "wrap",
]

RULES: dict[str, Callable[..., Any]] = {}
"""What each operation does to paths, by its name in torch; see :func:`rule`."""

# torch takes numpy's names of arguments beside its own.
_NUMPY = {
    "axis": "dim",
    "keepdims": "keepdim",
    "x": "input",
    "a": "input",
    "x1": "input",
    "x2": "other",
}


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
        kwargs = {_NUMPY.get(key, key): value for key, value in (kwargs or {}).items()}
        if not args and "input" in kwargs:
            args = (kwargs.pop("input"),)
        if name not in RULES:
            raise undefined(f"the operation {name!r} in the forward pass")
        try:
            inspect.signature(RULES[name]).bind(func, *args, **kwargs)
        except TypeError as error:
            raise undefined(f"the operation {name!r} ({error})") from error
        return RULES[name](func, *args, **kwargs)


def rule(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register what operations do to paths, by their names in torch.

    Parameters
    ----------
    *names : str
        Of functions, methods or properties.

    Returns
    -------
    callable
        A decorator of ``rule(func, *args, **kwargs)``, which is given the operation
        and its arguments.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def undefined(what: str) -> ValueError:
    """Return the error of a network that has no path norm."""
    return ValueError(
        f"the path norm is not defined here for {what} of this network. It knows "
        "linear layers, convolutions, activations that are zero at zero, pooling, "
        "normalisation, sums and torch's attention. Leave 'path' out of names."
    )


def make_paths(paths: Tensor, log_scale: Tensor, fold: bool) -> PathTensor:
    """Return a tensor of paths, its largest entry brought to 1."""
    top = paths.max()
    top = torch.where(top > 0, top, torch.ones_like(top))
    return wrap(paths / top, log_scale + top.log(), fold)


def wrap(paths: Tensor, log_scale: Tensor, fold: bool) -> PathTensor:
    """Return a tensor of paths as it is."""
    result = paths.as_subclass(PathTensor)
    result.paths, result.log_scale, result.fold = paths, log_scale, fold
    return result


def squared(weight: Any, like: PathTensor) -> tuple[Tensor, Tensor]:
    """Return squared entries of a constant over a factor, and the log of the factor."""
    if isinstance(weight, PathTensor):
        raise undefined("a product of two activations, as in a gate,")
    weight = torch.as_tensor(weight).detach().to(like.paths.device)
    quotient, log_scale = scaled(weight)
    return quotient.double().square(), 2 * log_scale


def aligned(parts: list[Any]) -> tuple[list[Tensor], Tensor, bool]:
    """Return tensors over a common factor, and that; constants have no paths."""
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
