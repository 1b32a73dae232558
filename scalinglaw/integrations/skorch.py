"""The skorch callback that records norms and errors during training."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import IterableDataset, Subset

from .._undisturbed import undisturbed
from ..norms import NormTracker
from ..recorder import TrajectoryRecorder
from ._scores import ScoreSums, as_logits, check_converged

__all__ = ["NormRecorder"]

# Training samples for norms that depend on data, at every record of a run.
_DATA = 256


class NormRecorder(Callback):
    """Record log-norms, losses and errors at log-spaced steps of training.

    A :class:`~scalinglaw.TrajectoryRecorder` as a callback, for any skorch net that
    classifies: of one output or several, of dense labels, with class weights. What
    the net's ``train_split`` holds out for validation is no training data. The first
    record is taken before the first step, the last after the last. Where a callback
    brings back earlier weights at the end, as ``EarlyStopping(load_best=True)`` does,
    the last row is the state before that.

    ``fisher_rao`` is taken on at most 256 training samples, spread evenly over the
    training set and the same at every record; it takes the net's outputs as logits.
    Losses are the net's ``get_loss`` with ``training=False``.

    Parameters
    ----------
    norms : sequence of str, default=("spectral_complexity",)
        Names among ``scalinglaw.norms.NORMS``.
    n_records : int, default=50
        Records of a run.
    eval_set : tuple (X_test, y_test), or Dataset, optional
        Held-out data, in the form that the net takes; labels as the net's criterion
        takes them.
    seed : int, default=0
        Written into the column ``seed``.
    conv : {"kernel", "operator"}, default="kernel"
        What the matrix of a convolution is; see ``scalinglaw.norms.compute_norms``.
    fold_normalization : bool, default=False
        Whether batch normalisation counts with its scale in evaluation; see
        ``scalinglaw.norms.compute_norms``.
    subset_train_error : bool, default=False
        Take the training error and loss on a fixed subset of the training samples,
        spread evenly over the training set and no larger than the test set.
    train_size : int, optional
        Number of training samples, where the training data have no length.
    n_batches : int, optional
        Batches in an epoch, where the training data have no length.

    Attributes
    ----------
    records_ : list of dict
        During training, the rows of the table so far, for other callbacks to read.
    trajectory_ : DataFrame
        After training, the run's trajectory table: ``train_size``, ``seed``, ``epoch``
        (fractional), ``step``, ``train_error``, ``train_loss`` (mean nats),
        ``test_error``, ``test_loss``, ``n_test`` and ``log_<norm>``. Steps are the
        optimiser's, fewer than batches where a net accumulates gradients. Of dense
        labels there is no ``n_test``: neighbours are not independent.

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
        subset_train_error: bool = False,
        train_size: int | None = None,
        n_batches: int | None = None,
    ) -> None:
        self.norms = norms
        self.n_records = n_records
        self.eval_set = eval_set
        self.seed = seed
        self.conv = conv
        self.fold_normalization = fold_normalization
        self.subset_train_error = subset_train_error
        self.train_size = train_size
        self.n_batches = n_batches

    def on_train_begin(
        self, net: Any, X: Any = None, y: Any = None, **kwargs: Any
    ) -> None:
        """Forget an earlier run.

        Parameters
        ----------
        net : skorch net
            The net that is trained.
        X, y : object
            Unused.
        **kwargs : dict
            Unused.
        """
        self._recorder: TrajectoryRecorder | None = None
        self._hooks: list[Any] = []
        self._n_seen = 0
        self._n_stepped = 0

    @property
    def records_(self) -> list[dict[str, Any]]:
        """Rows of the table so far."""
        return self._recorder.records if self._recorder else []

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
        if self._recorder is None:
            self._begin(net, dataset_train)

    def on_batch_end(
        self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        """Count the optimiser's step, and take a record if one is planned after it.

        Parameters
        ----------
        net : skorch net
            The net that is trained.
        batch : object
            Unused.
        training : bool
            Whether this was a batch of training.
        **kwargs : dict
            Unused.
        """
        if not training or self._recorder is None:
            return
        self._n_seen += 1
        if self._every_batch:
            self._n_stepped += 1
        if self._n_stepped == self._recorder.n_steps_done:
            return  # gradients are accumulated
        if self._recorder.n_steps_done == 0 and self._n_seen > 1:
            # So many batches make a step.
            n_steps = self._batches / self._n_seen
            self._recorder.plan(max(int(n_steps * net.max_epochs), 1), n_steps)
        self._recorder.step()

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
        # A run of no epochs has not begun.
        recorder = self._recorder or self._begin(net, net.get_dataset(X, y))
        # A stop by another callback may have kept the last step from being counted,
        # and is an end too.
        if self._n_stepped > recorder.n_steps_done:
            recorder.step()
        recorder.finish()
        for hook in self._hooks:
            hook.remove()
        self.trajectory_ = recorder.trajectory_
        recorder.warn_of_zeros()
        del self._recorder, self._hooks

    def _begin(self, net: Any, dataset_train: Any) -> TrajectoryRecorder:
        n_train, self._batches = self._lengths(net, dataset_train)
        test = None
        if self.eval_set is not None:
            pair = isinstance(self.eval_set, tuple | list)
            test = net.get_dataset(*(self.eval_set if pair else (self.eval_set,)))
        train = dataset_train
        if self.subset_train_error and test is not None and len(test) < n_train:
            train = _thinned(dataset_train, len(test))

        # A net of ours may replay a step of which its optimiser knows nothing.
        optimizer: Any = getattr(net, "optimizer_", None)
        self._every_batch = getattr(
            net, "steps_on_every_batch", not isinstance(optimizer, Optimizer)
        )
        if not self._every_batch:
            self._hooks.append(optimizer.register_step_post_hook(self._count_step))
        self._recorder = TrajectoryRecorder(
            _core(net),
            n_steps=net.max_epochs * self._batches,
            train_size=n_train,
            seed=self.seed,
            n_records=self.n_records,
            norms=self._make_tracker(net, dataset_train),
            # No closure: a checkpoint may pickle the net.
            evaluate=functools.partial(
                _evaluate, net, {"train": train, "test": test}, n_train
            ),
            steps_per_epoch=self._batches,
        )
        return self._recorder

    def _count_step(self, *args: Any) -> None:
        self._n_stepped += 1

    def _lengths(self, net: Any, dataset: Any) -> tuple[int, int]:
        """Return numbers of training samples and of batches in an epoch."""
        unknown = isinstance(dataset, IterableDataset) and not hasattr(
            dataset, "__len__"
        )
        if unknown and (self.train_size is None or self.n_batches is None):
            raise ValueError(
                "the training data have no length: give NormRecorder train_size=, "
                "their number, and n_batches=, the batches in an epoch."
            )
        n_train = len(dataset) if self.train_size is None else self.train_size
        if self.n_batches is not None:
            return n_train, self.n_batches
        return n_train, len(net.get_iterator(dataset, training=True))

    def _make_tracker(self, net: Any, dataset: Any) -> NormTracker:
        """Return the tracker, with data or a shape where a norm depends on them."""
        names = tuple(self.norms)
        known: dict[str, Any] = {}
        if "fisher_rao" in names:
            X, y = _spread(net, dataset, _DATA)
            known = {"X": _inputs_of_core(net, X), "y": y}
        elif "path" in names or self.conv == "operator":
            X, _ = _spread(net, dataset, 1)
            known = {"input_shape": tuple(_inputs_of_core(net, X).shape[1:])}
        return NormTracker(
            _core(net),
            names,
            conv=self.conv,
            fold_normalization=self.fold_normalization,
            **known,
        )


def _plain_module(net: Any) -> nn.Module:
    """Return the net's module behind compilation."""
    return getattr(net.module_, "_orig_mod", net.module_)


def _core(net: Any) -> nn.Module:
    """Return the user's module behind compilation and the preparation of inputs."""
    module = _plain_module(net)
    return getattr(module, "core", module)


def _evenly(n: int, n_wanted: int) -> np.ndarray:
    return np.unique(np.linspace(0, n - 1, min(n, n_wanted)).round().astype(int))


def _thinned(dataset: Any, n_wanted: int) -> Any:
    """Return a data set of samples that lie evenly in the order of another."""
    rows = _evenly(len(dataset), n_wanted)
    if hasattr(dataset, "take_rows"):
        return dataset.take_rows(rows)
    return Subset(dataset, rows.tolist())


def _spread(net: Any, dataset: Any, n_wanted: int) -> tuple[Tensor, Tensor]:
    """Return samples that lie evenly in the order of a data set, and their labels."""
    wanted = _evenly(len(dataset), n_wanted)
    samples, labels, start = [], [], 0
    for X, y in net.get_iterator(dataset, training=False):
        if not isinstance(X, Tensor):
            raise ValueError(
                "fisher_rao, path and conv='operator' need a net that takes one "
                f"tensor, got batches of {type(X).__name__}. Leave them out."
            )
        here = wanted[(wanted >= start) & (wanted < start + len(X))] - start
        rows = torch.as_tensor(here)
        y = torch.as_tensor(_labels(y)[0])
        samples.append(X[rows.to(X.device)])
        labels.append(y[rows.to(y.device)])
        start += len(X)
        if start > wanted[-1]:
            break
    return torch.cat(samples), torch.cat(labels)


def _labels(y: Any) -> tuple[Any, Any]:
    """Return labels and the weights of their samples, if a batch has any."""
    if isinstance(y, tuple | list):
        labels, weight = y
        return labels, weight
    return y, None


def _inputs_of_core(net: Any, X: Tensor) -> Tensor:
    """Return what the user's module is given when the net sees X, in evaluation."""
    module, core = _plain_module(net), _core(net)
    seen: list[Tensor] = []
    handle = core.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        with undisturbed(module):
            module(X.to(net.device))
    finally:
        handle.remove()
    return seen[0].detach()


def _evaluate(net: Any, datasets: dict[str, Any], n_train: int) -> dict[str, float]:
    """Return the columns of all data sets, after one transfer from the device."""
    sums = {
        name: _sums(net, dataset, n_train)
        for name, dataset in datasets.items()
        if dataset is not None
    }
    values = torch.stack([total for total, _ in sums.values()]).tolist()
    row: dict[str, float] = {}
    for (wrong, n_labels, loss, over), (name, (_, n)) in zip(
        values, sums.items(), strict=True
    ):
        error, mean = check_converged(wrong / n_labels, loss / over)
        row[f"{name}_error"], row[f"{name}_loss"] = error, mean
        if name == "test" and n is not None:
            row["n_test"] = n
    return row


def _sums(net: Any, dataset: Any, at_most: int) -> tuple[Tensor, int | None]:
    """Return the sums of :class:`ScoreSums`, and how many samples have one label."""
    criterion = getattr(net, "criterion_", None)
    scores = ScoreSums(criterion, getattr(net, "threshold", 0.5))
    endless = isinstance(dataset, IterableDataset)
    n, dense = 0, False
    for batch in net.get_iterator(dataset, training=False):
        output = net.evaluation_step(batch, training=False)
        logits = as_logits(output)
        y, weight = _labels(batch[1])
        labels = torch.as_tensor(y, device=logits.device)
        with torch.no_grad():
            seen = labels if weight is None else (labels, weight)
            loss = net.get_loss(output, seen, training=False)
            scores.add(logits, labels, torch.as_tensor(loss), weight)
        n, dense = n + len(labels), labels.dim() > 1 and logits.dim() > 2
        if endless and n >= at_most:
            break
    return scores.sums, None if dense else n
