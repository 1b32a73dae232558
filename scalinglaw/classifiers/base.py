"""What all classifiers share: a skorch net that they own, and its trajectory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from skorch import NeuralNetClassifier
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
from .preparation import PreparedModule
from .recorder import NormRecorder

__all__ = ["RecordingClassifier"]

_OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}
# Evaluation keeps no gradients: larger batches are faster and fit as well.
_EVAL_BATCH = 1024
# Share of a GPU's free memory that the data may take; more of them stream.
_DEVICE_SHARE = 0.5


class RecordingClassifier(ClassifierMixin, BaseEstimator):
    """Base of the classifiers: training, recording, predicting.

    A subclass says what network it trains (`_build`), and names all its parameters
    in its own constructor, where scikit-learn looks for them.
    """

    def __init__(
        self,
        *,
        norms: Iterable[str] = ("spectral_complexity",),
        n_records: int = 50,
        max_epochs: int = 100,
        lr: float = 1e-3,
        batch_size: int = 128,
        optimizer: Any = "adam",
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        init_scale: float = 1.0,
        device: str = "auto",
        bfloat16: bool = False,
        compile: bool = False,
        random_state: int | None = None,
        callbacks: Any = None,
        verbose: int = 0,
    ):
        self.norms = norms
        self.n_records = n_records
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.init_scale = init_scale
        self.device = device
        self.bfloat16 = bfloat16
        self.compile = compile
        self.random_state = random_state
        self.callbacks = callbacks
        self.verbose = verbose

    def fit(self, X: Any, y: Any, eval_set: Any = None) -> RecordingClassifier:
        """Train, and record the trajectory.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.
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
        X, y = self._check_X_y(X, y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} needs samples of at least 2 classes, got "
                f"{len(self.classes_)} class: {self.classes_[0]!r}."
            )
        self.device_ = _device(self.device)
        held_out = None if eval_set is None else self._check_eval_set(*eval_set)
        X_train = self._to_device(X)
        targets = torch.as_tensor(codes, dtype=torch.long, device=X_train.device)
        # torch.nn draws initial weights from the global generator only.
        devices = [] if self.device_ == "cpu" else [torch.device(self.device_)]
        with torch.random.fork_rng(
            devices=[d for d in devices if d.type == "cuda"],
            enabled=self.random_state is not None,
        ):
            if self.random_state is not None:
                torch.manual_seed(self.random_state)
            recorder = NormRecorder(
                tuple(self.norms), self.n_records, held_out, self.random_state or 0
            )
            self.net_ = self._make_net(tuple(X.shape[1:]), recorder)
            self.net_.fit(X_train, targets)
        self.module_ = self.net_.module_
        self.module_ = getattr(self.module_, "_orig_mod", self.module_).core
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
        check_is_fitted(self)
        return self.net_.predict_proba(self._to_device(self._check_X(X)))

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
        return PreparedModule(core, bfloat16=self.bfloat16)

    def _make_net(
        self, input_shape: tuple[int, ...], recorder: NormRecorder
    ) -> NeuralNetClassifier:
        core = self._build(input_shape, len(self.classes_))
        if self.init_scale != 1.0:
            _scale_weights(core, self.init_scale)
        options: dict[str, Any] = {"optimizer__weight_decay": self.weight_decay}
        if self.optimizer == "sgd":
            options["optimizer__momentum"] = self.momentum
        seed = None
        if self.random_state is not None:
            seed = int(torch.randint(2**31 - 1, ()))
        return NeuralNetClassifier(
            self._prepare(core),
            criterion=nn.CrossEntropyLoss,
            optimizer=_OPTIMIZERS.get(self.optimizer, self.optimizer)
            if isinstance(self.optimizer, str)
            else self.optimizer,
            lr=self.lr,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            train_split=None,
            iterator_train=TensorBatches,
            iterator_train__shuffle=True,
            iterator_train__seed=seed,
            iterator_train__device=self.device_,
            iterator_valid=TensorBatches,
            iterator_valid__batch_size=_EVAL_BATCH,
            iterator_valid__device=self.device_,
            callbacks=[*(self.callbacks or []), ("recorder", recorder)],
            device=self.device_,
            compile=self.compile,
            classes=np.arange(len(self.classes_)),
            verbose=self.verbose,
            **options,
        )

    def _check_parameters(self) -> None:
        check_choices(self.norms, "norms", NORMS)
        check_integer(self.n_records, "n_records", minimum=2)
        check_integer(self.max_epochs, "max_epochs")
        check_integer(self.batch_size, "batch_size")
        check_number(self.lr, "lr", minimum=0.0)
        check_number(self.init_scale, "init_scale", minimum=0.0)
        check_number(self.weight_decay, "weight_decay", minimum=0.0, strict=False)
        check_seed(self.random_state)
        if isinstance(self.optimizer, str):
            check_option(self.optimizer, "optimizer", tuple(_OPTIMIZERS))

    def _check_X_y(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        X, y = validate_data(self, X, y, dtype=_dtypes(X), allow_nd=True)
        check_classification_targets(y)
        return X, y

    def _check_X(self, X: Any) -> np.ndarray:
        return validate_data(self, X, dtype=_dtypes(X), allow_nd=True, reset=False)

    def _check_eval_set(self, X: Any, y: Any) -> tuple[torch.Tensor, torch.Tensor]:
        X, y = self._check_X(X), np.asarray(y)
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
        data = self._to_device(X)
        codes = np.searchsorted(self.classes_, y)
        return data, torch.as_tensor(codes, dtype=torch.long, device=data.device)

    def _to_device(self, X: np.ndarray) -> torch.Tensor:
        """Return data as a tensor: on the device if it has room, else on the CPU."""
        # By way of a flat array: numpy leaves the stride of an axis of length one
        # (the channel of grey images) to chance, and torch chooses its convolution,
        # hence the last bits, by strides.
        flat = torch.from_numpy(np.ascontiguousarray(X).reshape(-1))
        tensor = flat.view(X.shape)
        if self.device_.startswith("cuda"):
            free, _ = torch.cuda.mem_get_info(self.device_)
            if X.nbytes > _DEVICE_SHARE * free:
                return tensor.pin_memory()
        return tensor.to(self.device_)


def _dtypes(X: Any) -> list[type]:
    """Return the types that data may keep: bytes stay bytes, the rest is float32."""
    return [np.float32, np.uint8] if getattr(X, "ndim", 2) > 2 else [np.float32]


def _device(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f'device must be "auto" or a torch device, got {device!r}.'
        ) from error
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f'device={device!r}, but torch sees no GPU. Use device="auto".'
        )
    return device


def _scale_weights(module: nn.Module, factor: float) -> None:
    """Multiply the initial weights of all layers; normalisation layers keep theirs."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(factor)
