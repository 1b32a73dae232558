"""Leading eigenvectors of a batch of symmetric matrices, to a modest accuracy.

Whatever comes from here is checked by what uses it: nothing depends on a
choice of start or on the number of steps but speed. Vectors are rows, since on
a CPU rows times a matrix are several times as fast as a matrix times columns.

Source: Golub and Van Loan, *Matrix Computations*, ch. 10.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["lanczos_rows", "ritz_rows"]


def lanczos_rows(symmetric: Tensor, n_steps: int, n_rows: int) -> Tensor:
    """Leading eigenvectors from a Krylov space of one random vector.

    Parameters
    ----------
    symmetric : Tensor of shape (batch, n, n)
    n_steps, n_rows : int
        Dimension of the space; how many vectors to return.

    Returns
    -------
    Tensor of shape (batch, n_rows, n)
        Orthonormal, the leading one first.
    """
    batch, n, _ = symmetric.shape
    generator = torch.Generator().manual_seed(n)
    start = torch.randn(1, 1, n, generator=generator).to(symmetric)
    row = (start / torch.linalg.vector_norm(start)).expand(batch, 1, n)
    basis = symmetric.new_empty(batch, n_steps, n)
    projected = symmetric.new_zeros(batch, n_steps, n_steps)
    tiny = torch.finfo(symmetric.dtype).tiny
    for step in range(n_steps):
        basis[:, step] = row[:, 0]
        image = row @ symmetric
        known = basis[:, : step + 1]
        along = image @ known.mT
        image = image - along @ known
        # Once more, for what rounding left behind.
        image = image - (image @ known.mT) @ known
        projected[:, step, : step + 1] = along[:, 0]
        length = torch.linalg.vector_norm(image, dim=-1, keepdim=True)
        row = image / length.clamp_min(tiny)
    # Only the lower triangle is read, and only it was filled.
    coefficients = torch.linalg.eigh(projected.double().cpu())[1]
    leading = coefficients[..., -n_rows:].flip(-1).mT.to(basis)
    return torch.linalg.qr((leading @ basis).mT).Q.mT


def ritz_rows(symmetric: Tensor, rows: Tensor, degree: int) -> Tensor:
    """Better leading eigenvectors from a block Krylov space of given ones.

    Parameters
    ----------
    symmetric : Tensor of shape (batch, n, n)
    rows : Tensor of shape (batch, p, n)
        Orthonormal.
    degree : int
        How many times the matrix is applied.

    Returns
    -------
    Tensor of shape (batch, p, n)
        Orthonormal, the leading one first.
    """
    blocks, block = [rows], rows
    for _ in range(degree):
        block = torch.linalg.qr((block @ symmetric).mT).Q.mT
        blocks.append(block)
    basis = torch.linalg.qr(torch.cat(blocks, dim=1).mT).Q.mT
    projected = ((basis @ symmetric) @ basis.mT).double().cpu()
    coefficients = torch.linalg.eigh(projected)[1]
    leading = coefficients[..., -rows.shape[1] :].flip(-1).mT.to(basis)
    return leading @ basis
