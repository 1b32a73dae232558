"""The networks of the classifiers, as functions of the data's shape."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torchvision.models import VisionTransformer
from torchvision.models.resnet import BasicBlock

__all__ = [
    "check_heads",
    "convolutional_network",
    "perceptron_module",
    "residual_network",
    "start_xavier_uniform",
    "vision_transformer",
]


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
    check_heads(n_heads, width)
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


def check_heads(n_heads: int, width: int) -> None:
    """Raise unless attention heads share the width of the tokens evenly."""
    if width % n_heads:
        raise ValueError(f"n_heads must divide width, got {n_heads} and {width}.")


@torch.no_grad()
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
