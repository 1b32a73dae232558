"""Errors and losses of a data set, summed over batches where they lie."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ScoreSums", "as_logits", "check_converged", "labels_counted"]


def as_logits(output: Any) -> Tensor:
    """Return the tensor of logits in what a network returned.

    Parameters
    ----------
    output : Tensor, tuple, list or mapping
        Of a tuple or list the first entry is taken, as skorch does; of a mapping, such
        as the outputs of transformers, ``"logits"``, or its only entry.

    Returns
    -------
    Tensor
        The logits.

    Raises
    ------
    TypeError
        If there is no tensor, or several and none is named logits.
    """
    found = output
    if isinstance(output, Mapping):
        keys = list(output)
        if "logits" not in output and len(keys) != 1:
            raise TypeError(
                "the network must return logits, got a dict with "
                f"{', '.join(map(repr, keys)) or 'no keys'}: name them 'logits'."
            )
        found = output["logits" if "logits" in output else keys[0]]
    elif isinstance(output, tuple | list) and output:
        found = output[0]
    if not isinstance(found, Tensor):
        raise TypeError(
            "the network must return a tensor of logits, or a tuple or dict with it, "
            f"got {type(output).__name__}."
        )
    return found


def labels_counted(labels: Tensor, criterion: Any = None) -> Tensor:
    """Return which labels count: all but the criterion's ``ignore_index``."""
    ignored = getattr(criterion, "ignore_index", None)
    if ignored is None or labels.is_floating_point():
        return torch.ones_like(labels, dtype=torch.bool)
    return labels != ignored


def _wrong(logits: Tensor, labels: Tensor, by_logit: bool, threshold: float) -> Tensor:
    """Return for each label whether the prediction is another."""
    if logits.dim() == labels.dim() + 1:
        return logits.argmax(dim=1) != labels
    if logits.shape != labels.shape:
        raise ValueError(
            f"labels of shape {tuple(labels.shape)} do not fit outputs of shape "
            f"{tuple(logits.shape)}: classes are the second axis of the outputs."
        )
    if by_logit or logits.dim() < 2 or logits.shape[1] == 1:
        return (logits.sigmoid() > threshold) != (labels > 0.5)
    return logits.argmax(dim=1) != labels.argmax(dim=1)  # probabilities of classes


def _averaged_over(criterion: Any, labels: Tensor, counted: Tensor) -> Tensor:
    """Return the number by which the mean of a criterion divides, per label."""
    weight = getattr(criterion, "weight", None)
    by_class = isinstance(criterion, nn.CrossEntropyLoss | nn.NLLLoss)
    if by_class and weight is not None and not labels.is_floating_point():
        return weight[labels.masked_fill(~counted, 0)] * counted
    return counted.float()


class ScoreSums:
    """Error and mean loss of a data set, added up batch by batch on the device.

    Parameters
    ----------
    criterion : nn.Module, optional
        The loss; its class weights, ``ignore_index`` and ``reduction`` are heeded, so
        that the mean over the data does not depend on how they fall into batches.
    threshold : float, default=0.5
        Probability above which a network of one output predicts the class 1.
    """

    def __init__(self, criterion: Any = None, threshold: float = 0.5) -> None:
        self._criterion, self._threshold = criterion, threshold
        self._sums: Any = 0.0

    def add(
        self, logits: Tensor, labels: Tensor, loss: Tensor, weight: Tensor | None = None
    ) -> None:
        """Add a batch.

        Parameters
        ----------
        logits : Tensor of shape (n, n_classes, ...)
            Outputs, or (n,) or (n, 1) of a network of one logit.
        labels : Tensor of shape (n, ...)
            Numbers of classes, or probabilities of them.
        loss : Tensor
            The criterion's value on the batch.
        weight : Tensor of shape (n,), optional
            Weights of the samples.
        """
        if logits.dim() == 2 and logits.shape[1] == 1 and labels.dim() == 1:
            logits = logits[:, 0]
        by_logit = isinstance(self._criterion, nn.BCEWithLogitsLoss)
        wrong = _wrong(logits, labels, by_logit, self._threshold)
        if wrong.dim() < labels.dim():
            labels = labels.argmax(dim=1)
        counted = labels_counted(labels, self._criterion)
        over = _averaged_over(self._criterion, labels, counted)
        total = loss
        if getattr(self._criterion, "reduction", "mean") != "sum":
            # The mean of no labels is none: a batch of ignored ones adds nothing.
            total = torch.where(over.sum() > 0, loss * over.sum(), 0.0)
        share = counted.float() if weight is None else counted * weight
        over = over if weight is None else over * weight
        # Counts stay exact and sums of a million losses sharp; Apple's GPUs have no
        # double precision.
        exact = torch.float32 if logits.device.type == "mps" else torch.float64
        sums = [(wrong * share).sum(), share.sum(), total.detach(), over.sum()]
        self._sums = self._sums + torch.stack([each.to(exact) for each in sums])

    @property
    def sums(self) -> Tensor:
        """Sums of errors, of labels, of the loss, and of what its mean divides by."""
        if not isinstance(self._sums, Tensor):
            raise ValueError("the data to evaluate on hold no samples.")
        return self._sums


def check_converged(error: float, loss: float) -> tuple[float, float]:
    """Return error and mean loss, or raise if training has diverged."""
    if not math.isfinite(loss):
        raise ValueError(
            "training has diverged: the loss is not finite. Lower the learning rate."
        )
    return error, loss
