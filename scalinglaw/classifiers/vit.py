"""Vision transformers for small images, from torchvision."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torchvision.models import VisionTransformer

from .._validation import check_integer
from .images import ImageClassifier

__all__ = ["ViTClassifier", "vision_transformer"]


def vision_transformer(
    input_shape: tuple[int, int, int],
    n_classes: int,
    patch_size: int = 4,
    depth: int = 6,
    width: int = 192,
    n_heads: int = 4,
    mlp_width: int | None = None,
) -> nn.Module:
    """Return torchvision's vision transformer with Xavier-uniform linear layers.

    torchvision starts the head at zero, where every product of norms vanishes and
    its logarithm is minus infinity; here all linear layers start alike.

    Parameters
    ----------
    input_shape : tuple of int
        (channels, height, width), square.
    n_classes : int
        Outputs.
    patch_size : int
        Pixels along a patch.
    depth, width, n_heads : int
        Encoder layers, width of the tokens, and attention heads.
    mlp_width : int or None
        Width of the hidden layers; None is twice `width`.

    Returns
    -------
    nn.Module
        The network.

    Raises
    ------
    ValueError
        If the image is not square, or the sizes do not divide each other.
    """
    channels, height, image_width = input_shape
    if height != image_width or height % patch_size:
        raise ValueError(
            f"patch_size must divide a square image, got {patch_size} for {height} x "
            f"{image_width} pixels."
        )
    _check_heads(n_heads, width)
    network = VisionTransformer(
        image_size=height,
        patch_size=patch_size,
        num_layers=depth,
        num_heads=n_heads,
        hidden_dim=width,
        mlp_dim=mlp_width or 2 * width,
        num_classes=n_classes,
    )
    if channels != 3:
        network.conv_proj = nn.Conv2d(channels, width, patch_size, patch_size)
    start_xavier_uniform(network)
    return network


@torch.no_grad()
def _check_heads(n_heads: int, width: int) -> None:
    if width % n_heads:
        raise ValueError(f"n_heads must divide width, got {n_heads} and {width}.")


def start_xavier_uniform(network: VisionTransformer) -> None:
    """Give all linear maps of a vision transformer Xavier-uniform initial weights.

    Query, key and value are matrices of their own, though torch stacks them; so is
    the projection of the patches, a convolution without overlap.

    Parameters
    ----------
    network : VisionTransformer
        Changed in place; biases of these maps become zero.
    """
    for part in network.modules():
        if isinstance(part, nn.MultiheadAttention):
            matrices = list(part.in_proj_weight.chunk(3))
        elif isinstance(part, nn.Linear | nn.Conv2d):
            matrices = [part.weight.flatten(1)]
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        else:
            continue
        for matrix in matrices:
            nn.init.xavier_uniform_(matrix)


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
        Memory format of batches and kernels. "auto" takes it on a CPU, where it makes
        convolutions faster; a vision transformer gains nothing.
    norms, n_records, conv, fold_normalization, max_epochs, lr, batch_size : object
        See :class:`TrajectoryClassifier`.
    optimizer : {"adam", "adamw", "sgd"} or torch optimiser class, default="adamw"
        See :class:`TrajectoryClassifier`.
    momentum, weight_decay, init_scale, device, bfloat16, compile : object
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
        optimizer: Any = "adamw",
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
        for name in ("patch_size", "depth", "width", "n_heads"):
            check_integer(getattr(self, name), name)
        if self.mlp_width is not None:
            check_integer(self.mlp_width, "mlp_width")
        _check_heads(self.n_heads, self.width)

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
