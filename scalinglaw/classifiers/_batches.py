"""Batches as slices of tensors: no worker processes, no Python per sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

__all__ = ["TensorBatches", "TensorData", "batch_sizes"]


class TensorData(Dataset[Any]):
    """Samples, labels and weights as whole tensors.

    Parameters
    ----------
    X : Tensor of shape (n_samples, ...)
        Samples.
    y : Tensor of shape (n_samples,)
        Numbers of the classes.
    weight : Tensor of shape (n_samples,), optional
        Weights of the samples.
    """

    def __init__(self, X: Tensor, y: Tensor, weight: Tensor | None = None) -> None:
        self.X, self.y, self.weight = X, y, weight

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.X)

    def __getitem__(self, index: Any) -> tuple[Tensor, Tensor]:
        """Return samples and labels."""
        return self.X[index], self.y[index]

    def take_rows(self, rows: Any) -> TensorData:
        """Return the data set of some of the samples.

        Parameters
        ----------
        rows : array of int
            Which samples.

        Returns
        -------
        TensorData
            The samples at `rows`, in that order.
        """
        chosen = torch.as_tensor(rows)
        X = self.X[chosen.to(self.X.device)]
        chosen = chosen.to(self.y.device)
        weight = None if self.weight is None else self.weight[chosen]
        return TensorData(X, self.y[chosen], weight)


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
    lie on the net's device are sliced there; others are sent to it batch by batch.

    Parameters
    ----------
    dataset : Dataset
        Its ``X`` is a tensor, its ``y`` a tensor or None. With a ``weight``, labels
        come as pairs (y, weight).
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
        self.weight: Tensor | None = getattr(dataset, "weight", None)
        self.device = torch.device(device)
        self._sizes = batch_sizes(len(self.X), batch_size)
        self._shuffle = shuffle
        self._generator: torch.Generator | None = None
        if shuffle and seed is not None:
            self._generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._sizes)

    def __iter__(self) -> Iterator[tuple[Tensor, Any]]:
        """Yield batches of samples and labels."""
        # Labels are small: they are on the device, in the order of the pass.
        order = None
        if self._shuffle:
            order = torch.randperm(len(self.X), generator=self._generator)
        y = self._in_order(self.y, order)
        labels: Any = y.split(self._sizes)
        if self.weight is not None:
            weights = self._in_order(self.weight, order).split(self._sizes)
            labels = zip(labels, weights, strict=True)
        yield from zip(self._samples(order), labels, strict=True)

    def _in_order(self, values: Tensor, order: Tensor | None) -> Tensor:
        values = values.to(self.device)
        return values if order is None else values[order.to(self.device)]

    def _samples(self, order: Tensor | None) -> Iterator[Tensor]:
        here = self.X.device.type == self.device.type
        if order is None:
            for samples in self.X.split(self._sizes):
                # A network that works in place must not change the data.
                yield samples.clone() if here else samples.to(self.device)
            return
        for rows in (order.to(self.device) if here else order).split(self._sizes):
            samples = self.X.index_select(0, rows)
            yield samples if here else samples.to(self.device, non_blocking=True)
