"""Matrices of one shape together, so that one call serves them all."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Stack", "make_stacks"]

# Stacking copies. On a CPU, matrices of this many entries keep a core busy alone.
_LARGE = 2**18


@dataclass(frozen=True)
class Stack:
    """Matrices of one shape, smaller side first.

    Attributes
    ----------
    layers : list of int
        The layer that each matrix belongs to; a grouped convolution has many.
    matrices : Tensor of shape (batch, n, m), n <= m
    """

    layers: list[int]
    matrices: Tensor


def make_stacks(blocks: list[Tensor]) -> list[Stack]:
    """Group block-diagonal matrices by the shape, dtype and device of a block.

    Parameters
    ----------
    blocks : list of Tensor of shape (n_blocks, rows, columns)
        One per layer. Singular values do not see a transposition.

    Returns
    -------
    list of Stack
        In an order that depends on shapes alone.
    """
    groups: dict[tuple, list[tuple[int, Tensor]]] = {}
    for index, block in enumerate(blocks):
        matrices = block if block.shape[-2] <= block.shape[-1] else block.mT
        key: tuple = (*matrices.shape[-2:], matrices.dtype, matrices.device)
        if matrices.device.type == "cpu" and matrices[0].numel() >= _LARGE:
            key = (*key, index)
        groups.setdefault(key, []).append((index, matrices))
    return [
        Stack(
            [index for index, m in members for _ in range(len(m))],
            members[0][1] if len(members) == 1 else torch.cat([m for _, m in members]),
        )
        for members in groups.values()
    ]
