"""Batches as slices of tensors: no worker processes, no Python per sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .streaming import stream

__all__ = ["TensorBatches", "batch_sizes"]


def batch_sizes(n_samples: int, batch_size: int) -> list[int]:
    """Return the sizes of the batches of one pass.

    The last batch takes what is left. A single sample that is left joins the batch
    before it: batch normalisation cannot be trained on one.

    Parameters
    ----------
    n_samples, batch_size : int
        At least 1.

    Returns
    -------
    list of int
        Summing up to `n_samples`.
    """
    n_full, rest = divmod(n_samples, batch_size)
    sizes = [batch_size] * n_full
    if rest == 1 and n_full:
        sizes[-1] += 1
    elif rest:
        sizes.append(rest)
    return sizes


class TensorBatches:
    """Iterator for skorch over a data set that holds whole tensors.

    Batches are copies: a network may work in place on what it is given.

    Pass it as ``iterator_train`` and ``iterator_valid`` of a skorch net. Tensors that
    lie on the net's device are sliced there; others are sent to it in chunks of many
    batches, so that data larger than the device's memory stream.

    Parameters
    ----------
    dataset : skorch.dataset.Dataset
        Its ``X`` is a tensor, its ``y`` a tensor or None.
    batch_size : int, default=128
        Samples in a batch; see `batch_sizes` for the last one.
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
        self.device = torch.device(device)
        self._sizes = batch_sizes(len(self.X), batch_size)
        self._shuffle = shuffle
        self._generator: torch.Generator | None = None
        if shuffle and seed is not None:
            self._generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._sizes)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of samples and labels."""
        # Labels are small: they are on the device, in the order of the pass.
        y = self.y.to(self.device)
        order = None
        if self._shuffle:
            order = torch.randperm(len(self.X), generator=self._generator)
            y = y[order.to(self.device)]
        yield from zip(self._samples(order), y.split(self._sizes), strict=True)

    def _samples(self, order: Tensor | None) -> Iterator[Tensor]:
        if self.X.device.type != self.device.type:
            rows = torch.arange(len(self.X)) if order is None else order
            yield from stream(self.X, rows, self._sizes, self.device)
        elif order is None:
            for samples in self.X.split(self._sizes):
                yield samples.clone()  # or a network in place would change the data
        else:
            for rows in order.to(self.device).split(self._sizes):
                yield self.X.index_select(0, rows)
