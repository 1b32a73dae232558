"""Large matrices in parts whose float64 copies stay in the cache."""

from __future__ import annotations

from torch import Tensor

__all__ = ["chunks"]

# Entries of a part. A copy of a whole layer of a ResNet costs several times its
# arithmetic, since its memory goes back to the system and comes in anew, page by
# page.
_SIZE = 2**17


def chunks(matrices: Tensor, dim: int) -> tuple[Tensor, ...]:
    """Return views along one dimension that together are the whole.

    Parameters
    ----------
    matrices : Tensor of shape (..., n, m)
    dim : int
        The dimension to cut.

    Returns
    -------
    tuple of Tensor
        On a GPU, where each part would be another launch, the whole.
    """
    if matrices.device.type != "cpu" or matrices.numel() <= _SIZE:
        return (matrices,)
    across = matrices.numel() // matrices.shape[dim]
    return matrices.split(max(1, _SIZE // across), dim)
