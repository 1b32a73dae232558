"""Where training runs, and where the data lie meanwhile."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["as_array", "as_tensor", "evaluation_batch_size", "resolve_device"]

# Share of a GPU's free memory that the data may take; more stay on the host.
_DEVICE_SHARE = 0.5


def resolve_device(device: Any) -> str:
    """Return the name of a torch device that is there.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"`` is a GPU if torch sees one, else the CPU.

    Returns
    -------
    str
        Such as ``"cpu"`` or ``"cuda"``.

    Raises
    ------
    ValueError
        If torch knows no such device, or sees no GPU where one is asked for.
    """
    if isinstance(device, str) and device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f'device must be "auto" or a torch device, got {device!r}.'
        ) from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f'device={device!r}, but torch sees no GPU. Use device="auto".'
        )
    try:
        # What holds no numbers ("meta"), or is not in this machine, fails here.
        torch.zeros(1, device=resolved).item()
    except Exception as error:
        raise ValueError(
            f'device={device!r} cannot train here ({error}). Use device="auto".'
        ) from error
    # There is one CPU, and "cpu:0" is another name of it.
    return "cpu" if resolved.type == "cpu" else str(resolved)


def evaluation_batch_size(device: str) -> int:
    """Return how many samples to predict at once.

    A GPU wants large batches. On a CPU the activations of a small one stay in its
    caches: 1024 images at once took twice as long as 128, eight by eight.

    Parameters
    ----------
    device : str
        Name of a torch device.

    Returns
    -------
    int
        Samples.
    """
    return 128 if device == "cpu" else 4096


def as_array(X: Any) -> Any:
    """Return tensors and sequences as arrays, so that bytes are known for bytes.

    Parameters
    ----------
    X : array-like
        Samples. scikit-learn would make single precision of what is no array.

    Returns
    -------
    array-like
        A data frame or a sparse matrix as it is: scikit-learn checks these.
    """
    if isinstance(X, Tensor):
        return X.detach().cpu().numpy()
    return np.asarray(X) if isinstance(X, list | tuple) else X


def as_tensor(X: np.ndarray, device: str) -> Tensor:
    """Return data as a tensor, on the device if it has room, else on the CPU.

    Parameters
    ----------
    X : ndarray
        Samples.
    device : str
        Name of a torch device.

    Returns
    -------
    Tensor
        Contiguous. What stays on the CPU, `TensorBatches` sends batch by batch.
    """
    # By way of a flat array: numpy leaves the stride of an axis of length one
    # (the channel of grey images) to chance, and torch chooses its convolution,
    # hence the last bits, by strides.
    flat = np.ascontiguousarray(X).reshape(-1)
    # A worker of joblib sees large arrays read-only, which torch would warn about.
    flat = flat if flat.flags.writeable else flat.copy()
    tensor = torch.from_numpy(flat).view(X.shape)
    if torch.device(device).type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if X.nbytes > _DEVICE_SHARE * free:
            return tensor
    return tensor.to(device)
