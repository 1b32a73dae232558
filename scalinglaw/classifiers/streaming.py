"""Samples that do not fit on the device, sent to it in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

__all__ = ["CHUNK_BYTES", "Staging", "stream"]

# Large enough for the full rate of the bus, small beside any GPU's memory.
CHUNK_BYTES = 2**26


class Staging:
    """Memory through which chunks of samples reach the device.

    It is page-locked for a GPU: only then does a copy go on by itself while the GPU
    computes. A chunk is not overwritten by the next before its copy has arrived.

    Parameters
    ----------
    X : Tensor
        All samples, on the host.
    n_rows : int
        Samples in the largest chunk.
    device : torch.device
        Where they go.
    """

    def __init__(self, X: Tensor, n_rows: int, device: torch.device) -> None:
        on_gpu = device.type == "cuda"
        self._X = X
        self._device = device
        self._buffer = torch.empty(
            (n_rows, *X.shape[1:]), dtype=X.dtype, pin_memory=on_gpu
        )
        self._arrived: Any = torch.cuda.Event() if on_gpu else None

    def send(self, rows: Tensor) -> Tensor:
        """Return samples on the device; their copy may still be on its way.

        Parameters
        ----------
        rows : Tensor of int64
            Which samples, in which order.

        Returns
        -------
        Tensor
            On the device. What is computed with it there waits for the copy.
        """
        if self._arrived is not None:
            self._arrived.synchronize()
        chunk = self._buffer[: len(rows)]
        torch.index_select(self._X, 0, rows, out=chunk)
        sent = chunk.to(self._device, non_blocking=True, copy=True)
        if self._arrived is not None:
            self._arrived.record(torch.cuda.current_stream(self._device))
        return sent


def stream(
    X: Tensor,
    order: Tensor,
    sizes: list[int],
    device: torch.device,
    chunk_bytes: int | None = None,
) -> Iterator[Tensor]:
    """Yield batches of samples on the device, sent there many at a time.

    While the batches of one chunk are trained on, the next is on its way.

    Parameters
    ----------
    X : Tensor
        Samples on the host.
    order : Tensor of int64
        Rows of `X`, in the order in which they are needed.
    sizes : list of int
        Of the batches; they sum up to the length of `order`.
    device : torch.device
        Where batches are needed.
    chunk_bytes : int or None
        Size of a chunk, unless a single batch is larger; None is 64 MiB.

    Yields
    ------
    Tensor
        One batch.
    """
    chunk_bytes = CHUNK_BYTES if chunk_bytes is None else chunk_bytes
    sample_bytes = X[0].numel() * X.element_size()
    n_batches = max(1, chunk_bytes // (max(sizes) * sample_bytes))
    plan = [sizes[i : i + n_batches] for i in range(0, len(sizes), n_batches)]
    chunks = order.split([sum(part) for part in plan])
    n_rows = max(map(len, chunks))
    stages = [Staging(X, n_rows, device) for _ in chunks[:2]]
    ahead = stages[0].send(chunks[0])
    for position, part in enumerate(plan, start=1):
        here = ahead
        if position < len(plan):
            ahead = stages[position % 2].send(chunks[position])
        yield from here.split(part)
