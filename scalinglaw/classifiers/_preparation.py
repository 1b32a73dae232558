"""What happens to a batch on the device before the network sees it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..integrations._scores import as_logits

__all__ = ["PreparedModule", "shift_and_mirror"]


class PreparedModule(nn.Module):
    """A network behind the preparation of its inputs.

    Batches arrive as they are stored, bytes for images, and become standardised
    floating-point numbers on the device, a batch at a time.

    Parameters
    ----------
    core : nn.Module
        The network.
    mean, std : sequence of float, optional
        Of each channel, after bytes were divided by 255.
    augment : bool, default=False
        In training, shift each image by up to four pixels and, with three channels,
        mirror half of them: the standard augmentation of small images.
    channels_last : bool, default=False
        Memory format of image batches and of the network's kernels.
    bfloat16 : bool, default=False
        Whether the network runs under autocast.
    n_classes : int, optional
        Numbers that the network must return for each sample.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        core: nn.Module,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        augment: bool = False,
        channels_last: bool = False,
        bfloat16: bool = False,
        n_classes: int | None = None,
    ) -> None:
        super().__init__()
        if channels_last:
            # Of one channel, images do not tell the formats apart: kernels decide.
            core = core.to(memory_format=torch.channels_last)
        self.core = core
        self.n_classes = n_classes
        self.augment = augment
        self.channels_last = channels_last
        self.autocast = bfloat16
        self.standardise = mean is not None and std is not None
        for name, values in (("mean", mean or ()), ("std", std or ())):
            tensor = torch.tensor(tuple(values), dtype=torch.float32)
            self.register_buffer(name, tensor.view(-1, 1, 1), persistent=False)

    def forward(self, X: Tensor) -> Tensor:
        """Return the network's output for a raw batch.

        Parameters
        ----------
        X : Tensor of shape (n, ...)
            A batch as stored.

        Returns
        -------
        Tensor of shape (n, n_classes)
            Logits in single precision.

        Raises
        ------
        TypeError
            If the network returns no tensor.
        ValueError
            If it does not return one number per class.
        """
        if self.augment and self.training:
            X = shift_and_mirror(X)
        X = X.float() / 255 if X.dtype == torch.uint8 else X.float()
        if self.standardise:
            X = (X - self.mean) / self.std
        if self.channels_last and X.dim() == 4:
            X = X.contiguous(memory_format=torch.channels_last)
        if self.autocast:
            with torch.autocast(X.device.type, dtype=torch.bfloat16):
                logits = as_logits(self.core(X)).float()
        else:
            logits = as_logits(self.core(X))
        if self.n_classes is not None and logits.shape[1:] != (self.n_classes,):
            raise ValueError(
                f"module must return {self.n_classes} numbers for each sample, one per "
                f"class in y, got {tuple(logits.shape[1:])}. Pass a callable "
                "module(input_shape, n_classes) that returns a network of that size."
            )
        return logits


def shift_and_mirror(X: Tensor, reach: int = 4) -> Tensor:
    """Shift each image by a random number of pixels, and mirror half of them.

    Parameters
    ----------
    X : Tensor of shape (n, channels, height, width)
        Images.
    reach : int, default=4
        Largest shift; what enters is zero.

    Returns
    -------
    Tensor
        Of the same shape. Images of one channel, digits mostly, are not mirrored.
    """
    n, channels, height, width = X.shape
    padded = functional.pad(X, (reach,) * 4)
    # All windows of all images, as views; taking one of each copies whole rows.
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    top, left = torch.randint(0, 2 * reach + 1, (2, n), device=X.device)
    shifted = windows[torch.arange(n, device=X.device), :, top, left]
    if channels == 3:
        mirrored = torch.rand(n, device=X.device) < 0.5
        shifted = torch.where(mirrored.view(-1, 1, 1, 1), shifted.flip(3), shifted)
    return shifted
