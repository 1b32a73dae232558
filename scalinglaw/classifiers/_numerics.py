"""How exactly a GPU computes, and whether twice the same."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch

__all__ = ["PRECISIONS", "numerics"]

PRECISIONS = ("float32", "tf32", "bfloat16")


@contextlib.contextmanager
def numerics(precision: str, deterministic: bool, device: str) -> Iterator[None]:
    """Set how products and sums are computed on a GPU, and all back afterwards.

    Parameters
    ----------
    precision : {"float32", "tf32", "bfloat16"}
        All but the first round factors of products to TF32; bfloat16 is autocast's.
    deterministic : bool
        Take operations whose sums are in a fixed order. Those of which torch has none
        warn, and are used.
    device : str
        Nothing changes unless it is a CUDA device: the settings are the process's.
    """
    if torch.device(device).type != "cuda":
        yield
        return
    if deterministic:
        # cuBLAS reads this when it starts, and else may share memory between sums.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    rounded = precision != "float32"
    products = torch.get_float32_matmul_precision()
    chosen = torch.are_deterministic_algorithms_enabled()
    only_warn = torch.is_deterministic_algorithms_warn_only_enabled()
    # Filling memory with NaN finds errors, and takes time.
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    cudnn = torch.backends.cudnn
    with cudnn.flags(
        enabled=cudnn.enabled,
        benchmark=cudnn.benchmark and not deterministic,
        deterministic=cudnn.deterministic or deterministic,
        # torch rounds convolutions unless told otherwise.
        allow_tf32=rounded,
    ):
        try:
            torch.set_float32_matmul_precision("high" if rounded else "highest")
            if deterministic and not chosen:
                torch.use_deterministic_algorithms(True, warn_only=True)
                memory.fill_uninitialized_memory = False
            yield
        finally:
            torch.set_float32_matmul_precision(products)
            torch.use_deterministic_algorithms(chosen, warn_only=only_warn)
            memory.fill_uninitialized_memory = filled
