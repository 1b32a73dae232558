"""Logarithms of norms that are sums over entries, rows or columns.

Every tensor is divided by its largest entry before anything is squared, so
that weights of 1e30 or 1e-30 lose no digit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ._modules import is_packed_recurrence, named_modules, packed_weight, readable

__all__ = [
    "check_finite",
    "gather",
    "log_column_norms",
    "log_entry_norm",
    "log_entrywise_norm",
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
    norms = torch.linalg.vector_norm(blocks, dim=-1)
    return norms.sum(dtype=torch.float64).log()


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
    norms = torch.linalg.vector_norm(blocks, dim=-2)
    return norms.sum(dtype=torch.float64).log()


def log_entry_norm(tensor: Tensor, order: float) -> Tensor:
    r"""Log of :math:`\sum|w|` (`order` 1) or of :math:`\sqrt{\sum |w|^2}` (2)."""
    if tensor.is_complex():
        tensor = tensor.abs()
    quotient, log_scale = scaled(tensor)
    norm = torch.linalg.vector_norm(quotient, ord=order, dtype=torch.float64)
    return norm.log() + log_scale


def parameters(net: nn.Module) -> list[tuple[str, Tensor]]:
    """Return names and numbers of every parameter that has entries, once.

    Biases, normalisation layers and embeddings are parameters as well.

    Parameters
    ----------
    net : torch.nn.Module
        An ordinary network: see :func:`~._folding.ordinary`.

    Returns
    -------
    list of (str, Tensor)

    Raises
    ------
    ValueError
        If there is none, or a weight is packed out of reach.
    """
    for name, part in named_modules(net):
        # torch's quantised layers hold no parameter, but a method of that name.
        if packed_weight(part) is not None or is_packed_recurrence(part):
            raise ValueError(
                f"{name or 'module'!r} is a {type(part).__name__}, whose quantised "
                "weights are no parameters: norms of all parameters would miss them. "
                "Take the norms before the network is quantised."
            )
    found = [(name, readable(tensor, name)) for name, tensor in net.named_parameters()]
    found = [(name, tensor) for name, tensor in found if tensor.numel()]
    if not found:
        raise ValueError(
            f"module has no parameter, got a {type(net).__name__}: "
            "there is nothing to take a norm of."
        )
    return found


def log_entrywise_norm(net: nn.Module, order: float) -> float:
    """Log of a norm of all parameters of a network together.

    Parameters
    ----------
    net : torch.nn.Module
        An ordinary network: see :func:`~._folding.ordinary`.
    order : float
        2 for Frobenius, 1 for the sum of absolute values.

    Returns
    -------
    float
        Minus infinity if all parameters are zero.

    Raises
    ------
    ValueError
        If a parameter is NaN or infinite; the message names it.
    """
    found = parameters(net)
    logs = gather([log_entry_norm(tensor, order) for _, tensor in found])
    check_finite(logs, [name for name, _ in found])
    return float(torch.logsumexp(order * logs, dim=0) / order)


def gather(logs: list[Tensor]) -> Tensor:
    """Return scalars as one tensor on the CPU, in one transfer."""
    return torch.stack([log.to(logs[0].device) for log in logs]).cpu()


def check_finite(logs: Tensor, names: list[str]) -> None:
    """Raise if a log is NaN or plus infinity, and name where."""
    bad = [
        name
        for name, log in zip(names, logs.tolist(), strict=True)
        if math.isnan(log) or log == math.inf
    ]
    if bad:
        raise ValueError(
            f"weights must be finite, got NaN or infinity in {bad[0]!r} "
            f"({len(bad)} of {len(names)} tensors). Training has diverged: "
            "lower the learning rate, or stop recording before it does."
        )
