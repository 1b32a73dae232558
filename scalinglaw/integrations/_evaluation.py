"""Error and loss of a network on the batches of a DataLoader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler

from ._scores import ScoreSums, as_logits

__all__ = ["classes_second", "evaluation_loader", "held_out_scores", "to_device"]


def evaluation_loader(
    data: Any, batch_size: int = 256, collate_fn: Callable[..., Any] | None = None
) -> Any:
    """Return a loader of all of the data, also where processes share them.

    Parameters
    ----------
    data : DataLoader, Dataset or iterable of batches
        A loader of which each process sees a part is made anew, as a whole.
    batch_size : int, default=256
        Samples in a batch of a data set.
    collate_fn : callable, optional
        What makes batches of the samples of a data set.

    Returns
    -------
    iterable
        Batches.
    """
    if isinstance(data, DataLoader):
        if not isinstance(data.sampler, DistributedSampler):
            return data
        return DataLoader(data.dataset, data.batch_size, collate_fn=data.collate_fn)
    if hasattr(data, "__getitem__") or isinstance(data, torch.utils.data.Dataset):
        return DataLoader(data, batch_size, collate_fn=collate_fn)
    if not hasattr(data, "__iter__"):
        raise TypeError(
            "eval_data must be a DataLoader, a data set or batches, got "
            f"{type(data).__name__}."
        )
    return data


def to_device(batch: Any, device: torch.device) -> Any:
    """Return a batch with its tensors on a device, whatever holds them."""
    if isinstance(batch, Mapping):
        return {name: to_device(value, device) for name, value in batch.items()}
    if isinstance(batch, tuple | list):
        return type(batch)(to_device(value, device) for value in batch)
    return batch.to(device) if hasattr(batch, "to") else batch


def classes_second(logits: Tensor, labels: Tensor) -> Tensor:
    """Return logits with classes on the second axis, where torch's losses want them.

    Parameters
    ----------
    logits : Tensor
        With classes on the second axis, or on the last, as language models have them.
    labels : Tensor
        Numbers of classes.

    Returns
    -------
    Tensor
        A view of `logits`.
    """
    second = (logits.shape[:1] + logits.shape[2:]) == labels.shape
    if not second and logits.dim() > 2 and logits.shape[:-1] == labels.shape:
        return logits.movedim(-1, 1)
    return logits


def held_out_scores(
    batches: Any,
    device: torch.device,
    split: Callable[[Any], tuple[Any, Tensor]],
    call: Callable[[Any], Any],
    next_token: bool = False,
) -> dict[str, float]:
    """Return error and mean cross-entropy of logits against labels.

    Parameters
    ----------
    batches : iterable
        The held-out data.
    device : torch.device
        Where the network is.
    split : callable
        Takes a batch apart into inputs and labels.
    call : callable
        Returns the network's output for inputs.
    next_token : bool, default=False
        Whether each output predicts the label after its own.

    Returns
    -------
    dict
        ``test_error``, ``test_loss``, and ``n_test`` where a sample has one label.
    """
    criterion: nn.Module = nn.CrossEntropyLoss()
    scores, n = None, 0
    for batch in batches:
        inputs, labels = split(to_device(batch, device))
        logits = as_logits(call(inputs)).float()
        if next_token:
            logits, labels = logits[:, :-1], labels[:, 1:]
        logits = classes_second(logits, labels)
        if scores is None:
            if logits.dim() == 1 or logits.shape[1] == 1:
                criterion = nn.BCEWithLogitsLoss()
            scores = ScoreSums(criterion)
        if isinstance(criterion, nn.BCEWithLogitsLoss):
            logits, labels = logits.flatten(), labels.flatten().float()
        scores.add(logits, labels, criterion(logits, labels))
        n += len(labels) if labels.dim() == 1 else 0
    if scores is None:
        raise ValueError("eval_data holds no batches.")
    wrong, n_labels, loss, over = scores.sums.tolist()
    row = {"test_error": wrong / n_labels, "test_loss": loss / over}
    return row | {"n_test": n} if n else row
