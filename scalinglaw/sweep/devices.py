"""Several GPUs shared out among the runs of a sweep."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["device_of", "on_its_device"]


def device_of(position: int, device: str, n_gpus: int) -> str:
    """Return the torch device of the job at a position in the order of launch.

    Jobs that run at the same time are neighbours in that order, so that taking turns
    keeps the number of jobs on any two GPUs within one of each other.

    Parameters
    ----------
    position : int
        From 0 on.
    device : str
        What the user asked for. ``"auto"`` and ``"cuda"`` leave the choice;
        ``"cuda:1"`` and ``"cpu"`` do not.
    n_gpus : int
        GPUs that torch sees.

    Returns
    -------
    str
        Such as ``"cuda:0"``; `device` itself with fewer than two GPUs.

    Examples
    --------
    >>> [device_of(position, "auto", 2) for position in range(4)]
    ['cuda:0', 'cuda:1', 'cuda:0', 'cuda:1']
    >>> device_of(3, "cpu", 2)
    'cpu'
    """
    if n_gpus < 2 or device not in ("auto", "cuda"):
        return device
    return f"cuda:{position % n_gpus}"


def on_its_device(estimator: Any, position: int) -> Any:
    """Give an estimator the GPU of its turn, if there are several.

    Parameters
    ----------
    estimator : estimator
        Changed in place: each of its parameters ``device``, nested ones included.
    position : int
        Of its job, in the order of launch.

    Returns
    -------
    estimator
        The same.
    """
    torch = sys.modules.get("torch")
    n_gpus = torch.cuda.device_count() if torch is not None else 0
    if n_gpus > 1:
        asked = {
            name: value
            for name, value in estimator.get_params().items()
            if (name == "device" or name.endswith("__device"))
            and isinstance(value, str)
        }
        estimator.set_params(
            **{name: device_of(position, d, n_gpus) for name, d in asked.items()}
        )
    return estimator
