"""Logarithms of norms that are sums over entries, rows or columns.

Every tensor is divided by its largest entry before anything is squared, so
that weights of 1e30 or 1e-30 lose no digit.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from .effective import effective_tensor, effective_tensors, own_modules

__all__ = [
    "log_column_norms",
    "log_entry_norm",
    "log_row_norms",
    "parameters",
    "scaled",
]

# Within these bounds squares and their sums are far from the ends of float32.
_SAFE = (1e-9, 1e9)


def scaled(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Return `tensor` over its largest entry, and the log of that entry.

    Parameters
    ----------
    tensor : Tensor of any shape, real
        Half precisions are widened to float32, which they fit without loss.

    Returns
    -------
    quotient : Tensor, float32 or float64
        On a CPU the division is left out where it would change nothing that
        matters: it is a copy.
    log_scale : Tensor, float64, shape ()
        0 for a tensor of zeros; NaN or infinite if an entry is.
    """
    if tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.float()
    lowest, highest = torch.aminmax(tensor)
    largest = torch.maximum(-lowest, highest)
    if tensor.device.type == "cpu" and _SAFE[0] < float(largest) < _SAFE[1]:
        return tensor, torch.zeros((), dtype=torch.float64)
    largest = torch.where(largest == 0, torch.ones_like(largest), largest)
    # 1 / largest overflows for subnormal entries; the quotient does not.
    return tensor / largest, largest.double().log()


def log_row_norms(blocks: Tensor) -> Tensor:
    r"""Log of the sum of the Euclidean norms of the rows, one per output.

    This is :math:`\log\|W^T\|_{2,1}` in Bartlett's notation.

    Parameters
    ----------
    blocks : Tensor of shape (n_blocks, rows, columns)
        A block-diagonal matrix.

    Returns
    -------
    Tensor, float64, shape ()
    """
    norms = torch.linalg.vector_norm(blocks, dim=-1, dtype=torch.float64)
    return norms.sum().log()


def log_column_norms(blocks: Tensor) -> Tensor:
    r"""Log of the sum of the Euclidean norms of the columns, one per input.

    Parameters
    ----------
    blocks : Tensor of shape (n_blocks, rows, columns)
        A block-diagonal matrix.

    Returns
    -------
    Tensor, float64, shape ()
    """
    norms = torch.linalg.vector_norm(blocks, dim=-2, dtype=torch.float64)
    return norms.sum().log()


def log_entry_norm(tensor: Tensor, order: float) -> Tensor:
    r"""Log of :math:`\sum|w|` (`order` 1) or of :math:`\sqrt{\sum w^2}` (2)."""
    quotient, log_scale = scaled(tensor.detach())
    norm = torch.linalg.vector_norm(quotient, ord=order, dtype=torch.float64)
    return norm.log() + log_scale


def parameters(module: nn.Module) -> list[tuple[str, nn.Module, str]]:
    """Return ``(name, part, attribute)`` of every parameter in use, once.

    Biases, normalisation layers and embeddings are parameters as well. What a
    parametrization makes stands for what it is made of.
    """
    found, seen = [], set()
    for prefix, part in own_modules(module):
        for attribute in effective_tensors(part):
            tensor = dict(part.named_parameters(recurse=False)).get(attribute)
            name = f"{prefix}.{attribute}".lstrip(".")
            if isinstance(tensor, UninitializedParameter):
                raise ValueError(
                    f"{name!r} is a lazy parameter without a shape yet: "
                    "run one batch through the module first."
                )
            key = (id(part if tensor is None else tensor), tensor is None and attribute)
            if key not in seen:
                seen.add(key)
                found.append((name, part, attribute))
    return found


def read_parameter(part: nn.Module, attribute: str) -> Tensor:
    """Return the tensor in use, on a device that has float64."""
    tensor = effective_tensor(part, attribute).detach()
    return tensor.cpu() if tensor.device.type == "mps" else tensor
