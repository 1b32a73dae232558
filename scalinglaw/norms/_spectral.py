r"""Largest singular values: the largest eigenvalue of the smaller Gram matrix.

The eigenvalues of :math:`WW^T`, or of :math:`W^TW` where that is smaller, are the
squares of the singular values. Squaring halves the digits of the small ones and none
of the largest, which is the only one wanted here. Measured against singular values in
float64, the log is off by 1e-7 to 6e-6 in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import ArpackError, LinearOperator, svds
from torch import Tensor

__all__ = ["log_spectral_norms"]

# Up to this side float64 costs as little as float32; beyond that side, a Gram matrix
# and all of its eigenvalues cost more than a few dozen products with vectors.
_DOUBLE, _DENSE = 128, 2048
# Accepted residual of an iterative solution, relative to the value: a singular value
# is as near as that at least, and usually as near as its square.
_RESIDUAL = 1e-5


def log_spectral_norms(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Log of the largest singular value of each of several block-diagonal matrices.

    Parameters
    ----------
    matrices : sequence of Tensor of shape (n_blocks, rows, columns)
        Finite entries, whose largest is near 1: see :func:`~._entrywise.scaled`.

    Returns
    -------
    list of Tensor, float64, shape ()
        On the device of the matrix, with an error of at most 1e-5. Minus infinity for
        a matrix of zeros; without meaning if an entry is not finite.
    """
    values: list[Tensor] = [torch.empty(0)] * len(matrices)
    # Gram matrices of one side share a call, which matters on a GPU.
    batches: dict[tuple[Any, ...], list[tuple[int, Tensor]]] = {}
    for i, blocks in enumerate(matrices):
        found = None
        if min(blocks.shape[-2:]) > _DENSE:
            found = _largest_by_iteration(blocks)
        if found is not None:
            values[i] = found.log()
            continue
        square = _gram(blocks)
        key = (square.shape[-1], square.dtype, square.device)
        batches.setdefault(key, []).append((i, square))
    for batch in batches.values():
        tops = torch.linalg.eigvalsh(torch.cat([square for _, square in batch]))[:, -1]
        for (i, _), top in zip(
            batch, tops.split([len(s) for _, s in batch]), strict=True
        ):
            values[i] = top.max().double().clamp_min(0).log() / 2
    return values


def _gram(blocks: Tensor) -> Tensor:
    """Return the smaller of ``W @ W.mT`` and ``W.mT @ W``, finite in any case."""
    if blocks.shape[-2] > blocks.shape[-1]:
        blocks = blocks.mT
    # Products of a reduced precision (TF32, bfloat16), which a user may have allowed,
    # are too coarse; those of float64 are out of their reach.
    if blocks.shape[-2] <= _DOUBLE or torch.get_float32_matmul_precision() != "highest":
        blocks = blocks.double()
    # The solver raises at NaN; what is not finite shows in the scale, later.
    return (blocks @ blocks.mT).nan_to_num()


def _largest_by_iteration(blocks: Tensor) -> Tensor | None:
    """Return the largest singular value by Lanczos' method, or None if it fails.

    Parameters
    ----------
    blocks : Tensor of shape (n_blocks, rows, columns)

    Returns
    -------
    Tensor of shape () or None
        None if the method has not converged, or the entries are not finite.
    """
    tops = []
    for block in blocks:

        def times(vector: np.ndarray, matrix: Tensor = block) -> np.ndarray:
            column = torch.from_numpy(np.ravel(vector)).to(matrix)
            return (matrix @ column).cpu().numpy()

        def transposed(vector: np.ndarray, matrix: Tensor = block) -> np.ndarray:
            return times(vector, matrix.mT)

        dtype = np.float64 if block.dtype == torch.float64 else np.float32
        operator = LinearOperator(
            tuple(block.shape), matvec=times, rmatvec=transposed, dtype=dtype
        )
        start = np.random.default_rng(0).standard_normal(min(block.shape))
        try:
            left, value, right = svds(
                operator, k=1, tol=_RESIDUAL / 10, v0=start.astype(dtype), maxiter=100
            )
        except (ArpackError, ValueError):
            return None  # no convergence; ValueError at what is not finite
        top = float(value[0])
        there = times(right[0]) - top * left[:, 0]
        back = transposed(left[:, 0]) - top * right[0]
        residual = max(np.linalg.norm(there), np.linalg.norm(back))
        # Written so that NaN fails.
        if not residual <= _RESIDUAL * top:
            return None
        tops.append(top)
    return torch.tensor(max(tops), dtype=torch.float64, device=blocks.device)
