"""The classifiers of images: their parameters, and the networks that they train."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from .._validation import check_integer, check_integers, check_same_length
from ._images import ImageClassifier
from ._networks import (
    check_heads,
    convolutional_network,
    residual_network,
    vision_transformer,
)

__all__ = ["CNNClassifier", "ResNetClassifier", "ViTClassifier"]


class CNNClassifier(ImageClassifier):
    """Convolutional network of the paper, recording norms and errors.

    3x3 convolutions with max-pooling after every second, and one hidden layer.

    Parameters
    ----------
    conv_widths : sequence of int, default=(32, 64, 128)
        Channels of each convolution; its length is the depth.
    hidden_width : int, default=512
        Units of the hidden layer.
    image_shape : tuple of int or None, default=None
        (channels, height, width) or (height, width) of images that come flat.
    normalization : tuple (mean, std) or None, default=None
        One number per channel each, of pixels between 0 and 1.
    augment : bool, default=False
        Shift training images by up to four pixels and, in colour, mirror half.
    channels_last : bool or "auto", default="auto"
        Memory format of batches and kernels. It makes training on a CPU up to 1.7
        times as fast, and "auto" takes it there and on CUDA GPUs.
    norms, n_records, conv, fold_normalization, max_epochs, lr, batch_size : object
        See :class:`TrajectoryClassifier`.
    criterion, optimizer, momentum, weight_decay, init_scale, device : object
        See :class:`TrajectoryClassifier`.
    precision, deterministic, subset_train_error : object
        See :class:`TrajectoryClassifier`.
    random_state, callbacks, verbose : object
        See :class:`TrajectoryClassifier`.

    Attributes
    ----------
    trajectory_ : DataFrame
        The trajectory table of this run.
    net_, module_, classes_, device_, eager_reason_, n_features_in_ : object
        See :class:`TrajectoryClassifier`.
    image_shape_ : tuple of int
        (channels, height, width).

    References
    ----------
    .. [1] D'Amico, Bocchi and Negri (2025), arXiv:2505.13230.

    Examples
    --------
    >>> from scalinglaw import CNNClassifier
    >>> from scalinglaw.datasets import load_images
    >>> X, y = load_images("digits")
    >>> cnn = CNNClassifier(conv_widths=(4, 8), hidden_width=32, max_epochs=3,
    ...                     random_state=0)
    >>> cnn.fit(X[:500], y[:500], eval_set=(X[500:], y[500:])).trajectory_.shape[1]
    10
    """

    def __init__(
        self,
        *,
        conv_widths: Sequence[int] = (32, 64, 128),
        hidden_width: int = 512,
        image_shape: tuple[int, ...] | None = None,
        normalization: tuple[Iterable[float], Iterable[float]] | None = None,
        augment: bool = False,
        channels_last: bool | str = "auto",
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
        self.conv_widths = conv_widths
        self.hidden_width = hidden_width
        self.image_shape = image_shape
        self.normalization = normalization
        self.augment = augment
        self.channels_last = channels_last
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

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_integers(self.conv_widths, "conv_widths")
        check_integer(self.hidden_width, "hidden_width")

    def _build(self, input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
        channels, height, width = input_shape
        return convolutional_network(
            (channels, height, width), n_classes, self.conv_widths, self.hidden_width
        )


class ResNetClassifier(ImageClassifier):
    """Residual network for small images, recording norms and errors.

    The ResNet-18 of the paper: a 3x3 stem without pooling, four stages of basic
    blocks, all 21 weight layers counted. Its batch normalisation makes a convolution's
    scale irrelevant to the function, but not to the norm.

    Parameters
    ----------
    widths : sequence of int, default=(64, 128, 256, 512)
        Channels of each stage.
    depths : sequence of int, default=(2, 2, 2, 2)
        Blocks of each stage.
    image_shape : tuple of int or None, default=None
        (channels, height, width) or (height, width) of images that come flat.
    normalization : tuple (mean, std) or None, default=None
        One number per channel each, of pixels between 0 and 1.
    augment : bool, default=False
        Shift training images by up to four pixels and, in colour, mirror half.
    channels_last : bool or "auto", default="auto"
        Memory format of batches and kernels. It makes training on a CPU up to 1.7
        times as fast, and "auto" takes it there and on CUDA GPUs.
    norms, n_records, conv, fold_normalization, max_epochs, lr, batch_size : object
        See :class:`TrajectoryClassifier`.
    criterion, optimizer, momentum, weight_decay, init_scale, device : object
        See :class:`TrajectoryClassifier`.
    precision, deterministic, subset_train_error : object
        See :class:`TrajectoryClassifier`.
    random_state, callbacks, verbose : object
        See :class:`TrajectoryClassifier`.

    Attributes
    ----------
    trajectory_ : DataFrame
        The trajectory table of this run.
    net_, module_, classes_, device_, eager_reason_, n_features_in_ : object
        See :class:`TrajectoryClassifier`.
    image_shape_ : tuple of int
        (channels, height, width).

    References
    ----------
    .. [1] D'Amico, Bocchi and Negri (2025), arXiv:2505.13230.

    Examples
    --------
    >>> from scalinglaw import ResNetClassifier
    >>> from scalinglaw.datasets import load_images
    >>> X, y = load_images("digits")
    >>> resnet = ResNetClassifier(widths=(4, 8), depths=(1, 1), max_epochs=2,
    ...                           random_state=0)
    >>> len(resnet.fit(X[:200], y[:200]).trajectory_)
    5
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (64, 128, 256, 512),
        depths: Sequence[int] = (2, 2, 2, 2),
        image_shape: tuple[int, ...] | None = None,
        normalization: tuple[Iterable[float], Iterable[float]] | None = None,
        augment: bool = False,
        channels_last: bool | str = "auto",
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
        self.widths = widths
        self.depths = depths
        self.image_shape = image_shape
        self.normalization = normalization
        self.augment = augment
        self.channels_last = channels_last
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

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_integers(self.widths, "widths")
        check_integers(self.depths, "depths")
        if not len(self.widths):
            raise ValueError("widths must have at least one stage, got none.")
        check_same_length(widths=self.widths, depths=self.depths)

    def _build(self, input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
        channels, height, width = input_shape
        return residual_network(
            (channels, height, width), n_classes, self.widths, self.depths
        )


class ViTClassifier(ImageClassifier):
    """Vision transformer for small images, recording norms and errors.

    torchvision's, trained by AdamW; all linear layers start Xavier-uniform, the head
    included.

    Parameters
    ----------
    patch_size : int, default=4
        Pixels along a patch; must divide the image.
    depth : int, default=6
        Encoder layers.
    width : int, default=192
        Width of the tokens.
    n_heads : int, default=4
        Attention heads; must divide the width.
    mlp_width : int or None, default=None
        Width of the encoder's hidden layers; None is twice `width`.
    image_shape : tuple of int or None, default=None
        (channels, height, width) or (height, width) of images that come flat.
    normalization : tuple (mean, std) or None, default=None
        One number per channel each, of pixels between 0 and 1.
    augment : bool, default=False
        Shift training images by up to four pixels and, in colour, mirror half.
    channels_last : bool or "auto", default="auto"
        Memory format of batches and kernels. "auto" takes it on a CPU and on CUDA
        GPUs, where it makes convolutions faster; a vision transformer gains nothing.
    norms, n_records, conv, fold_normalization, max_epochs, lr, batch_size : object
        See :class:`TrajectoryClassifier`.
    criterion : torch loss or None, default=None
        See :class:`TrajectoryClassifier`.
    optimizer : {"adam", "adamw", "sgd"} or torch optimiser class, default="adamw"
        See :class:`TrajectoryClassifier`.
    momentum, weight_decay, init_scale, device : object
        See :class:`TrajectoryClassifier`.
    precision, deterministic, subset_train_error : object
        See :class:`TrajectoryClassifier`.
    random_state, callbacks, verbose : object
        See :class:`TrajectoryClassifier`.

    Attributes
    ----------
    trajectory_ : DataFrame
        The trajectory table of this run.
    net_, module_, classes_, device_, eager_reason_, n_features_in_ : object
        See :class:`TrajectoryClassifier`.
    image_shape_ : tuple of int
        (channels, height, width).

    References
    ----------
    .. [1] D'Amico, Bocchi and Negri (2025), arXiv:2505.13230.

    Examples
    --------
    >>> from scalinglaw import ViTClassifier
    >>> from scalinglaw.datasets import load_images
    >>> X, y = load_images("digits")
    >>> vit = ViTClassifier(patch_size=4, depth=1, width=16, max_epochs=2,
    ...                     random_state=0)
    >>> len(vit.fit(X[:200], y[:200]).trajectory_)
    5
    """

    def __init__(
        self,
        *,
        patch_size: int = 4,
        depth: int = 6,
        width: int = 192,
        n_heads: int = 4,
        mlp_width: int | None = None,
        image_shape: tuple[int, ...] | None = None,
        normalization: tuple[Iterable[float], Iterable[float]] | None = None,
        augment: bool = False,
        channels_last: bool | str = "auto",
        norms: Iterable[str] = ("spectral_complexity",),
        n_records: int = 50,
        conv: str = "kernel",
        fold_normalization: bool = False,
        max_epochs: int = 100,
        lr: float = 1e-3,
        batch_size: int = 128,
        criterion: Any = None,
        optimizer: Any = "adamw",
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
        self.patch_size = patch_size
        self.depth = depth
        self.width = width
        self.n_heads = n_heads
        self.mlp_width = mlp_width
        self.image_shape = image_shape
        self.normalization = normalization
        self.augment = augment
        self.channels_last = channels_last
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

    def _check_parameters(self) -> None:
        super()._check_parameters()
        for name in ("patch_size", "depth", "width", "n_heads"):
            check_integer(getattr(self, name), name)
        if self.mlp_width is not None:
            check_integer(self.mlp_width, "mlp_width")
        check_heads(self.n_heads, self.width)

    def _build(self, input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
        channels, height, width = input_shape
        return vision_transformer(
            (channels, height, width),
            n_classes,
            self.patch_size,
            self.depth,
            self.width,
            self.n_heads,
            self.mlp_width,
        )
