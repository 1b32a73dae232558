"""The tensors that a module uses, behind whatever parametrization it has.

A parameter may be stored as something else: a direction and a length, a
tensor and a mask, the argument of an orthogonal map. Norms are taken of what
the forward pass multiplies by.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import (
    parametrize,
    prune,
    remove_spectral_norm,
    remove_weight_norm,
)

__all__ = [
    "TRANSPOSED",
    "effective_tensor",
    "effective_tensors",
    "evaluation_mode",
    "first_input",
    "has_derived_tensors",
    "own_modules",
    "plain_copy",
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


def first_input(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return what a layer of torch is called with, by position or as ``input``."""
    return args[0] if args else kwargs["input"]


@contextmanager
def told_of_shape(shape: tuple[int, ...]) -> Iterator[None]:
    """Say which shape a sample had that the forward pass refuses."""
    try:
        yield
    except (RuntimeError, AssertionError, IndexError) as error:
        # Layers raise the first; torchvision asserts; the last is a missing axis.
        raise ValueError(
            "input_shape must be the shape of one sample as the network takes it, "
            f"such as (3, 32, 32): the forward pass fails on {shape} with "
            f"{type(error).__name__}: {error}"
        ) from error


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put `module` in evaluation mode, without gradients, and back as it was.

    Reading the weight of a layer under spectral normalisation advances a power
    iteration in training mode. The flags are set one by one: a module of the
    user's may override ``train``. A forward pass renews what older hooks make, which
    are put back as well.
    """
    flags = [(part, part.training) for part in module.modules()]
    made = [
        (part, name, vars(part)[name])
        for part, _ in flags
        for name in effective_tensors(part)
        if name in vars(part)
    ]
    try:
        for part, _ in flags:
            part.training = False
        with torch.no_grad():
            yield
    finally:
        for part, training in flags:
            part.training = training
        for part, name, tensor in made:
            vars(part)[name] = tensor


def plain_copy(module: nn.Module) -> nn.Module:
    """Return a copy that holds what its parametrizations and older hooks make.

    Returns
    -------
    torch.nn.Module
        In evaluation mode.
    """
    with evaluation_mode(module):
        # torch copies no tensor that has a history, such as what a hook has made.
        memo: dict[int, Any] = {
            id(value): value.detach().clone()
            for part in module.modules()
            for value in vars(part).values()
            if isinstance(value, Tensor) and not value.is_leaf
        }
        plain = copy.deepcopy(module, memo)
        for part in list(plain.modules()):
            _remove_older_hooks(part)
            if not parametrize.is_parametrized(part):
                continue
            names = list(part.parametrizations)  # type: ignore[arg-type]
            tensors = {name: getattr(part, name).detach() for name in names}
            # torch.nn.utils.parametrize.remove_parametrizations would take the
            # weight from the original too: a copy shares its generated class.
            part.__class__ = parametrize.type_before_parametrizations(part)
            del part.parametrizations
            for name, tensor in tensors.items():
                part.register_parameter(name, nn.Parameter(tensor))
    return plain


def _remove_older_hooks(part: nn.Module) -> None:
    """Store what weight_norm, prune and spectral_norm make as a parameter."""
    stored = dict(part.named_parameters(recurse=False))
    buffers = dict(part.named_buffers(recurse=False))
    for name in effective_tensors(part):
        # A parameter of the user's own may be named like those of a hook.
        with suppress(ValueError):
            if f"{name}_g" in stored and f"{name}_v" in stored:
                remove_weight_norm(part, name)
            elif f"{name}_mask" in buffers:
                prune.remove(part, name)
            elif f"{name}_u" in buffers:
                remove_spectral_norm(part, name)


def own_modules(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return ``(name, part)`` for every part, once, in order of registration.

    What a parametrization is made of is left out: it shows in the tensor that
    it makes.
    """
    inner = {
        id(part)
        for plist in module.modules()
        if isinstance(plist, parametrize.ParametrizationList)
        for part in plist.modules()
    }
    return [
        (name, part)
        for name, part in module.named_modules()
        if id(part) not in inner
        and not (
            isinstance(part, nn.ModuleDict)
            and name.rpartition(".")[2] == "parametrizations"
        )
    ]


def effective_tensors(part: nn.Module) -> list[str]:
    """Return the names of the tensors that `part` itself holds and uses."""
    stored = dict(part.named_parameters(recurse=False))
    names = []
    for name in stored:
        base, _, ending = name.rpartition("_")
        if ending == "orig" or (ending == "v" and f"{base}_g" in stored):
            names.append(base)
        elif not (ending == "g" and f"{base}_v" in stored):
            names.append(name)
    if parametrize.is_parametrized(part):
        names += list(part.parametrizations.keys())  # type: ignore[union-attr,operator]
    return names


def has_derived_tensors(module: nn.Module) -> bool:
    """Whether a part uses a tensor that is made of others."""
    return any(
        name not in dict(part.named_parameters(recurse=False))
        for part in module.modules()
        for name in effective_tensors(part)
    )


def effective_tensor(part: nn.Module, name: str) -> Tensor:
    """Return tensor `name` of `part` as its forward pass would use it now.

    The hooks of ``torch.nn.utils.weight_norm``, ``spectral_norm`` and
    ``prune`` renew their result in the forward pass only, so that after a
    step of an optimiser the attribute is one step old: it is made anew here.
    """
    stored = dict(part.named_parameters(recurse=False))
    if name in stored:
        return stored[name]
    if f"{name}_g" in stored and f"{name}_v" in stored:
        length, direction = stored[f"{name}_g"], stored[f"{name}_v"]
        summed = [
            axis
            for axis in range(direction.ndim)
            if length.ndim == 0 or length.shape[axis] == 1 < direction.shape[axis]
        ]
        if not summed:
            return direction / direction.abs() * length
        return direction * (
            length / torch.linalg.vector_norm(direction, dim=summed, keepdim=True)
        )
    if f"{name}_orig" in stored:
        original, buffers = (
            stored[f"{name}_orig"],
            dict(part.named_buffers(recurse=False)),
        )
        if f"{name}_mask" in buffers:
            return original * buffers[f"{name}_mask"]
        if f"{name}_u" in buffers and f"{name}_v" in buffers:
            axis = 1 if isinstance(part, TRANSPOSED) else 0
            matrix = original.movedim(axis, 0).flatten(1)
            left, right = buffers[f"{name}_u"], buffers[f"{name}_v"]
            return original / torch.dot(left, matrix @ right)
    return getattr(part, name)
