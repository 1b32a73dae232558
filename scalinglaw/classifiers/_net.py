"""The skorch net of the classifiers."""

from __future__ import annotations

import copy
from typing import Any

from skorch import NeuralNetClassifier
from torch import Tensor, nn

__all__ = ["TrajectoryNet"]


class TrajectoryNet(NeuralNetClassifier):
    """A skorch net of a network that returns logits, with weights of samples.

    It differs from skorch's in its loss alone: the criterion sees logits, whatever
    criterion it is, and samples may have weights.
    """

    # A recorder need not ask the optimiser whether it has stepped.
    steps_on_every_batch = True

    def get_loss(
        self, y_pred: Tensor, y_true: Any, X: Any = None, training: bool = False
    ) -> Tensor:
        """Return the loss of a batch.

        Parameters
        ----------
        y_pred : Tensor of shape (n, n_classes)
            Logits.
        y_true : Tensor of shape (n,), or pair of tensors
            Numbers of classes, or these and the weights of the samples.
        X : object
            Unused.
        training : bool
            Unused.

        Returns
        -------
        Tensor
            A single number.
        """
        if isinstance(y_true, tuple):
            return weighted_loss(self.criterion_, y_pred, *y_true)
        return self.criterion_(y_pred, y_true)


def weighted_loss(
    criterion: nn.Module, logits: Tensor, y: Tensor, weight: Tensor
) -> Tensor:
    """Return the loss of samples with weights, of mean one over all data.

    Parameters
    ----------
    criterion : nn.Module
        With a ``reduction``, "mean" or "sum".
    logits : Tensor of shape (n, n_classes)
        Outputs of the network.
    y : Tensor of shape (n,)
        Numbers of classes.
    weight : Tensor of shape (n,)
        Weights of the samples.

    Returns
    -------
    Tensor
        The weighted sum of the losses; under "mean" over the number of samples, or
        over the sum of their class weights. Weights of ones change nothing.
    """
    each = copy.copy(criterion)
    each.reduction = "none"  # type: ignore[assignment]
    total = (each(logits, y) * weight).sum()
    if criterion.reduction == "sum":
        return total
    by_class = getattr(criterion, "weight", None)
    return total / (len(y) if by_class is None else by_class[y].sum())
