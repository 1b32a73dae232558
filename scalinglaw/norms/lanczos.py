"""Leading eigenvectors of a batch of symmetric matrices, to a modest accuracy.

Whatever comes from here is checked by what uses it: nothing depends on a
choice of start or on the number of steps but speed. Vectors are rows, since on
a CPU rows times a matrix are several times as fast as a matrix times columns.

Source: Golub and Van Loan, *Matrix Computations*, ch. 10.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["filtered_rows", "lanczos_rows"]

# Logarithm of the largest ratio by which a filter may raise one vector.
_STEEPNESS = 9.0


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


def filtered_rows(
    symmetric: Tensor, rows: Tensor, values: Tensor, max_degree: int
) -> Tensor:
    """Better leading eigenvectors, by a Chebyshev polynomial of the matrix.

    The polynomial is at most 1 where the last of the values and all below lie,
    and rises steeply above. Source: Zhou, Saad, Tiago and Chelikowsky (2006),
    J. Comput. Phys. 219.

    Parameters
    ----------
    symmetric : Tensor of shape (batch, n, n)
        Positive semidefinite.
    rows : Tensor of shape (batch, p, n)
        Orthonormal.
    values : Tensor of shape (batch, p), float64, on the CPU
        Ritz values of the rows, decreasing.
    max_degree : int
        How often the matrix may be applied.

    Returns
    -------
    Tensor of shape (batch, p, n)
        Orthonormal rows of the filtered space, in no order.
    """
    edge = values[:, -1].clamp_min(torch.finfo(torch.float32).tiny)
    steepest = torch.acosh((2 * values[:, 0] / edge - 1).clamp_min(1 + 1e-9)).max()
    # A steeper filter would leave only rounding noise of the weaker vectors.
    degree = int((_STEEPNESS / steepest).clamp(2, max_degree))
    half = (edge / 2)[:, None, None].to(rows)
    before, current = rows, (rows @ symmetric) / half - rows
    for _ in range(degree - 1):
        following = 2 * ((current @ symmetric) / half - current) - before
        before, current = current, following
    return torch.linalg.qr(current.mT).Q.mT
