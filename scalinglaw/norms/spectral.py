"""Largest singular values, exactly.

The eigenvalues of the smaller Gram matrix in float64 are the squares of the
singular values. Squaring halves the digits of the small ones and none of the
largest: its relative error stays near 1e-15.

Only the largest is needed. Lanczos finds it as a Rayleigh quotient, which is a
lower bound; that nothing lies above is proved by a Cholesky factorisation of
the shifted matrix, which exists only if the shifted matrix is positive
definite. Where the proof fails, all eigenvalues are computed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .lanczos import Lanczos

__all__ = ["gram", "largest_eigenvalues"]

# Below these sizes all eigenvalues cost less than a Krylov basis (measured).
_DIRECT = {"cpu": 128, "cuda": 32}
_CHUNK, _MAX_STEPS = 12, 84
# Relative width of the proved interval; half of it remains in the logarithm.
_WIDTH = 2e-9


def gram(matrices: Tensor) -> Tensor:
    """Return ``matrices @ matrices.mT`` in float64.

    Large products are put together from the blocks on and below the diagonal,
    which saves up to 7 sixteenths of the work; above it, entries mirror.

    Parameters
    ----------
    matrices : Tensor of shape (batch, n, m)

    Returns
    -------
    Tensor of shape (batch, n, n), float64
    """
    matrices = matrices.double()
    n = matrices.shape[-2]
    if n < 128 or matrices.device.type != "cpu":
        return matrices @ matrices.mT
    product = matrices.new_empty(*matrices.shape[:-1], n)
    step = -(-n // 8)
    for start in range(0, n, step):
        rows = slice(start, start + step)
        product[..., rows, : start + step] = (
            matrices[..., rows, :] @ matrices[..., : start + step, :].mT
        )
        product[..., :start, rows] = product[..., rows, :start].mT
    return product


def largest_eigenvalues(symmetric: Tensor) -> tuple[Tensor, Tensor | None]:
    """Largest eigenvalue of each positive semidefinite matrix of a batch.

    Parameters
    ----------
    symmetric : Tensor of shape (batch, n, n), float64, finite

    Returns
    -------
    values : Tensor of shape (batch,), float64
        With a relative error of at most 2e-9.
    rows : Tensor of shape (batch, 8, n) or None
        Approximate leading eigenvectors, orthonormal, the first one leading;
        None where all eigenvalues were computed at once.
    """
    n = symmetric.shape[-1]
    if n <= _DIRECT.get(symmetric.device.type, 0):
        return torch.linalg.eigvalsh(symmetric)[:, -1].clamp_min(0), None
    generator = torch.Generator().manual_seed(n)
    start = torch.randn(1, 1, n, generator=generator, dtype=torch.float64)
    run = Lanczos(
        lambda rows: rows @ symmetric,
        start.to(symmetric.device).expand(len(symmetric), 1, n),
        _MAX_STEPS,
    )
    converged = False
    while run.n_steps + _CHUNK <= _MAX_STEPS and not converged:
        run.extend(_CHUNK)
        values, coefficients, beta = run.ritz()
        top, second = values[:, -1], values[:, -2]
        residual = beta * coefficients[:, -1, -1].abs()
        # The error of a Rayleigh quotient is of second order in the residual.
        error = residual**2 / (top - second).clamp_min(1e-30)
        converged = bool((error.minimum(residual) <= 0.1 * _WIDTH * top).all())
    leading = coefficients[:, :, -8:].flip(-1).mT.to(run.basis)
    rows = torch.linalg.qr((leading @ run.basis).mT).Q.mT
    estimate = ((rows[:, :1] @ symmetric) * rows[:, :1]).sum(dim=(-2, -1))
    # A zero matrix has no definite shift, and needs none.
    shift = torch.where(
        estimate > 0, estimate * (1 + _WIDTH), torch.ones_like(estimate)
    )
    shifted = -symmetric
    shifted.diagonal(dim1=-2, dim2=-1).add_(shift[:, None])
    unproved = torch.linalg.cholesky_ex(shifted).info != 0
    if unproved.any():
        estimate[unproved] = torch.linalg.eigvalsh(symmetric[unproved])[:, -1]
    return estimate.clamp_min(0), rows
