"""The classifier of any torch module."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from torch import nn

from ._base import RecordingClassifier
from ._networks import perceptron_module

__all__ = ["TrajectoryClassifier"]


class TrajectoryClassifier(RecordingClassifier):
    """Train any torch module, recording norms and errors on the way.

    A scikit-learn classifier that owns a skorch net. Records are log-spaced in
    optimiser steps, from before the first to the last.

    Parameters
    ----------
    module : nn.Module, callable or None, default=None
        A network, copied at each fit; or ``module(input_shape, n_classes)`` that
        returns one, such as a class. None is a one-hidden-layer perceptron.
    norms : sequence of str, default=("spectral_complexity",)
        Norms to record, among ``scalinglaw.norms.NORMS``.
    n_records : int, default=50
        Records of a run.
    conv : {"kernel", "operator"}, default="kernel"
        What counts as the matrix of a convolution: its kernel, as in the paper, or the
        map from its whole input to its whole output. See
        ``scalinglaw.norms.compute_norms``.
    fold_normalization : bool, default=False
        Record norms with the scale of each batch normalisation, as it is in evaluation,
        in the layer before it. See ``scalinglaw.norms.compute_norms``.
    max_epochs : int, default=100
        Passes over the training data.
    lr : float, default=1e-3
        Learning rate.
    batch_size : int, default=128
        Samples in a batch.
    criterion : torch loss class or module, or None, default=None
        Loss of logits and numbers of classes, in the order of ``classes_``; None is
        cross-entropy. Its class weights count in the recorded loss.
    optimizer : {"adam", "adamw", "sgd"} or torch optimiser class, default="adam"
        ``"sgd"`` takes `momentum`; a class is called with ``lr`` and, if it knows it,
        ``weight_decay``.
    momentum : float, default=0.9
        Momentum of ``optimizer="sgd"``, below 1.
    weight_decay : float, default=0.0
        Weight decay of the optimiser.
    init_scale : float, default=1.0
        Factor on all initial weights, that is on parameters of two or more dimensions;
        biases and normalisation layers start as they are.
    device : str, default="auto"
        torch device; "auto" takes a GPU if there is one.
    precision : {"float32", "tf32", "bfloat16"}, default="float32"
        Precision of products. ``"tf32"`` rounds their factors to ten bits, on a GPU
        that can; ``"bfloat16"`` runs the network under autocast. Weights, norms and
        the optimiser stay float32.
    deterministic : bool, default=True
        On a GPU, use only operations whose sums are in a fixed order where torch has
        them, so that two fits of one seed are equal to the last bit. On a CPU they
        always are.
    subset_train_error : bool, default=False
        Take the training error and loss of a record on a fixed subset of the training
        samples, spread evenly and no larger than the test set.
    random_state : int or None, default=None
        Determines initial weights and batches; two fits on one CPU are then equal to
        the last bit. torch's global generator is left as it was.
    callbacks : list of skorch callbacks or None, default=None
        Such as a learning-rate schedule. They are used as they are, not copied.
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
    eager_reason_ : str
        Why steps were launched one operation at a time; empty where they were captured
        as CUDA graphs.
    n_features_in_ : int
        Numbers in a sample.
    input_shape_ : tuple of int
        Shape of a sample.

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
        conv: str = "kernel",
        fold_normalization: bool = False,
        max_epochs: int = 100,
        lr: float = 1e-3,
        batch_size: int = 128,
        criterion: Any = None,
        optimizer: Any = "adam",
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        init_scale: float = 1.0,
        device: str = "auto",
        precision: str = "float32",
        deterministic: bool = True,
        subset_train_error: bool = False,
        random_state: int | None = None,
        callbacks: Any = None,
        verbose: int = 0,
    ):
        self.module = module
        self.norms = norms
        self.n_records = n_records
        self.conv = conv
        self.fold_normalization = fold_normalization
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.criterion = criterion
        self.optimizer = optimizer
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.init_scale = init_scale
        self.device = device
        self.precision = precision
        self.deterministic = deterministic
        self.subset_train_error = subset_train_error
        self.random_state = random_state
        self.callbacks = callbacks
        self.verbose = verbose

    def _build(self, input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
        """Return a copy of the network, or a new one for the data."""
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

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if not (self.module is None or callable(self.module)):
            raise TypeError(
                "module must be an nn.Module, a callable module(input_shape, "
                f"n_classes), or None, got {self.module!r}."
            )
