"""The skorch callback that records norms and errors during training."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import torch
from skorch.callbacks import Callback
from torch import nn

from ..exceptions import ZeroNormWarning
from ..norms import NormTracker
from ..norms.effective import evaluation_mode
from ..trajectories import check_trajectories

__all__ = ["NormRecorder", "checked_scores", "record_steps"]

# Training samples for norms that depend on data, at every record of a run.
_DATA = 256


def record_steps(n_steps: int, n_records: int) -> np.ndarray:
    """Return the optimiser steps after which to record, log-spaced from 0.

    Parameters
    ----------
    n_steps : int
        Steps of the whole run.
    n_records : int
        Records wanted; there are fewer if there are fewer steps.

    Returns
    -------
    ndarray of int
        Increasing, from 0 to `n_steps`.
    """
    if n_steps + 1 <= n_records:
        return np.arange(n_steps + 1)
    n_points = n_records - 1
    if n_points == 1:
        return np.array([0, n_steps])
    # Rounding merges the first points: ask for more until enough are left.
    for asked in range(n_points, 4 * n_steps + n_points):
        steps = np.unique(np.geomspace(1, n_steps, asked).round().astype(int))
        if len(steps) >= n_points:
            break
    surplus = len(steps) - n_points
    return np.concatenate([[0], np.delete(steps, np.arange(1, 1 + surplus))])


class NormRecorder(Callback):
    """Record log-norms, losses and errors at log-spaced steps of training.

    Works in any skorch classifier net. What the net's ``train_split`` holds out for
    validation is no training data. The first record is taken before the first step, the
    last after the last. ``fisher_rao`` is taken on at most 256 training samples, spread
    evenly over the training set and the same at every record; it takes the net's
    outputs as logits.

    Parameters
    ----------
    norms : sequence of str, default=("spectral_complexity",)
        Names among ``scalinglaw.norms.NORMS``.
    n_records : int, default=50
        Records of a run.
    eval_set : tuple (X_test, y_test), optional
        Held-out data, in the form that the net takes; labels as the net's criterion
        takes them.
    seed : int, default=0
        Written into the column ``seed``.
    conv : {"kernel", "operator"}, default="kernel"
        What the matrix of a convolution is; see ``scalinglaw.norms.compute_norms``.
    fold_normalization : bool, default=False
        Whether batch normalisation counts with its scale in evaluation; see
        ``scalinglaw.norms.compute_norms``.

    Attributes
    ----------
    records_ : list of dict
        During training, the rows of the table so far, for other callbacks to read.
    trajectory_ : DataFrame
        After training, the run's trajectory table: ``train_size``, ``seed``, ``epoch``
        (fractional), ``step``, ``train_error``, ``train_loss`` (mean nats),
        ``test_error``, ``test_loss``, ``n_test`` and ``log_<norm>``.

    Examples
    --------
    >>> import numpy as np
    >>> from skorch import NeuralNetClassifier
    >>> from torch import nn
    >>> from scalinglaw import NormRecorder
    >>> X = np.eye(4, dtype="float32")
    >>> y = np.array([0, 1, 0, 1])
    >>> recorder = NormRecorder(n_records=3)
    >>> net = NeuralNetClassifier(
    ...     nn.Linear(4, 2), criterion=nn.CrossEntropyLoss, train_split=None,
    ...     max_epochs=4, verbose=0, callbacks=[recorder],
    ... ).fit(X, y)
    >>> recorder.trajectory_["step"].tolist()
    [0, 1, 4]
    """

    def __init__(
        self,
        norms: Iterable[str] = ("spectral_complexity",),
        n_records: int = 50,
        eval_set: Any = None,
        seed: int = 0,
        conv: str = "kernel",
        fold_normalization: bool = False,
    ) -> None:
        self.norms = norms
        self.n_records = n_records
        self.eval_set = eval_set
        self.seed = seed
        self.conv = conv
        self.fold_normalization = fold_normalization

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Forget an earlier run.

        Parameters
        ----------
        net : skorch net
            The net that is trained.
        **kwargs : dict
            Unused.
        """
        self.records_: list[dict[str, float]] = []
        self._step = 0

    def on_epoch_begin(
        self, net: Any, dataset_train: Any = None, **kwargs: Any
    ) -> None:
        """Before the first epoch, plan the records and take the first.

        Parameters
        ----------
        net : skorch net
            The net that is trained.
        dataset_train : Dataset
            What it is trained on: the net's ``train_split`` has been made.
        **kwargs : dict
            Unused.
        """
        if not self.records_:
            self._begin(net, dataset_train)

    def on_batch_end(
        self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        """Take a record if one is planned after this step.

        Parameters
        ----------
        net : skorch net
            The net that is trained.
        batch : object
            Unused.
        training : bool
            Whether this was a step.
        **kwargs : dict
            Unused.
        """
        if not training:
            return
        self._step += 1
        if self._step in self._planned:
            self._record(net)

    def on_train_end(
        self, net: Any, X: Any = None, y: Any = None, **kwargs: Any
    ) -> None:
        """Make the table, and let go of the data.

        Parameters
        ----------
        net : skorch net
            The net that was trained.
        X, y : object
            Its data.
        **kwargs : dict
            Unused.
        """
        if not self.records_:  # a run of no epochs
            self._begin(net, net.get_dataset(X, y))
        # A stop before the planned end, by another callback, is an end too.
        if self.records_[-1]["step"] != self._step:
            self._record(net)
        table = pd.DataFrame(self.records_)
        for name in self.norms:
            n_zero = int(np.isneginf(table[f"log_{name}"]).sum())
            if n_zero:
                warnings.warn(
                    f"log_{name} is minus infinity in {n_zero} of {len(table)} "
                    "records: a layer holds only zeros. Initialise it with non-zero "
                    "weights.",
                    ZeroNormWarning,
                    stacklevel=2,
                )
        self.trajectory_ = check_trajectories(table) if len(table) > 1 else table
        del self._train, self._test, self._tracker, self.records_

    def _begin(self, net: Any, dataset_train: Any) -> None:
        self._train = dataset_train
        self._n_batches = len(net.get_iterator(self._train, training=True))
        planned = record_steps(net.max_epochs * self._n_batches, self.n_records)
        self._planned = set(planned.tolist())
        self._tracker = self._make_tracker(net)
        self._test = None if self.eval_set is None else net.get_dataset(*self.eval_set)
        self._record(net)

    def _make_tracker(self, net: Any) -> NormTracker:
        """Return the tracker, with data or a shape where a norm depends on them."""
        names = tuple(self.norms)
        core = _core(net)
        known: dict[str, Any] = {}
        if "fisher_rao" in names:
            X, y = _spread(net, self._train, _DATA)
            known = {"X": _inputs_of_core(net, X), "y": y}
        elif "path" in names or self.conv == "operator":
            X, _ = _spread(net, self._train, 1)
            known = {"input_shape": tuple(_inputs_of_core(net, X).shape[1:])}
        return NormTracker(
            core,
            names,
            conv=self.conv,
            fold_normalization=self.fold_normalization,
            **known,
        )

    def _record(self, net: Any) -> None:
        row: dict[str, float] = {
            "train_size": len(self._train),
            "seed": self.seed,
            "epoch": self._step / self._n_batches,
            "step": self._step,
        }
        row["train_error"], row["train_loss"] = self._scores(net, self._train)
        if self._test is not None:
            row["test_error"], row["test_loss"] = self._scores(net, self._test)
            row["n_test"] = len(self._test)
        for name, value in self._tracker.compute().items():
            row[f"log_{name}"] = value
        self.records_.append(row)

    def _scores(self, net: Any, dataset: Any) -> tuple[float, float]:
        """Return error and mean loss; whoever trains many nets at once replaces it."""
        return checked_scores(*_evaluate(net, dataset))


def _plain_module(net: Any) -> nn.Module:
    """Return the net's module behind compilation."""
    return getattr(net.module_, "_orig_mod", net.module_)


def _core(net: Any) -> nn.Module:
    """Return the user's module behind compilation and the preparation of inputs."""
    module = _plain_module(net)
    return getattr(module, "core", module)


def _spread(net: Any, dataset: Any, n_wanted: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return samples that lie evenly in the order of a data set, and their labels."""
    n = len(dataset)
    wanted = np.unique(np.linspace(0, n - 1, min(n, n_wanted)).round().astype(int))
    samples, labels, start = [], [], 0
    for X, y in net.get_iterator(dataset, training=False):
        if not isinstance(X, torch.Tensor):
            raise ValueError(
                "fisher_rao, path and conv='operator' need a net that takes one "
                f"tensor, got batches of {type(X).__name__}. Leave them out."
            )
        here = wanted[(wanted >= start) & (wanted < start + len(X))] - start
        rows = torch.as_tensor(here)
        samples.append(X[rows.to(X.device)])
        labels.append(torch.as_tensor(y)[rows.to(y.device)])
        start += len(X)
        if start > wanted[-1]:
            break
    return torch.cat(samples), torch.cat(labels)


def _inputs_of_core(net: Any, X: torch.Tensor) -> torch.Tensor:
    """Return what the user's module is given when the net sees X, in evaluation."""
    module, core = _plain_module(net), _core(net)
    seen: list[torch.Tensor] = []
    handle = core.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        with evaluation_mode(module):
            module(X.to(net.device))
    finally:
        handle.remove()
    return seen[0].detach()


def _evaluate(net: Any, dataset: Any) -> tuple[float, float]:
    """Return error and mean loss of the net in evaluation mode."""
    wrong: Any = 0
    loss: Any = 0.0
    for batch in net.get_iterator(dataset, training=False):
        output = net.evaluation_step(batch, training=False)
        labels = torch.as_tensor(batch[1], device=output.device)
        with torch.no_grad():
            loss = loss + len(labels) * net.get_loss(output, labels, training=False)
            wrong = wrong + (output.argmax(dim=1) != labels).sum()
    n = len(dataset)
    return int(wrong) / n, float(loss) / n


def checked_scores(error: float, loss: float) -> tuple[float, float]:
    """Return error and mean loss, or raise if training has diverged."""
    if not math.isfinite(loss):
        raise ValueError(
            "training has diverged: the loss is not finite. Lower the learning rate."
        )
    return error, loss
