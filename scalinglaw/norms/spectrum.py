"""Spectral norms of many layers, in stacks, from the vectors of last time."""

from __future__ import annotations

import torch
from torch import Tensor

from .spectral import largest_eigenvalues
from .stacks import make_stacks

__all__ = ["SpectralNorms"]


class SpectralNorms:
    """Log of the largest singular value of each layer, again and again.

    Calls after the first start from the leading vectors of the call before,
    which saves time and decides nothing: each value is proved anew.

    Attributes
    ----------
    n_proved, n_computed : int
        How many matrices had the proof of the fast route, and for how many
        all eigenvalues were computed.
    """

    def __init__(self) -> None:
        self._rows: dict[int, Tensor | None] = {}
        self.n_proved = 0
        self.n_computed = 0

    def __call__(self, blocks: list[Tensor]) -> list[Tensor]:
        """Return one log per layer, float64, of shape (), on the CPU.

        Parameters
        ----------
        blocks : list of Tensor of shape (n_blocks, rows, columns)
            Block-diagonal matrices with finite entries of moderate size. The
            same shapes at each call.
        """
        tops = [0.0] * len(blocks)
        for number, stack in enumerate(make_stacks(blocks)):
            values, self._rows[number], proved = largest_eigenvalues(
                stack.matrices, self._rows.get(number)
            )
            self.n_proved += int(proved.sum())
            self.n_computed += int((~proved).sum())
            for layer, value in zip(stack.layers, values.tolist(), strict=True):
                tops[layer] = max(tops[layer], value)
        return list(torch.tensor(tops, dtype=torch.float64).log() / 2)
