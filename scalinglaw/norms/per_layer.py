"""What the norms need to know of each weight matrix, as one log per layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .convolution import Operator, input_sizes
from .entrywise import (
    check_finite,
    gather,
    log_column_norms,
    log_entry_norm,
    log_row_norms,
    scaled,
)
from .layers import WeightLayer, weight_layers
from .spectrum import SpectralNorms

__all__ = ["LayerLogs"]

_SUMS = {
    "rows": log_row_norms,
    "columns": log_column_norms,
    "frobenius": lambda blocks: log_entry_norm(blocks, 2.0),
}


class LayerLogs:
    """Logs of norms of each weight matrix of a network, again and again.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    conv : {"kernel", "operator"}
        Whether the matrix of a convolution is its reshaped kernel, or that of the
        whole operator at the size of its input.
    fold_normalization : bool
        Whether weights are read with the scale of the batch normalisation after them.
    input_shape : tuple of int, optional
        Shape of a sample; needed if a convolution is taken as an operator.

    Attributes
    ----------
    layers : list of WeightLayer
        In order of registration.
    """

    def __init__(
        self,
        module: nn.Module,
        conv: str = "kernel",
        fold_normalization: bool = False,
        input_shape: tuple[int, ...] | None = None,
    ) -> None:
        self.layers: list[WeightLayer] = weight_layers(module, fold_normalization)
        self._spectral = SpectralNorms()
        self._sizes: dict[int, list[tuple[int, ...]]] = {}
        convolutions = [layer for layer in self.layers if layer.is_convolution]
        if conv == "operator" and convolutions:
            self._sizes = _operator_sizes(module, self.layers, input_shape)

    def __call__(self, needed: Sequence[str]) -> dict[str, Tensor]:
        """Return a CPU tensor of one log per layer for each quantity.

        Parameters
        ----------
        needed : sequence of {"spectral", "rows", "columns", "frobenius"}
            The largest singular value; the sums of the norms of rows and of columns;
            the root of the sum of squares.

        Returns
        -------
        dict of str to Tensor of shape (n_layers,), float64

        Raises
        ------
        ValueError
            If a weight is NaN or infinite; the message names its layer.
        """
        reshaped = [i for i in range(len(self.layers)) if i not in self._sizes]
        logs = {need: torch.empty(len(self.layers)).double() for need in needed}
        if reshaped:
            found = self._of_kernels([self.layers[i] for i in reshaped], needed)
            for need in needed:
                logs[need][reshaped] = found[need]
        for i, sizes in self._sizes.items():
            # A weight that meets images of several sizes counts with its largest norm.
            each = [self._of_operator(i, size, needed) for size in sizes]
            for need in needed:
                logs[need][i] = max(found[need] for found in each)
        return logs

    def _of_kernels(
        self, layers: list[WeightLayer], needed: Sequence[str]
    ) -> dict[str, Tensor]:
        pairs = [scaled(layer.blocks()) for layer in layers]
        blocks = [quotient for quotient, _ in pairs]
        scales = gather([log_scale for _, log_scale in pairs])
        check_finite(scales, [layer.name for layer in layers])
        logs = {}
        for need in needed:
            if need == "spectral":
                found = self._spectral(blocks)
            else:
                found = [_SUMS[need](block) for block in blocks]
            logs[need] = gather(found) + scales
        return logs

    def _of_operator(
        self, i: int, size: tuple[int, ...], needed: Sequence[str]
    ) -> dict[str, float]:
        layer = self.layers[i]
        weight, log_scale = scaled(layer.weight())
        check_finite(log_scale[None], [layer.name])
        operator = Operator(layer.module, weight, size)
        return {
            need: float(getattr(operator, f"log_{need}")()) + float(log_scale)
            for need in needed
        }


def _operator_sizes(
    module: nn.Module,
    layers: list[WeightLayer],
    input_shape: tuple[int, ...] | None,
) -> dict[int, list[tuple[int, ...]]]:
    """Return the sizes that each convolution meets, by the index of its layer."""
    if input_shape is None:
        raise ValueError(
            'conv="operator" depends on the size of the images: pass '
            "input_shape=(channels, height, width), the shape of one sample."
        )
    found = input_sizes(module, tuple(input_shape))
    folded = {layer.module for layer in layers if layer.fold}
    sizes = {}
    for i, layer in enumerate(layers):
        if not layer.is_convolution:
            continue
        own = layer.module
        met: set[tuple[int, ...]] = set()
        for part, others in found.items():
            if part is own or (not {part, own} & folded and _are_tied(part, own)):
                met |= others
        if not met:
            raise ValueError(
                f"the forward pass does not call {layer.name!r}, so that it has no "
                'size of input: use conv="kernel".'
            )
        sizes[i] = sorted(met)
    return sizes


def _are_tied(part: Any, other: Any) -> bool:
    """Whether two convolutions are one at any size of image."""
    (weight, *geometry), (twin, *of_other) = map(_as_operator, (part, other))
    return weight is not None and weight is twin and geometry == of_other


def _as_operator(part: Any) -> tuple:
    """Return what the matrix of a convolution depends on, beside the size."""
    # A weight that is made of others is not stored, and not tied.
    weight = dict(part.named_parameters(recurse=False)).get("weight")
    return weight, type(part), part.stride, part.dilation, part.groups
