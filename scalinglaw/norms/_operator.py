r"""A convolution as the matrix that it is: norms of the operator.

A kernel reshaped to (out_channels, in_channels x kernel) is not the matrix of
the convolution, which has a row for each output pixel. With a periodic boundary
that matrix is block diagonal in the Fourier basis, one block of shape
(out_channels, in_channels) per frequency (Sedghi, Gupta and Long 2019,
arXiv:1805.10408). A stride s keeps one pixel in s per axis, which folds s
frequencies onto one: their blocks stand side by side, over :math:`\sqrt s` per
axis, since a unitary transform of m pixels becomes one of m / s.

The boundary is taken as periodic whatever the padding of the layer is. Sizes
that the stride does not divide are rounded up.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ._modules import TRANSPOSED, evaluation_mode, first_input, told_of_shape

__all__ = ["Operator", "input_sizes", "largest_singular_value"]

# Accepted relative error of a squared singular value.
_WIDTH = 1e-10
# Products that show which block is likely to lead; entries of a batch of blocks.
_POWER_STEPS, _ENTRIES = 30, 2**23


class Operator:
    """The matrix of one convolution at one size of image.

    Parameters
    ----------
    layer : convolution, transposed or not
        For its stride, dilation and groups.
    weight : Tensor
        The weight in use, in the layer's own shape.
    size : tuple of int
        Size of the image that the layer takes, without channels.

    Attributes
    ----------
    kernel : Tensor of shape (groups, out / groups, in / groups, *size), float64
        The kernel with its taps where they fall on the periodic image. Of a
        transposed convolution, the kernel of the convolution that it transposes.
    n_outputs : int
        Pixels of an output channel of that convolution.
    """

    def __init__(self, layer: Any, weight: Tensor, size: tuple[int, ...]) -> None:
        self.stride: tuple[int, ...] = layer.stride
        self.transposed = isinstance(layer, TRANSPOSED)
        if self.transposed:
            size = tuple(n * s for n, s in zip(size, self.stride, strict=True))
        size = tuple(-(-n // s) * s for n, s in zip(size, self.stride, strict=True))
        kernel = weight.double()
        for axis, (n, gap) in enumerate(zip(size, layer.dilation, strict=True), 2):
            # Taps that leave the image at one end enter at the other.
            places = torch.arange(kernel.shape[axis], device=kernel.device) * gap % n
            shape = (*kernel.shape[:axis], n, *kernel.shape[axis + 1 :])
            kernel = kernel.new_zeros(shape).index_add_(axis, places, kernel)
        self.kernel = kernel.unflatten(0, (layer.groups, -1))
        self.n_outputs = math.prod(size) // math.prod(self.stride)

    def blocks(self) -> Tensor:
        """Return the diagonal blocks in the Fourier basis.

        Frequencies come in conjugate pairs with the same singular values; about one
        of each pair is kept.

        Returns
        -------
        Tensor of shape (blocks, rows, columns), complex128
        """
        n_axes = len(self.stride)
        transfer = torch.fft.fftn(self.kernel, dim=tuple(range(-n_axes, 0)))
        for axis, s in enumerate(self.stride):
            # Axis 3 + axis holds the frequencies; those that fold onto one go
            # into the columns.
            transfer = transfer.unflatten(3 + axis, (s, -1)).movedim(3 + axis, 2)
            transfer = transfer.flatten(2, 3)
        transfer = transfer[..., : transfer.shape[-1] // 2 + 1]
        rows, columns = transfer.shape[1:3]
        matrices = transfer.flatten(3).movedim(3, 1).reshape(-1, rows, columns)
        return matrices / math.sqrt(math.prod(self.stride))

    def log_spectral(self) -> Tensor:
        """Log of the largest singular value."""
        return largest_singular_value(self.blocks()).log()

    def log_rows(self) -> Tensor:
        """Log of the sum of the norms of the rows, one per output pixel."""
        return self._log_inputs() if self.transposed else self._log_outputs()

    def log_columns(self) -> Tensor:
        """Log of the sum of the norms of the columns, one per input pixel."""
        return self._log_outputs() if self.transposed else self._log_inputs()

    def log_frobenius(self) -> Tensor:
        """Log of the root of the sum of squares of the matrix."""
        norm = torch.linalg.vector_norm(self.kernel)
        return norm.log() + math.log(self.n_outputs) / 2

    def _log_outputs(self) -> Tensor:
        norms = torch.linalg.vector_norm(self.kernel.flatten(2), dim=-1)
        return norms.sum().log() + math.log(self.n_outputs)

    def _log_inputs(self) -> Tensor:
        # An input pixel meets the taps of its own phase modulo the stride.
        kernel = self.kernel
        for axis, s in enumerate(self.stride):
            kernel = kernel.unflatten(3 + axis, (-1, s)).movedim(3 + axis, 1)
            kernel = kernel.flatten(1, 2)
        norms = torch.linalg.vector_norm(kernel, dim=1)
        return norms.sum().log() + math.log(self.n_outputs)


def largest_singular_value(blocks: Tensor) -> Tensor:
    """Largest singular value of a block-diagonal matrix.

    Only the block that has it is taken apart; of the others a Cholesky factor shows
    that they have none larger.

    Parameters
    ----------
    blocks : Tensor of shape (batch, n, m), complex128

    Returns
    -------
    Tensor, float64, shape ()
        With a relative error of at most 1e-10.
    """
    if blocks.shape[-2] > blocks.shape[-1]:
        blocks = blocks.mH
    n = blocks.shape[-2]
    generator = torch.Generator().manual_seed(n)
    start = torch.randn(n, 1, dtype=torch.float64, generator=generator).to(blocks)
    top = torch.zeros((), dtype=torch.float64, device=blocks.device)
    for piece in blocks.split(max(1, _ENTRIES // n**2)):
        square = piece @ piece.mH
        vectors = start
        for _ in range(_POWER_STEPS):
            vectors = square @ vectors
            sizes = torch.linalg.vector_norm(vectors, dim=-2, keepdim=True)
            vectors = vectors / sizes.clamp_min(torch.finfo(torch.float64).tiny)
        likely = int(sizes.argmax())
        top = torch.maximum(top, torch.linalg.eigvalsh(square[likely])[-1])
        bound = top * (1 + _WIDTH) * torch.eye(n).to(square)
        larger = torch.linalg.cholesky_ex(bound - square).info != 0
        if larger.any():
            top = torch.maximum(top, torch.linalg.eigvalsh(square[larger]).max())
    return top.clamp_min(0).sqrt()


def input_sizes(
    module: nn.Module, input_shape: tuple[int, ...]
) -> dict[nn.Module, set[tuple[int, ...]]]:
    """Return the sizes of image that each convolution meets, without channels.

    Parameters
    ----------
    module : torch.nn.Module
        The network. One sample of zeros runs through it, in evaluation mode.
    input_shape : tuple of int
        Shape of a sample.

    Returns
    -------
    dict of module to set of tuple of int
        Without the convolutions that the forward pass does not call.

    Raises
    ------
    ValueError
        If the network does not take a sample of that shape.
    """
    sizes: dict[nn.Module, set[tuple[int, ...]]] = {}

    def note(part: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        image = first_input(args, kwargs)
        sizes.setdefault(part, set()).add(tuple(image.shape[-len(part.stride) :]))

    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
    handles = [
        part.register_forward_pre_hook(note, with_kwargs=True)
        for part in module.modules()
        if isinstance(part, convolutions)
    ]
    reference = next(module.parameters())
    sample = torch.zeros(1, *input_shape, dtype=reference.dtype).to(reference.device)
    try:
        with evaluation_mode(module), told_of_shape(input_shape):
            module(sample)
    finally:
        for handle in handles:
            handle.remove()
    return sizes
