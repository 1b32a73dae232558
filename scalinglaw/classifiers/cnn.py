"""The paper's convolutional network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from .._validation import check_integer, check_integers
from .images import ImageClassifier

__all__ = ["CNNClassifier", "convolutional_network"]


def convolutional_network(
    input_shape: tuple[int, int, int],
    n_classes: int,
    conv_widths: Sequence[int] = (32, 64, 128),
    hidden_width: int = 512,
) -> nn.Module:
    """Return 3x3 convolutions, max-pooling after every second, and a hidden layer.

    Parameters
    ----------
    input_shape : tuple of int
        (channels, height, width).
    n_classes : int
        Outputs.
    conv_widths : sequence of int
        Channels of each convolution.
    hidden_width : int
        Units of the hidden layer.

    Returns
    -------
    nn.Module
        Rectified linear units throughout.

    Raises
    ------
    ValueError
        If pooling leaves nothing of the image.
    """
    channels, height, width = input_shape
    layers: list[nn.Module] = []
    for position, n_channels in enumerate(conv_widths, start=1):
        layers.append(nn.Conv2d(channels, n_channels, 3, padding=1))
        channels = n_channels
        if position % 2 == 0:
            # Before the unit and not after it: to the bit the same outputs and
            # gradients, from a quarter as many units.
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
        layers.append(nn.ReLU(inplace=True))
    if min(height, width) < 1:
        raise ValueError(
            f"conv_widths has {len(conv_widths)} entries, and pooling after every "
            f"second leaves nothing of images of {input_shape[1]} x {input_shape[2]}."
        )
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(channels * height * width, hidden_width),
        nn.ReLU(inplace=True),
        nn.Linear(hidden_width, n_classes),
    )


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
        times as fast, and "auto" takes it there.
    norms, n_records, conv, fold_normalization, max_epochs, lr, batch_size : object
        See :class:`TrajectoryClassifier`.
    optimizer, momentum, weight_decay, init_scale, device, bfloat16, compile : object
        See :class:`TrajectoryClassifier`.
    random_state, callbacks, verbose : object
        See :class:`TrajectoryClassifier`.

    Attributes
    ----------
    trajectory_ : DataFrame
        The trajectory table of this run.
    net_, module_, classes_, device_ : object
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
        optimizer: Any = "adam",
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        init_scale: float = 1.0,
        device: str = "auto",
        bfloat16: bool = False,
        compile: bool | str = False,
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

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_integers(self.conv_widths, "conv_widths")
        check_integer(self.hidden_width, "hidden_width")

    def _build(self, input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
        channels, height, width = input_shape
        return convolutional_network(
            (channels, height, width), n_classes, self.conv_widths, self.hidden_width
        )
