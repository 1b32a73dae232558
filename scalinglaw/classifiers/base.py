"""Classifiers that own a skorch net and record their trajectory."""

from __future__ import annotations

import copy
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

__all__ = ["TrajectoryClassifier"]

_OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}
# Evaluation keeps no gradients: larger batches are faster and fit as well.
_EVAL_BATCH = 1024
# Share of a GPU's free memory that the data may take; more of them stream.
_DEVICE_SHARE = 0.5


def perceptron_module(input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    """Return a one-hidden-layer perceptron for vectors.

    Parameters
    ----------
    input_shape : tuple of int
        ``(n_features,)``.
    n_classes : int
        Outputs.

    Returns
    -------
    nn.Module
        With 100 hidden rectified linear units.

    Raises
    ------
    ValueError
        If samples are no vectors.
    """
    if len(input_shape) != 1:
        raise ValueError(
            f"module=None is a network for 2-D X, got samples of shape {input_shape}. "
            "Pass a module, or use CNNClassifier for images."
        )
    hidden = 100
    return nn.Sequential(
        nn.Linear(input_shape[0], hidden), nn.ReLU(), nn.Linear(hidden, n_classes)
    )


class TrajectoryClassifier(ClassifierMixin, BaseEstimator):
    """Train any torch module, recording norms and errors on the way.

    A scikit-learn classifier that owns a skorch net. Training uses cross-entropy;
    records are log-spaced in optimiser steps, from before the first to the last.

    Parameters
    ----------
    module : nn.Module, callable or None, default=None
        A network, copied at each fit; or ``module(input_shape, n_classes)`` that
        returns one, such as a class. None is a one-hidden-layer perceptron.
    norms : sequence of str, default=("spectral_complexity",)
        Norms to record, among ``scalinglaw.norms.NORMS``.
    n_records : int, default=50
        Records of a run.
    max_epochs : int, default=100
        Passes over the training data.
    lr : float, default=1e-3
        Learning rate.
    batch_size : int, default=128
        Samples in a batch.
    optimizer : {"adam", "adamw", "sgd"} or torch optimiser class, default="adam"
        ``"sgd"`` takes `momentum`.
    momentum : float, default=0.9
        Of ``optimizer="sgd"``.
    weight_decay : float, default=0.0
        Of the optimiser.
    init_scale : float, default=1.0
        Factor on all initial parameters of weight layers.
    device : str, default="auto"
        torch device; "auto" takes a GPU if there is one.
    bfloat16 : bool, default=False
        Run the network under autocast to bfloat16.
    compile : bool, default=False
        Compile the network by ``torch.compile``.
    random_state : int or None, default=None
        Determines initial weights and batches; two fits on one CPU are then equal to
        the last bit. torch's global generator is left as it was.
    callbacks : list of skorch callbacks or None, default=None
        Such as a learning-rate schedule.
    verbose : int, default=0
        skorch's: 1 prints a line per epoch.

    Attributes
    ----------
    trajectory_ : DataFrame
        The trajectory table of this run.
    net_ : skorch.NeuralNetClassifier
        The trained net; its ``history`` is skorch's log.
    module_ : nn.Module
        The trained network, without the preparation of its inputs.
    classes_ : ndarray of shape (n_classes,)
        Labels.
    device_ : str
        Where training ran.
    n_features_in_ : int
        Second entry of the shape of X.

    References
    ----------
    .. [1] D'Amico, Bocchi and Negri (2025), arXiv:2505.13230.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from scalinglaw import TrajectoryClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = TrajectoryClassifier(max_epochs=50, lr=0.01, random_state=0)
    >>> classifier.fit(X, y).score(X, y) > 0.9
    True
    >>> "log_spectral_complexity" in classifier.trajectory_
    True
    """

    def __init__(
        self,
        module: Any = None,
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
        self.module = module
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

    def fit(self, X: Any, y: Any, eval_set: Any = None) -> TrajectoryClassifier:
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
        TrajectoryClassifier
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
        codes = torch.as_tensor(codes, dtype=torch.long, device=X_train.device)
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
            self.net_.fit(X_train, codes)
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
        """Return a fresh network; subclasses name their architecture here."""
        if self.module is None:
            return perceptron_module(input_shape, n_classes)
        if isinstance(self.module, nn.Module):
            return copy.deepcopy(self.module)
        built = self.module(input_shape, n_classes)
        if not isinstance(built, nn.Module):
            raise TypeError(
                "module(input_shape, n_classes) must return an nn.Module, got "
                f"{type(built).__name__}."
            )
        return built

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
        if not (self.module is None or callable(self.module)):
            raise TypeError(
                "module must be an nn.Module, a callable module(input_shape, "
                f"n_classes), or None, got {self.module!r}."
            )
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
                f"eval_set has the label {unknown[0]!r}, which y has not: the test "
                "error would count a class that could not be learned."
            )
        data = self._to_device(X)
        codes = np.searchsorted(self.classes_, y)
        return data, torch.as_tensor(codes, dtype=torch.long, device=data.device)

    def _to_device(self, X: np.ndarray) -> torch.Tensor:
        """Return data as a tensor: on the device if it has room, else on the CPU."""
        tensor = torch.from_numpy(np.ascontiguousarray(X))
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
