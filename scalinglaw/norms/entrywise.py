"""Logarithms of norms that are sums over entries, rows or columns.

Every tensor is divided by its largest entry before anything is squared, so
that weights of 1e30 or 1e-30 lose no digit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from .chunks import chunks
from .effective import (
    effective_tensor,
    effective_tensors,
    evaluation_mode,
    own_modules,
)
from .folding import find_folds

__all__ = [
    "EntrywiseNorms",
    "check_finite",
    "gather",
    "log_column_norms",
    "log_entry_norm",
    "log_row_norms",
    "parameters",
    "read_parameter",
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
    sums = [
        torch.linalg.vector_norm(rows, dim=-1, dtype=torch.float64).sum()
        for rows in chunks(blocks, -2)
    ]
    return torch.stack(sums).sum().log()


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
    squares = [rows.double().square().sum(dim=-2) for rows in chunks(blocks, -2)]
    return torch.stack(squares).sum(dim=0).sqrt().sum().log()


def log_entry_norm(tensor: Tensor, order: float) -> Tensor:
    r"""Log of :math:`\sum|w|` (`order` 1) or of :math:`\sqrt{\sum w^2}` (2)."""
    quotient, log_scale = scaled(tensor.detach())
    norm = torch.linalg.vector_norm(quotient, ord=order, dtype=torch.float64)
    return norm.log() + log_scale


def parameters(
    module: nn.Module, without: Collection[nn.Module] = ()
) -> list[tuple[str, nn.Module, str]]:
    """Return ``(name, part, attribute)`` of every parameter in use, once.

    Biases, normalisation layers and embeddings are parameters as well. What a
    parametrization makes stands for what it is made of.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    without : collection of torch.nn.Module
        Parts to leave out. What they share with another part counts there.
    """
    found, seen = [], set()
    for prefix, part in own_modules(module):
        if part in without:
            continue
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
    """Return the tensor in use."""
    return effective_tensor(part, attribute).detach()


class EntrywiseNorms:
    """Logs of norms of all parameters of a network together, again and again.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    fold_normalization : bool, default=False
        Whether the parameters are those of the network with batch normalisation
        merged into the layers before it.

    Raises
    ------
    ValueError
        If there is no parameter, or a normalisation that cannot be folded.
    """

    def __init__(self, module: nn.Module, fold_normalization: bool = False) -> None:
        folds = find_folds(module) if fold_normalization else []
        # Weight and bias of a folded layer come from the fold; the parameters of the
        # normalisation are in them.
        gone = {fold.normalization for fold in folds}
        gone |= {fold.layer for fold in folds}
        self._readers: list[tuple[str, Callable[[], tuple[Tensor, ...]]]]
        with evaluation_mode(module):
            self._readers = [
                (name, partial(_read_one, part, attribute))
                for name, part, attribute in parameters(module, gone)
                if read_parameter(part, attribute).numel()
            ]
        self._readers += [(fold.layer_name, fold.tensors) for fold in folds]
        self.module = module
        if not self._readers:
            raise ValueError(
                f"module has no parameter, got a {type(module).__name__}: "
                "there is nothing to take a norm of."
            )

    def __call__(self, order: float) -> float:
        """Return the log of the norm of that order.

        Parameters
        ----------
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
        names, logs = [], []
        with evaluation_mode(self.module):
            for name, read in self._readers:
                for tensor in read():
                    # MPS has no float64.
                    tensor = tensor.cpu() if tensor.device.type == "mps" else tensor
                    names.append(name)
                    logs.append(log_entry_norm(tensor, order))
        table = gather(logs)
        check_finite(table, names)
        return float(torch.logsumexp(order * table, dim=0) / order)


def _read_one(part: nn.Module, attribute: str) -> tuple[Tensor]:
    return (read_parameter(part, attribute),)


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
