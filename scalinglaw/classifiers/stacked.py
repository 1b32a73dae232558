r"""Several runs trained side by side, as one stacked network.

Small networks leave a processor waiting for Python: a step of a perceptron with a
hundred hidden units takes longer to launch than to compute. Runs that differ in seed
and samples alone have equal shapes at every step, so that their weights can be
stacked and trained by one call per operation (``torch.func.vmap``).

Nothing of a run changes but the order of sums in floating point: initial weights,
batches and records are made by the classifiers themselves, with their own seeds, and
the loss is a sum over runs whose gradients do not mix. Optimisers act on each weight
alone, hence on a stack as on its members. What does not fit this picture is trained
one by one, and `why_single` says why.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from sklearn.base import clone
from skorch import NeuralNetClassifier
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from .base import RecordingClassifier
from .devices import evaluation_batch_size
from .recorder import NormRecorder, checked_scores, record_steps

__all__ = ["fit_stacked", "why_single", "work_per_layer"]

# Optimisers that treat every weight by itself, whatever its neighbours.
_ELEMENTWISE = ("adam", "adamw", "sgd")
_CACHE_LINE = 64  # bytes, and the width of the widest vector instructions
_RANDOM = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


def why_single(classifier: Any, X: Any, y: Any) -> str:
    """Return why runs of a classifier cannot be stacked, or nothing if they can.

    Two copies make one step side by side, since nothing else tells whether a module
    of the user's can be stacked.

    Parameters
    ----------
    classifier : classifier
        It is cloned.
    X : array-like of shape (n_samples, ...)
        A few samples, with every class.
    y : array-like of shape (n_samples,)
        Their labels.

    Returns
    -------
    str
        The reason, empty if there is none.
    """
    if not isinstance(classifier, RecordingClassifier):
        return f"{type(classifier).__name__} is no network"
    if classifier.optimizer not in _ELEMENTWISE:
        return "another optimizer may mix the weights of several runs"
    for name in ("callbacks", "verbose", "compile", "bfloat16"):
        if getattr(classifier, name):
            return f"{name} is set, which is made for one net"
    if getattr(classifier, "augment", False):
        return "augment draws random numbers, which a stack would order anew"
    try:
        runs = [_Run.start(_clone(classifier), X, y, None) for _ in range(2)]
        for part in runs[0].net.module_.modules():
            if isinstance(part, _RANDOM) and part.p > 0:
                return "dropout draws random numbers, which a stack would order anew"
        with warnings.catch_warnings():
            # Without a batching rule torch loops over the runs, and slows down.
            warnings.filterwarnings("error", message=".*batching rule")
            _Stack(runs).step([(run.data, run.targets) for run in runs])
    except Exception as error:
        text = str(error).strip() or type(error).__name__
        return f"its network cannot be stacked ({text.splitlines()[0]})"
    return ""


def work_per_layer(classifier: RecordingClassifier, X: Any, y: Any) -> float:
    """Return the multiply-adds of a forward pass, per sample and weight layer.

    Parameters
    ----------
    classifier : classifier
        It is cloned.
    X : array-like of shape (n_samples, ...)
        A few samples, with every class.
    y : array-like of shape (n_samples,)
        Their labels.

    Returns
    -------
    float
        The mean over layers; what is no product of matrices costs nothing here.
    """
    run = _Run.start(_clone(classifier), X, y, None)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run.net.module_(run.data)
    layers = sum(parameter.dim() > 1 for parameter in run.core.parameters())
    return counter.get_total_flops() / 2 / len(run.data) / max(layers, 1)


def fit_stacked(
    classifiers: Sequence[RecordingClassifier],
    data: Sequence[tuple[Any, Any]],
    eval_set: tuple[Any, Any] | None = None,
) -> list[RecordingClassifier | ValueError]:
    """Fit classifiers that differ in ``random_state`` only, side by side.

    Parameters
    ----------
    classifiers : sequence of classifiers
        Each is fitted in place, as by its own ``fit``; but ``net_.history`` stays
        empty.
    data : sequence of tuple (X, y)
        Training samples and labels of each, all of one length.
    eval_set : tuple (X_test, y_test), optional
        Held-out samples that all of them share.

    Returns
    -------
    list of classifier or ValueError
        The fitted classifiers; in place of one whose training diverged, the error
        that its own ``fit`` would have raised.

    Raises
    ------
    ValueError
        If the runs differ in number of samples or in classes, or a parameter or the
        data are out of range.
    """
    if len({len(y) for _, y in data}) != 1:
        raise ValueError("data must hold as many samples for each of the classifiers.")
    runs: list[_Run] = []
    held_out = None
    for classifier, (X, y) in zip(classifiers, data, strict=True):
        runs.append(_Run.start(classifier, X, y, held_out))
        if eval_set is not None and held_out is None:
            # One copy of the test set for all of them.
            held_out = classifier._check_eval_set(*eval_set)
            runs[0].recorder.eval_set = held_out
    if len({len(run.classifier.classes_) for run in runs}) != 1:
        raise ValueError("data must have the same classes for each of the classifiers.")
    stack = _Stack(runs)
    stack.evaluate(held_out)
    for run in runs:
        run.tell("on_train_begin")
        run.tell("on_epoch_begin", dataset_train=run.dataset())
    iterators = [run.batches() for run in runs]
    n_steps = classifiers[0].max_epochs * len(iterators[0])
    planned = set(record_steps(n_steps, classifiers[0].n_records).tolist())
    for _ in range(classifiers[0].max_epochs):
        for batches in zip(*iterators, strict=True):
            stack.step(batches)
            if stack.n_steps in planned:
                stack.evaluate(held_out)
            for run in runs:
                run.tell("on_batch_end", training=True)
        if all(run.error for run in runs):
            break
    for run in runs:
        run.tell("on_train_end")
    return [run.finish() for run in runs]


def _clone(classifier: RecordingClassifier) -> Any:
    # With a seed it leaves torch's global generator alone.
    return clone(classifier).set_params(random_state=0)


@dataclass
class _Run:
    """One of the runs, made by its own classifier."""

    classifier: RecordingClassifier
    core: nn.Module
    net: NeuralNetClassifier
    recorder: NormRecorder
    data: Tensor
    targets: Tensor
    error: ValueError | None = None
    scores: dict[bool, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def start(
        cls, classifier: RecordingClassifier, X: Any, y: Any, held_out: Any
    ) -> _Run:
        """Do what the classifier's ``fit`` does before the first step."""
        classifier._check_parameters()
        X, codes = classifier._check_training_data(X, y)
        data, targets = classifier._to_tensors(X, codes)
        recorder = classifier._make_recorder(held_out)
        with classifier._seeded():
            core = classifier._make_core(X.shape[1:])
            seed = classifier._draw_batch_seed()
        net = classifier._make_net(core, recorder, seed).initialize()
        run = cls(classifier, core, net, recorder, data, targets)
        # The stack evaluates all runs at once; each recorder takes its own.
        recorder._scores = run.look_up  # type: ignore[method-assign]
        return run

    def look_up(self, net: Any, dataset: Any) -> tuple[float, float]:
        """Return error and mean loss that the stack found for this run."""
        return checked_scores(*self.scores[dataset is self.recorder._train])

    def dataset(self) -> Any:
        """Return the data as the net would train on them."""
        return self.net.get_dataset(self.data, self.targets)

    def batches(self) -> Any:
        """Return the iterator that the net would train on."""
        return self.net.get_iterator(self.dataset(), training=True)

    def tell(self, event: str, *args: Any, **kwargs: Any) -> None:
        """Let the recorder do its work, until the run has diverged."""
        if self.error is None:
            try:
                getattr(self.recorder, event)(self.net, *args, **kwargs)
            except ValueError as error:
                self.error = error

    def finish(self) -> RecordingClassifier | ValueError:
        """Give the classifier what its own ``fit`` would have left there."""
        if self.error is not None:
            return self.error
        for tensor in (*self.core.parameters(), *self.core.buffers()):
            # Or it would keep the weights of all its neighbours in memory.
            tensor.data = tensor.data.clone()
        classifier = self.classifier
        classifier.net_, classifier.module_ = self.net, self.core
        classifier.trajectory_ = self.recorder.trajectory_
        self.recorder.eval_set = None
        del self.recorder._scores
        return classifier


class _Stack:
    """The weights of all runs, stacked, with one optimiser."""

    def __init__(self, runs: Sequence[_Run]) -> None:
        # vmap knows one memory format.
        plain = torch.contiguous_format
        modules = [run.net.module_.to(memory_format=plain) for run in runs]
        self._parameters, self._buffers = stack_module_state(modules)
        for i, module in enumerate(modules):
            # Each run's own module becomes a view, for its records and its end.
            for name, parameter in module.named_parameters():
                parameter.data = self._parameters[name].data[i]
            for name, buffer in module.named_buffers():
                buffer.data = self._buffers[name].data[i]
        classifier = runs[0].classifier
        optimizer, options = classifier._optimizer_settings()
        trained = [p for p in self._parameters.values() if p.requires_grad]
        self._optimizer = optimizer(
            _parameter_groups(trained, options.pop("fused", None)),
            lr=classifier.lr,
            **options,
        )
        # Called with the weights of the stack; its own are never used.
        self._module = copy.deepcopy(modules[0])
        self._module.channels_last = False
        self._runs = runs
        self.n_steps = 0

    def _call(self, parameters: Any, buffers: Any, X: Tensor) -> Tensor:
        return functional_call(self._module, (parameters, buffers), (X,))

    def step(self, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Make one step of the optimiser with the batch of each run."""
        X = torch.stack([samples for samples, _ in batches])
        y = torch.stack([labels for _, labels in batches])
        self._module.train()
        logits = vmap(self._call)(self._parameters, self._buffers, X)
        # A sum over runs of their means: no gradient crosses from run to run.
        total = functional.cross_entropy(
            logits.flatten(0, 1), y.flatten(), reduction="sum"
        )
        (total / y.shape[1]).backward()
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.n_steps += 1

    def evaluate(self, held_out: tuple[Tensor, Tensor] | None) -> None:
        """Give each run its error and mean loss, on its own and on held-out data."""
        own = [(run.data, run.targets) for run in self._runs]
        for run, scores in zip(self._runs, self._scores_on(own), strict=True):
            run.scores[True] = scores
        if held_out is not None:
            for run, scores in zip(self._runs, self._scores_on(held_out), strict=True):
                run.scores[False] = scores

    @torch.no_grad()
    def _scores_on(self, data: Any) -> list[tuple[float, float]]:
        """Return error and mean loss of each run, on data of its own or of all."""
        shared = isinstance(data, tuple)
        parts = [data] if shared else data
        n, device = len(parts[0][0]), parts[0][1].device
        size = evaluation_batch_size(device.type)
        forward = vmap(self._call, in_dims=(0, 0, None if shared else 0))
        self._module.eval()
        wrong: Any = 0
        loss: Any = 0.0
        for start in range(0, n, size):
            rows = slice(start, start + size)
            X = torch.stack([samples[rows].to(device) for samples, _ in parts])
            y = torch.stack([labels[rows] for _, labels in parts])
            logits = forward(self._parameters, self._buffers, X[0] if shared else X)
            y = y.expand(len(logits), -1)
            found = functional.cross_entropy(
                logits.flatten(0, 1), y.flatten(), reduction="none"
            )
            loss = loss + found.view(y.shape).sum(dim=1)
            wrong = wrong + (logits.argmax(dim=2) != y).sum(dim=1)
        pairs = zip(wrong.tolist(), loss.tolist(), strict=True)
        return [(n_wrong / n, total / n) for n_wrong, total in pairs]


def _parameter_groups(
    stacked: Sequence[nn.Parameter], fused: bool | None
) -> list[dict[str, Any]]:
    """Return the parameters in groups that take the fused optimiser or not.

    It rounds the entries of the last, unfinished cache line of a tensor in its own way.
    Where the weights of a run do not fill theirs, what comes of them would depend on
    the run's place in the stack.
    """
    groups: list[dict[str, Any]] = []
    for fills in (True, False):
        members = [p for p in stacked if _fills_cache_lines(p[0]) == fills]
        if members:
            groups.append({"params": members, "fused": fused if fills else None})
    return groups


def _fills_cache_lines(weights: Tensor) -> bool:
    return weights.numel() * weights.element_size() % _CACHE_LINE == 0
