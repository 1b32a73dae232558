"""Batches as slices of tensors: no worker processes, no Python per sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

__all__ = ["TensorBatches"]


class TensorBatches:
    """Iterator for skorch over a data set that holds whole tensors.

    Pass it as ``iterator_train`` and ``iterator_valid`` of a skorch net. Tensors that
    lie on the net's device are sliced there; others are moved batch by batch, so that
    data larger than the device's memory stream.

    Parameters
    ----------
    dataset : skorch.dataset.Dataset
        Its ``X`` is a tensor, its ``y`` a tensor or None.
    batch_size : int, default=128
        Samples in a batch; the last one may be smaller.
    shuffle : bool, default=False
        Whether each pass has an order of its own.
    seed : int or None, default=None
        Seed of the orders; None takes them from torch's global generator.
    device : str, default="cpu"
        Where batches are needed.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 128,
        shuffle: bool = False,
        seed: int | None = None,
        device: str = "cpu",
    ) -> None:
        self.X: Tensor = dataset.X
        y = dataset.y
        self.y: Tensor = torch.zeros(len(self.X), dtype=torch.long) if y is None else y
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.device = device
        self._generator: torch.Generator | None = None
        if shuffle and seed is not None:
            self._generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self.X) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of samples and labels."""
        n = len(self.X)
        if not self.shuffle:
            for start in range(0, n, self.batch_size):
                stop = start + self.batch_size
                yield self._on_device(self.X[start:stop], self.y[start:stop])
            return
        order = torch.randperm(n, generator=self._generator).to(self.X.device)
        labels = self.y.to(self.X.device)
        for rows in order.split(self.batch_size):
            yield self._on_device(self.X[rows], labels[rows])

    def _on_device(self, X: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        # Does nothing where the tensors are there already.
        X = X.to(self.device, non_blocking=True)
        return X, y.to(self.device, non_blocking=True)
