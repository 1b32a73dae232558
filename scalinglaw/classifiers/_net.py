"""The skorch net of the classifiers: weights of samples, and no wait per batch."""

from __future__ import annotations

import copy
from typing import Any

import torch
from skorch import NeuralNetClassifier
from skorch.dataset import get_len
from torch import Tensor, nn

from ._capture import StaticSteps, why_eager

__all__ = ["TrajectoryNet"]


class TrajectoryNet(NeuralNetClassifier):
    """A skorch net of a network that returns logits, which a GPU need not wait for.

    Its history, callbacks and schedules are skorch's. It differs in three ways. The
    criterion sees logits, whatever criterion it is, and samples may have weights.
    Losses stay on the device until the end of an epoch: before that, callbacks find
    them in the history as tensors. And on a GPU steps are captured (`StaticSteps`);
    `eager_reason_` says why if they are not.
    """

    # A recorder need not ask the optimiser whether it has stepped: graphs step unheard.
    steps_on_every_batch = True
    # Types of devices whose steps use buffers; of these, a GPU's are captured.
    static_devices = ("cuda",)

    def on_train_begin(
        self, net: Any, X: Any = None, y: Any = None, **kwargs: Any
    ) -> None:
        """Decide whether steps can be captured.

        Parameters
        ----------
        net : TrajectoryNet
            The net itself.
        X, y : object
            Unused.
        **kwargs : dict
            Unused.
        """
        super().on_train_begin(net, X, y, **kwargs)
        callbacks = [callback for _, callback in self.callbacks_]
        self.eager_reason_ = why_eager(self.device, self.optimizer_, callbacks)
        self._steps: StaticSteps | None = None
        if torch.device(self.device).type in self.static_devices:
            capture = not self.eager_reason_
            if capture or torch.device(self.device).type != "cuda":
                self._steps = StaticSteps(
                    super().train_step, self.module_, self.optimizer_, capture
                )

    def on_train_end(
        self, net: Any, X: Any = None, y: Any = None, **kwargs: Any
    ) -> None:
        """Let go of graphs and their memory.

        Parameters
        ----------
        net : TrajectoryNet
            The net itself.
        X, y : object
            Unused.
        **kwargs : dict
            Unused.
        """
        super().on_train_end(net, X, y, **kwargs)
        if self._steps is not None:
            self.eager_reason_ = self.eager_reason_ or self._steps.reason
        self._steps = None
        for group in self.optimizer_.param_groups:
            _to_numbers(group)
        if self.history:
            _to_numbers(self.history[-1])

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Begin a row of the history, and let the last one hold numbers.

        Parameters
        ----------
        net : TrajectoryNet
            The net itself.
        **kwargs : dict
            Data sets.
        """
        if self.history:
            _to_numbers(self.history[-1])  # a schedule has left its rate there
        super().on_epoch_begin(net, **kwargs)

    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Tensor]:
        """Take a step of training.

        Parameters
        ----------
        batch : tuple
            Samples and labels.
        **fit_params : dict
            Unused.

        Returns
        -------
        dict
            ``loss`` and ``y_pred``.
        """
        if self._steps is None:
            return super().train_step(batch, **fit_params)
        return self._steps(batch)

    def run_single_epoch(
        self,
        iterator: Any,
        training: bool,
        prefix: str,
        step_fn: Any,
        **fit_params: Any,
    ) -> None:
        """Go through the batches once, and write their losses when all are done.

        Parameters
        ----------
        iterator : iterable or None
            Batches; None is no validation.
        training : bool
            Whether this is training.
        prefix : str
            Of the names in the history.
        step_fn : callable
            What is done with a batch.
        **fit_params : dict
            Handed to `step_fn`.
        """
        if iterator is None:
            return
        n_batches = 0
        try:
            for batch in iterator:
                self.notify("on_batch_begin", batch=batch, training=training)
                step = step_fn(batch, **fit_params)
                self.history.record_batch(f"{prefix}_loss", step["loss"].detach())
                self.history.record_batch(f"{prefix}_batch_size", get_len(batch[0]))
                self.notify("on_batch_end", batch=batch, training=training, **step)
                n_batches += 1
        finally:
            # Also where a callback ends training in the middle of an epoch.
            _settle(self.history[-1]["batches"], f"{prefix}_loss")
        self.history.record(f"{prefix}_batch_count", n_batches)

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


def _to_numbers(row: dict[str, Any]) -> None:
    """Replace tensors of one number, such as learning rates, by that number."""
    for name, value in row.items():
        if isinstance(value, Tensor) and value.dim() == 0:
            row[name] = value.item()


def _settle(batches: list[dict[str, Any]], name: str) -> None:
    """Replace losses on the device by numbers, in one transfer."""
    held = [row for row in batches if isinstance(row.get(name), Tensor)]
    if held:
        values = torch.stack([row[name] for row in held]).tolist()
        for row, value in zip(held, values, strict=True):
            row[name] = value


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
