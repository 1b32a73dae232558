"""The tensors that a module uses, behind whatever parametrization it has.

A parameter may be stored as something else: a direction and a length, a
tensor and a mask, the argument of an orthogonal map. Norms are taken of what
the forward pass multiplies by.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

__all__ = [
    "TRANSPOSED",
    "effective_tensor",
    "effective_tensors",
    "evaluation_mode",
    "own_modules",
    "plain_copy",
]

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


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
    """Return a copy that holds what its parametrizations make.

    Returns
    -------
    torch.nn.Module
        In evaluation mode. The older hooks (weight_norm, prune) stay.
    """
    with evaluation_mode(module):
        plain = copy.deepcopy(module)
        for part in list(plain.modules()):
            if not parametrize.is_parametrized(part):
                continue
            names = list(part.parametrizations)  # type: ignore[arg-type]
            made = {name: getattr(part, name).detach() for name in names}
            # torch.nn.utils.parametrize.remove_parametrizations would take the
            # weight from the original too: a copy shares its generated class.
            part.__class__ = parametrize.type_before_parametrizations(part)
            del part.parametrizations
            for name, tensor in made.items():
                part.register_parameter(name, nn.Parameter(tensor))
    return plain


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
