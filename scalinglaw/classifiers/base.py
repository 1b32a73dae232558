"""What all classifiers share: a skorch net that they own, and its trajectory."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn

from .._validation import (
    check_choices,
    check_integer,
    check_number,
    check_option,
    check_seed,
)
from ..norms import NORMS
from .batches import TensorBatches
from .devices import as_array, as_tensor, evaluation_batch_size, resolve_device
from .preparation import PreparedModule
from .recorder import NormRecorder

__all__ = ["RecordingClassifier"]

_OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}
# torch's global generators belong to the process: threads that train take turns.
_GENERATORS = threading.RLock()
# Devices on which torch has Adam in one kernel.
_FUSED = ("cpu", "cuda")


class RecordingClassifier(ClassifierMixin, BaseEstimator):
    """Base of the classifiers: training, recording, predicting.

    A subclass says what network it trains (`_build`). Its constructor names and stores
    all parameters, those below too: scikit-learn looks for them there.
    """

    norms: Iterable[str]
    n_records: int
    conv: str
    fold_normalization: bool
    max_epochs: int
    lr: float
    batch_size: int
    optimizer: Any
    momentum: float
    weight_decay: float
    init_scale: float
    device: str
    bfloat16: bool
    compile: bool | str
    random_state: int | None
    callbacks: Any
    verbose: int

    def fit(self, X: Any, y: Any, eval_set: Any = None) -> RecordingClassifier:
        """Train, and record the trajectory.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples. Bytes of images, and others of more than two dimensions, stay bytes
            and are divided by 255 batch by batch; all else becomes single precision.
        y : array-like of shape (n_samples,)
            Labels of any type.
        eval_set : tuple (X_test, y_test), optional
            Held-out samples for ``test_error`` and ``test_loss``; without them the
            trajectory has only the training columns.

        Returns
        -------
        RecordingClassifier
            Itself.

        Raises
        ------
        ValueError
            If a parameter or the data are out of range, or training diverges.
        """
        self._check_parameters()
        for name in ("net_", "module_", "trajectory_"):
            # Should this fit fail, nothing of an earlier one is left to predict with.
            self.__dict__.pop(name, None)
        X, codes = self._check_training_data(X, y)
        held_out = None if eval_set is None else self._check_eval_set(*_pair(eval_set))
        data, targets = self._to_tensors(X, codes)
        recorder = self._make_recorder(held_out)
        with self._seeded():
            core = self._make_core(X.shape[1:])
            self.net_ = self._make_net(core, recorder, self._draw_batch_seed())
            self.net_.fit(data, targets)
        self.module_ = core
        self.trajectory_ = recorder.trajectory_
        recorder.eval_set = None  # or each fitted classifier would keep the test set
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Softmax of the network's output.
        """
        check_is_fitted(self, "net_")
        data = as_tensor(self._check_X(X), self.device_)
        return self.net_.predict_proba(data)

    def predict(self, X: Any) -> np.ndarray:
        """Return the label of each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels.
        """
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def _build(self, input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
        """Return a fresh network for the data."""
        raise NotImplementedError(f"{type(self).__name__} names no network.")

    def _prepare(self, core: nn.Module) -> PreparedModule:
        """Return the network behind what happens to each batch."""
        return PreparedModule(
            core, bfloat16=self.bfloat16, n_classes=len(self.classes_)
        )

    # The steps of fit, each on its own, for whoever trains several networks at once.

    @contextlib.contextmanager
    def _seeded(self) -> Iterator[None]:
        """Let `random_state` rule torch's generators, and leave them as they were.

        torch.nn draws initial weights, dropout and augmentation from the global
        generators only. Inside come, in this order, `_make_core`, `_draw_batch_seed`
        and training. Another thread that would draw from them waits.
        """
        with _GENERATORS:
            if self.random_state is None:
                yield
                return
            device = torch.device(self.device_)
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                torch.manual_seed(self.random_state)
                yield

    def _make_core(self, input_shape: tuple[int, ...]) -> nn.Module:
        """Return the network with its initial weights."""
        core = self._build(tuple(input_shape), len(self.classes_))
        for name, weight in core.named_parameters():
            if weight.is_floating_point() and weight.dtype != torch.float32:
                raise ValueError(
                    f"module must have float32 weights, as the data are, got "
                    f"{weight.dtype} in {name!r}. Call its float() method, and use "
                    "bfloat16=True for speed."
                )
        if self.init_scale != 1.0:
            _scale_weights(core, self.init_scale)
        return core

    def _draw_batch_seed(self) -> int | None:
        """Return the seed of the order of samples; None takes the global generator."""
        if self.random_state is None:
            return None
        return int(torch.randint(2**31 - 1, ()))

    def _make_recorder(
        self, held_out: tuple[torch.Tensor, torch.Tensor] | None
    ) -> NormRecorder:
        return NormRecorder(
            tuple(self.norms),
            self.n_records,
            held_out,
            seed=self.random_state or 0,
            conv=self.conv,
            fold_normalization=self.fold_normalization,
        )

    def _optimizer_settings(self) -> tuple[Any, dict[str, Any]]:
        """Return the optimiser's class and its arguments besides the learning rate."""
        if not isinstance(self.optimizer, str):
            return self.optimizer, self._decay_of(self.optimizer)
        options: dict[str, Any] = {"weight_decay": self.weight_decay}
        if self.optimizer == "sgd":
            options["momentum"] = self.momentum
        elif torch.device(self.device_).type in _FUSED:
            # One pass over the weights and not ten: a step of Adam takes a fifth to a
            # tenth of the time on a CPU.
            options["fused"] = True
        return _OPTIMIZERS[self.optimizer], options

    def _decay_of(self, optimizer: Any) -> dict[str, Any]:
        """Return the weight decay for an optimiser of the user's, if it takes any."""
        if "weight_decay" in inspect.signature(optimizer).parameters:
            return {"weight_decay": self.weight_decay}
        if self.weight_decay:
            name = getattr(optimizer, "__name__", optimizer)
            raise ValueError(
                f"weight_decay must be 0 for the optimizer {name}, which takes none, "
                f"got {self.weight_decay:g}."
            )
        return {}

    def _make_net(
        self, core: nn.Module, recorder: NormRecorder, batch_seed: int | None
    ) -> NeuralNetClassifier:
        """Return the skorch net that trains a network."""
        optimizer, settings = self._optimizer_settings()
        options = {f"optimizer__{name}": value for name, value in settings.items()}
        if isinstance(self.compile, str):
            options["compile__backend"] = self.compile
        return NeuralNetClassifier(
            self._prepare(core),
            criterion=nn.CrossEntropyLoss,
            optimizer=optimizer,
            lr=self.lr,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            train_split=None,
            iterator_train=TensorBatches,
            iterator_train__shuffle=True,
            iterator_train__seed=batch_seed,
            iterator_train__device=self.device_,
            iterator_valid=TensorBatches,
            iterator_valid__batch_size=evaluation_batch_size(self.device_),
            iterator_valid__device=self.device_,
            callbacks=[*(self.callbacks or []), ("recorder", recorder)],
            device=self.device_,
            compile=bool(self.compile),
            classes=np.arange(len(self.classes_)),
            verbose=self.verbose,
            **options,
        )

    def _check_training_data(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return samples and their classes' numbers; learn the labels."""
        X, y = self._check_X_y(X, y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} needs samples of at least 2 classes, got "
                f"{len(self.classes_)} class: {self.classes_[0]!r}."
            )
        self.device_ = resolve_device(self.device)
        return X, codes

    def _check_parameters(self) -> None:
        check_choices(self.norms, "norms", NORMS)
        check_integer(self.n_records, "n_records", minimum=2)
        check_option(self.conv, "conv", ("kernel", "operator"))
        check_integer(self.max_epochs, "max_epochs")
        check_integer(self.batch_size, "batch_size")
        check_number(self.lr, "lr", minimum=0.0)
        check_number(self.init_scale, "init_scale", minimum=0.0)
        check_number(self.weight_decay, "weight_decay", minimum=0.0, strict=False)
        check_seed(self.random_state)
        check_number(self.momentum, "momentum", minimum=0.0, strict=False)
        if not isinstance(self.callbacks, list | tuple | type(None)):
            raise TypeError(
                "callbacks must be a list of skorch callbacks, got "
                f"{type(self.callbacks).__name__}."
            )
        for callback in self.callbacks or ():
            named = isinstance(callback, tuple) and len(callback) == 2
            if not isinstance(callback[1] if named else callback, Callback):
                raise TypeError(
                    "callbacks must hold skorch callbacks or pairs (name, callback), "
                    f"got {callback!r}."
                )
        if not callable(self.optimizer):
            check_option(self.optimizer, "optimizer", tuple(_OPTIMIZERS))

    def _check_X_y(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        X = as_array(X)
        X, y = validate_data(self, X, y, dtype=_dtypes(X), allow_nd=True)
        check_classification_targets(y)
        self._input_shape = X.shape[1:]
        return X, y

    def _check_X(self, X: Any) -> np.ndarray:
        X = as_array(X)
        X = validate_data(self, X, dtype=_dtypes(X), allow_nd=True, reset=False)
        if X.shape[1:] != self._input_shape:
            raise ValueError(
                f"X must hold samples of shape {self._input_shape}, as in fit, got "
                f"{X.shape[1:]}."
            )
        return X

    def _check_eval_set(self, X: Any, y: Any) -> tuple[torch.Tensor, torch.Tensor]:
        X, y = self._check_X(X), column_or_1d(y)
        if len(X) != len(y):
            raise ValueError(
                f"eval_set must hold as many labels as samples, got {len(y)} for "
                f"{len(X)}."
            )
        unknown = np.setdiff1d(y, self.classes_)
        if unknown.size:
            raise ValueError(
                f"eval_set has the label {unknown.tolist()[0]!r}, which y has not: the "
                "test error would count a class that could not be learned."
            )
        return self._to_tensors(X, np.searchsorted(self.classes_, y))

    def _to_tensors(
        self, X: np.ndarray, codes: np.ndarray
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return samples, on the device if it has room, and targets, on it."""
        targets = torch.as_tensor(codes, dtype=torch.long, device=self.device_)
        return as_tensor(X, self.device_), targets


def _pair(eval_set: Any) -> Any:
    if not isinstance(eval_set, tuple | list) or len(eval_set) != 2:
        raise TypeError(
            f"eval_set must be a pair (X_test, y_test), got {type(eval_set).__name__}."
        )
    return eval_set


def _dtypes(X: Any) -> list[type]:
    """Return the types that data may keep: bytes stay bytes, the rest is float32."""
    return [np.float32, np.uint8] if getattr(X, "ndim", 2) > 2 else [np.float32]


def _scale_weights(module: nn.Module, factor: float) -> None:
    """Multiply all matrices, kernels and tables; biases and normalisation stay."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(factor)
