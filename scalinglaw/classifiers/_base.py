"""What all classifiers share: a skorch net that they own, and its trajectory."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    check_is_fitted,
    check_X_y,
    column_or_1d,
    validate_data,
)
from skorch.callbacks import Callback
from torch import nn

from .._validation import (
    check_choices,
    check_integer,
    check_number,
    check_option,
    check_seed,
)
from ..integrations.skorch import NormRecorder
from ..norms import NORMS
from ._batches import TensorBatches, TensorData
from ._devices import as_array, as_tensor, evaluation_batch_size, resolve_device
from ._net import TrajectoryNet
from ._numerics import PRECISIONS, numerics
from ._optimizers import OPTIMIZERS, optimizer_settings
from ._preparation import PreparedModule

__all__ = ["RecordingClassifier"]

# torch's global generators belong to the process: threads that train take turns.
_GENERATORS = threading.RLock()


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
    criterion: Any
    optimizer: Any
    momentum: float
    weight_decay: float
    init_scale: float
    device: str
    precision: str
    deterministic: bool
    subset_train_error: bool
    random_state: int | None
    callbacks: Any
    verbose: int

    # Metadata that `fit` takes beside those in its signature. scikit-learn's check that
    # a weight of two is a sample twice asks for seven digits, where training in single
    # precision has six; it applies to estimators that name `sample_weight` there.
    __metadata_request__fit = {"sample_weight": None}  # noqa: RUF012

    def fit(
        self, X: Any, y: Any, eval_set: Any = None, **fit_params: Any
    ) -> RecordingClassifier:
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
        **fit_params : dict
            ``sample_weight``, array-like of shape (n_samples,): factors on the losses
            of the samples, and on what they add to ``train_error`` and ``train_loss``.
            Only their ratios matter; a sample of weight zero is left out.

        Returns
        -------
        RecordingClassifier
            Fitted classifier.

        Raises
        ------
        TypeError
            If a parameter is of a wrong kind, or unknown.
        ValueError
            If a parameter or the data are out of range, or training diverges.
        """
        self._forget()
        try:
            self._train(X, y, eval_set, **fit_params)
        except BaseException:
            # A fit that fails leaves nothing to predict with.
            self._forget()
            raise
        return self

    def _forget(self) -> None:
        """Remove what an earlier fit has learned."""
        for name in [n for n in vars(self) if n.endswith("_")]:
            delattr(self, name)

    def _train(
        self, X: Any, y: Any, eval_set: Any = None, sample_weight: Any = None
    ) -> None:
        self._check_parameters()
        X, codes, weight = self._check_training_data(X, y, sample_weight)
        held_out = None if eval_set is None else self._check_eval_set(*_pair(eval_set))
        data = self._to_data(X, codes, weight)
        recorder = self._make_recorder(held_out)
        with self._seeded(), self._numerics():
            core = self._make_core(X.shape[1:])
            net = self._make_net(core, recorder, self._draw_batch_seed())
            net.fit(data, None)
        recorder.eval_set = None  # or each fitted classifier would keep the test set
        self.eager_reason_ = net.eager_reason_
        self.net_, self.module_, self.trajectory_ = net, core, recorder.trajectory_

    def _numerics(self) -> contextlib.AbstractContextManager[None]:
        return numerics(self.precision, self.deterministic, self.device_)

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
        with self._numerics():
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
            core,
            bfloat16=self.precision == "bfloat16",
            n_classes=len(self.classes_),
        )

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
                    f"{weight.dtype} in {name!r}. Call its float() method; "
                    'precision="bfloat16" is for speed.'
                )
        if not any(weight.requires_grad for weight in core.parameters()):
            raise ValueError(
                "module has no parameter to train: it holds none, or all are frozen. "
                "Set requires_grad of those that shall be trained."
            )
        if self.init_scale != 1.0:
            _scale_weights(core, self.init_scale)
        return core

    def _draw_batch_seed(self) -> int | None:
        """Return the seed of the order of samples; None takes the global generator."""
        if self.random_state is None:
            return None
        return int(torch.randint(2**31 - 1, ()))

    def _make_recorder(self, held_out: TensorData | None) -> NormRecorder:
        return NormRecorder(
            tuple(self.norms),
            self.n_records,
            held_out,
            seed=self.random_state or 0,
            conv=self.conv,
            fold_normalization=self.fold_normalization,
            subset_train_error=self.subset_train_error,
        )

    def _make_net(
        self, core: nn.Module, recorder: NormRecorder, batch_seed: int | None
    ) -> TrajectoryNet:
        """Return the skorch net that trains a network."""
        optimizer, settings = optimizer_settings(
            self.optimizer, self.momentum, self.weight_decay, self.device_
        )
        return TrajectoryNet(
            self._prepare(core),
            criterion=nn.CrossEntropyLoss if self.criterion is None else self.criterion,
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
            # The recorder comes first: a callback may end training or, at the end,
            # bring back the best weights, and the last row is the state before that.
            callbacks=[("recorder", recorder), *(self.callbacks or [])],
            predict_nonlinearity=functools.partial(torch.softmax, dim=-1),
            device=self.device_,
            classes=np.arange(len(self.classes_)),
            verbose=self.verbose,
            **{f"optimizer__{name}": value for name, value in settings.items()},
        )

    def _check_training_data(
        self, X: Any, y: Any, sample_weight: Any = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return samples, numbers of their classes and weights; learn the labels."""
        X, y = self._check_X_y(X, y)
        weight = None
        if sample_weight is not None:
            weight = _check_weights(sample_weight, len(X))
            X, y, weight = X[weight > 0], y[weight > 0], weight[weight > 0]
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} needs samples of at least 2 classes, got "
                f"{len(self.classes_)} class: {self.classes_.tolist()[0]!r}."
                + (" The sample_weight of others is 0." if weight is not None else "")
            )
        self.device_ = resolve_device(self.device)
        return X, codes, weight

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
        check_number(self.momentum, "momentum", maximum=1.0)
        check_option(self.precision, "precision", PRECISIONS)
        for name in ("deterministic", "subset_train_error"):
            check_option(getattr(self, name), name, (True, False))
        self._check_criterion()
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
            check_option(self.optimizer, "optimizer", tuple(OPTIMIZERS))

    def _check_criterion(self) -> None:
        loss = self.criterion
        is_class = isinstance(loss, type) and issubclass(loss, nn.Module)
        if not (loss is None or is_class or isinstance(loss, nn.Module)):
            raise TypeError(
                "criterion must be a torch loss, such as nn.CrossEntropyLoss or "
                f"nn.CrossEntropyLoss(label_smoothing=0.1), or None, got {loss!r}."
            )
        if getattr(loss, "reduction", "mean") not in ("mean", "sum"):
            raise ValueError(
                'criterion must return one number, its reduction be "mean" or "sum", '
                f"got {loss!r}."
            )

    def _check_X_y(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        X = as_array(X)
        if getattr(X, "ndim", 2) > 2:
            X, y = check_X_y(X, y, dtype=[np.float32, np.uint8], allow_nd=True)
            self.n_features_in_ = int(np.prod(X.shape[1:]))
        else:
            X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.input_shape_ = X.shape[1:]
        return X, y

    def _check_X(self, X: Any) -> np.ndarray:
        X = as_array(X)
        if getattr(X, "ndim", 2) > 2:
            X = check_array(X, dtype=[np.float32, np.uint8], allow_nd=True)
        else:
            X = validate_data(self, X, dtype=np.float32, reset=False)
        if X.shape[1:] != self.input_shape_:
            raise ValueError(
                f"X must hold samples of shape {self.input_shape_}, as in fit, got "
                f"{X.shape[1:]}."
            )
        return X

    def _check_eval_set(self, X: Any, y: Any) -> TensorData:
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
        return self._to_data(X, np.searchsorted(self.classes_, y))

    def _to_data(
        self, X: np.ndarray, codes: np.ndarray, weight: np.ndarray | None = None
    ) -> TensorData:
        """Return samples, on the device if it has room, and targets, on it."""
        y = torch.as_tensor(codes, dtype=torch.long, device=self.device_)
        factors = None
        if weight is not None:
            scaled = torch.as_tensor(weight / weight.mean(), dtype=torch.float32)
            factors = scaled.to(self.device_)
        return TensorData(as_tensor(X, self.device_), y, factors)


def _check_weights(sample_weight: Any, n_samples: int) -> np.ndarray:
    """Return weights of samples as an array, one each, none negative."""
    weight = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if weight.ndim != 1:
        raise ValueError(
            f"sample_weight must be one-dimensional, got shape {weight.shape}."
        )
    check_consistent_length(weight, range(n_samples))
    if weight.min() < 0 or not weight.any():
        raise ValueError(
            "sample_weight must hold no negative number, and one above 0, got numbers "
            f"from {weight.min():g} to {weight.max():g}."
        )
    return weight


def _pair(eval_set: Any) -> Any:
    if not isinstance(eval_set, tuple | list) or len(eval_set) != 2:
        raise TypeError(
            f"eval_set must be a pair (X_test, y_test), got {type(eval_set).__name__}."
        )
    return eval_set


def _scale_weights(module: nn.Module, factor: float) -> None:
    """Multiply all matrices, kernels and tables; biases and normalisation stay."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(factor)
