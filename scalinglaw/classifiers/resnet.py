"""Residual networks for small images, of torchvision's blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn
from torchvision.models.resnet import BasicBlock

from .._validation import check_integers, check_same_length
from .images import ImageClassifier

__all__ = ["ResNetClassifier", "residual_network"]


def residual_network(
    input_shape: tuple[int, int, int],
    n_classes: int,
    widths: Sequence[int] = (64, 128, 256, 512),
    depths: Sequence[int] = (2, 2, 2, 2),
) -> nn.Module:
    """Return a residual network with a 3x3 stem and no pooling before its stages.

    Parameters
    ----------
    input_shape : tuple of int
        (channels, height, width).
    n_classes : int
        Outputs.
    widths, depths : sequence of int
        Channels and blocks of each stage; each stage but the first halves the image.

    Returns
    -------
    nn.Module
        Of torchvision's basic blocks.
    """
    channels = widths[0]
    layers: list[nn.Module] = [
        nn.Conv2d(input_shape[0], channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    ]
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        for block in range(depth):
            stride = 2 if stage > 0 and block == 0 else 1
            shortcut = None
            if stride > 1 or channels != width:
                shortcut = nn.Sequential(
                    nn.Conv2d(channels, width, 1, stride, bias=False),
                    nn.BatchNorm2d(width),
                )
            layers.append(BasicBlock(channels, width, stride, shortcut))
            channels = width
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, n_classes)
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
