"""What every norm asks of a module: evaluation mode, and tensors that can be read."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

__all__ = [
    "TRANSPOSED",
    "check_present",
    "evaluation_mode",
    "first_input",
    "is_packed_recurrence",
    "named_modules",
    "packed_weight",
    "readable",
    "told_of_depth",
    "told_of_forward",
    "told_of_shape",
    "uncompiled",
]

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def uncompiled(module: Any) -> nn.Module:
    """Return the module itself, or the one that ``torch.compile`` has wrapped.

    Raises
    ------
    TypeError
        If it is no module.
    """
    inner = getattr(module, "_orig_mod", module)
    if not isinstance(inner, nn.Module):
        raise TypeError(
            f"module must be a torch.nn.Module, got {type(module).__name__}. "
            "Of a fitted classifier, pass its module_."
        )
    return inner


def named_modules(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return ``(name, part)`` for every part, once, in order of registration.

    Names are those of the network before ``torch.compile`` has wrapped some parts.
    """
    return [
        (".".join(key for key in name.split(".") if key != "_orig_mod"), part)
        for name, part in module.named_modules()
    ]


def first_input(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return what a layer of torch is called with, by position or as ``input``."""
    return args[0] if args else kwargs["input"]


@contextmanager
def told_of_depth() -> Iterator[None]:
    """Say what it is that Python cannot walk through."""
    try:
        yield
    except RecursionError as error:
        raise ValueError(
            "module is nested too deeply to walk through its parts: each of them "
            "needs a few of Python's stack frames. Put layers side by side, or raise "
            f"sys.setrecursionlimit ({sys.getrecursionlimit()})."
        ) from error


@contextmanager
def told_of_shape(shape: tuple[int, ...]) -> Iterator[None]:
    """Say which shape a sample had that the forward pass refuses."""
    need = "input_shape must be the shape of one sample as the network takes it"
    with told_of_forward(f"{need}, such as (3, 32, 32)", f"on {shape}"):
        yield


@contextmanager
def told_of_forward(need: str, where: str) -> Iterator[None]:
    """Say what a forward pass needs that fails, whatever it has raised."""
    try:
        yield
    except (ValueError, TypeError, RecursionError, NotImplementedError):
        raise
    except Exception as error:
        # Layers raise a RuntimeError; torchvision asserts; others have bugs.
        raise ValueError(
            f"{need}: the forward pass fails {where} with "
            f"{type(error).__name__}: {error}"
        ) from error


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put `module` in evaluation mode, without gradients, and back as it was.

    The flags are set one by one: a module of the user's may override ``train``. What
    ``torch.compile`` has made is passed by: it takes no tensors of another class. A
    user's autocast, which would round, is off.
    """
    device = next((p.device.type for p in module.parameters()), "cpu")
    device = "cpu" if device == "meta" else device
    flags = [(part, part.training) for part in module.modules()]
    # Its module takes a second to import, and is there if anything was compiled.
    eager: Any = nullcontext()
    if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
        eager = torch.compiler.set_stance("force_eager")
    try:
        for part, _ in flags:
            part.training = False
        with torch.no_grad(), torch.autocast(device, enabled=False), eager:
            yield
    finally:
        for part, training in flags:
            part.training = training


def check_present(tensor: Tensor, name: str) -> None:
    """Raise if a tensor of weights has no shape yet, or not all of its entries here.

    Parameters
    ----------
    tensor : Tensor
        Weight of a network, as it is stored.
    name : str
        Dotted path, for the message.
    """
    if isinstance(tensor, UninitializedParameter):
        raise ValueError(
            f"{name!r} is a lazy parameter without a shape yet: "
            "run one batch through the module first."
        )
    if tensor.device.type == "meta":
        raise ValueError(
            f"{name!r} is on the device 'meta', where weights have a shape and no "
            "entries: load the module first, as with module.to_empty and "
            "load_state_dict."
        )
    if hasattr(tensor, "full_tensor"):
        raise ValueError(
            f"{name!r} is sharded over processes (DTensor), and holds a part of its "
            "entries: gather the module first, in all processes, as with "
            "parameter.full_tensor()."
        )


def readable(tensor: Tensor, name: str) -> Tensor:
    """Return a tensor of weights as a dense one of numbers, without gradient.

    Parameters
    ----------
    tensor : Tensor
        Weight of a network, as it is stored.
    name : str
        Dotted path, for the message.

    Returns
    -------
    Tensor
        The same memory wherever that is possible.

    Raises
    ------
    ValueError
        If its entries are not here.
    TypeError
        If it holds integers: the codes of quantised weights, not weights.
    """
    check_present(tensor, name)
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if not (tensor.is_floating_point() or tensor.is_complex()):
        raise TypeError(
            f"weights must be floating-point numbers, got {tensor.dtype} in {name!r}: "
            "codes of quantised weights are no weights. Dequantise the module first."
        )
    tensor = tensor.detach()
    # Sparse layouts have no reductions over rows, MPS has no float64.
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    return tensor.cpu() if tensor.device.type == "mps" else tensor


def packed_weight(part: Any) -> Tensor | None:
    """Return the weight of a layer of ``torch.ao.nn.quantized``, if it is one.

    It is no parameter but the answer of a method ``weight``.
    """
    if not type(part).__module__.startswith("torch.ao.nn."):
        return None
    method = getattr(part, "weight", None)
    return method() if inspect.ismethod(method) else None


def is_packed_recurrence(part: Any) -> bool:
    """Whether a part is a recurrent layer of ``torch.ao.nn.quantized``."""
    module = type(part).__module__
    return module.startswith("torch.ao.nn.quantized") and module.endswith(".rnn")
