r"""Largest eigenvalue of :math:`A=WW^T`, proved to be the largest.

The eigenvalues of the smaller Gram matrix are the squares of the singular
values. Squaring halves the digits of the small ones and none of the largest.
Only that one is wanted, and a proof that it is the largest costs less than all
the others. Let :math:`X` hold p orthonormal rows (approximate leading
eigenvectors), :math:`\Theta=XAX^T`, :math:`R=XA-\Theta X`, and let :math:`C` be
A restricted to the complement of X.

1. *Nothing was overlooked.* C lies below :math:`\tau` if
   :math:`\tau I-A+X^T\Theta X` is positive definite, that is, if it has a
   Cholesky factor. In float32 this proves it up to a margin for rounding, which
   is added.
2. *What was found is accurate.* If C lies below :math:`\tau<\theta`, with
   :math:`\theta` the Rayleigh quotient of the leading row, then the largest
   eigenvalue of A is at least :math:`\theta`, and at most :math:`\lambda` if
   :math:`\lambda-\Theta-RR^T/(\lambda-\tau)` is positive semidefinite (Schur
   complement). With :math:`\theta` and the leading residual r in float64 the
   error is near :math:`r^2/(\theta-\tau)`, far below float32's.

Where a step fails, as it must when the eigenvalues that follow X crowd the
largest, all eigenvalues are computed in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .chunks import chunks
from .lanczos import filtered_rows, lanczos_rows

__all__ = ["gram", "largest_eigenvalues"]

# Accepted relative width of the interval that holds the eigenvalue. The
# logarithm of the singular value is off by half of it at most.
_WIDTH = 2e-8
# Room for the rounding of a float32 Gram matrix and of its Cholesky factor,
# relative to the largest eigenvalue: see Higham and Mary (2019), SIAM J. Sci.
# Comput. 41, on errors that grow like the root of the number of terms.
_MARGIN = 1e-3
# Up to this size all eigenvalues cost less than a proof (measured).
_DIRECT = {"cpu": 128, "cuda": 32}
# Leading vectors kept; steps from a random start; degree and number of filters
# before a proof, and number of proofs tried. The speed depends on them only.
_ROWS, _COLD_STEPS, _DEGREE, _FILTERS, _ATTEMPTS = 8, 32, 10, 6, 2


def gram(matrices: Tensor) -> Tensor:
    """Return ``matrices @ matrices.mT``.

    On a CPU, large products are put together from blocks on and below the
    diagonal, which saves up to 3 eighths of the work.

    Parameters
    ----------
    matrices : Tensor of shape (batch, n, m)

    Returns
    -------
    Tensor of shape (batch, n, n)
    """
    n = matrices.shape[-2]
    if n < 128 or matrices.device.type != "cpu":
        return matrices @ matrices.mT
    product = matrices.new_empty(*matrices.shape[:-1], n)
    step = -(-n // 4)
    for start in range(0, n, step):
        rows = slice(start, start + step)
        product[..., rows, : start + step] = (
            matrices[..., rows, :] @ matrices[..., : start + step, :].mT
        )
        product[..., :start, rows] = product[..., rows, :start].mT
    return product


def largest_eigenvalues(
    matrices: Tensor, rows: Tensor | None = None
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Largest eigenvalue of each ``W W^T`` of a batch.

    Parameters
    ----------
    matrices : Tensor of shape (batch, n, m), n <= m
        Finite entries of moderate size.
    rows : Tensor of shape (batch, p, n), optional
        Orthonormal, approximate leading eigenvectors, from an earlier call.

    Returns
    -------
    values : Tensor of shape (batch,), float64
        With a relative error of at most 2e-8.
    rows : Tensor of shape (batch, p, n) or None
        Better eigenvectors, for a later call; None for small matrices.
    proved : Tensor of shape (batch,), bool
        False where the proof failed and all eigenvalues were computed.
    """
    n = matrices.shape[-2]
    device = matrices.device.type
    if n <= _DIRECT.get(device, 0):
        values = _all_eigenvalues(matrices)
        return values, None, torch.zeros(len(matrices), dtype=torch.bool)
    # Reduced-precision products (TF32, bf16) would be too coarse for a proof;
    # those of float64 are out of their reach.
    plain = device == "cpu" and torch.get_float32_matmul_precision() == "highest"
    square = gram(matrices.float() if plain else matrices.double())
    if rows is None:
        rows = lanczos_rows(square, min(_COLD_STEPS, n), _ROWS)
    rows, inner, residuals = _ritz(square, rows.to(square))
    for _ in range(_ATTEMPTS):
        for _ in range(_FILTERS):
            ritz_values = inner.diagonal(dim1=-2, dim2=-1)
            # What follows the rows lies near the last of them, but higher while
            # they are still on their way: ask for half the distance.
            likely = (ritz_values[:, 0] + ritz_values[:, -1]) / 2
            if (_shifts(inner, residuals) > likely).all():
                break
            rows = filtered_rows(square, rows, ritz_values, _DEGREE)
            rows, inner, residuals = _ritz(square, rows)
        values = _measure_lead(matrices, rows, inner, residuals)
        proved = _below(square, rows, _shifts(inner, residuals))
        if proved.all():
            break
        rows = filtered_rows(square, rows, inner.diagonal(dim1=-2, dim2=-1), _DEGREE)
        rows, inner, residuals = _ritz(square, rows)
    if not proved.all():
        values[~proved] = _all_eigenvalues(matrices[~proved.to(matrices.device)])
    return values, rows, proved


def _all_eigenvalues(matrices: Tensor) -> Tensor:
    """Return the largest of all eigenvalues, computed in float64."""
    return torch.linalg.eigvalsh(gram(matrices.double()))[:, -1].clamp_min(0).cpu()


def _ritz(square: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return Ritz vectors, A in their basis (on the CPU), and residual rows."""
    images = rows @ square
    coefficients = torch.linalg.eigh((images @ rows.mT).double().cpu())[1]
    rotation = coefficients.flip(-1).mT.to(rows)
    rows, images = rotation @ rows, rotation @ images
    inner = images @ rows.mT
    return rows, inner.double().cpu(), images - inner @ rows


def _measure_lead(
    matrices: Tensor, rows: Tensor, inner: Tensor, residuals: Tensor
) -> Tensor:
    """Return Rayleigh quotients of the leading rows, from products in float64.

    They and their residuals replace those of the Gram matrix, in place.
    """
    lead = rows[:, :1].double()
    lead = lead / torch.linalg.vector_norm(lead, dim=-1, keepdim=True)
    image = torch.zeros_like(lead)
    for columns in chunks(matrices, -1):
        exact = columns.double()
        image += (lead @ exact) @ exact.mT
    top = (image * lead).sum(dim=(-2, -1))
    residuals[:, :1] = (image - top[:, None, None] * lead).to(residuals)
    inner[:, 0, 0] = top.cpu()
    return top.cpu()


def _shifts(inner: Tensor, residuals: Tensor) -> Tensor:
    r"""Largest :math:`\tau` that makes the leading value accurate, less a margin.

    Parameters
    ----------
    inner : Tensor of shape (batch, p, p), float64, on the CPU
        A in the basis of the leading rows.
    residuals : Tensor of shape (batch, p, n)

    Returns
    -------
    Tensor of shape (batch,), float64, on the CPU
        Zero where there is none.
    """
    coupling = (residuals @ residuals.mT).double().cpu()
    top = inner[:, 0, 0]
    limit = top * (1 + _WIDTH)
    shifted = limit[:, None, None] * torch.eye(inner.shape[-1], dtype=inner.dtype)
    factor, info = torch.linalg.cholesky_ex(shifted - inner)
    possible = (info == 0)[:, None, None]
    factor = torch.where(possible, factor, torch.eye(inner.shape[-1]).double())
    # limit - inner must dominate coupling / (limit - tau): the largest ratio of
    # the two is the distance that tau must keep.
    half = torch.linalg.solve_triangular(factor, coupling, upper=False)
    ratio = torch.linalg.solve_triangular(factor, half.mT, upper=False)
    distance = torch.linalg.eigvalsh(ratio)[:, -1].clamp_min(0)
    shift = (limit - distance - _MARGIN * top).clamp_min(0)
    return torch.where(info == 0, shift, torch.zeros_like(shift))


def _below(square: Tensor, rows: Tensor, shift: Tensor) -> Tensor:
    """Whether each matrix lies below its shift on the complement of `rows`.

    Returns
    -------
    Tensor of shape (batch,), bool, on the CPU
    """
    inner = (rows @ square) @ rows.mT
    shifted = (inner @ rows).mT @ rows - square
    shifted.diagonal(dim1=-2, dim2=-1).add_(shift[:, None].to(shifted))
    factored = torch.linalg.cholesky_ex(shifted).info.cpu() == 0
    return factored & (shift > 0)
