"""The optimiser of a classifier, and its arguments."""

from __future__ import annotations

import inspect
from typing import Any

import torch

__all__ = ["OPTIMIZERS", "optimizer_settings"]

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


def optimizer_settings(
    optimizer: Any, momentum: float, weight_decay: float, device: str
) -> tuple[Any, dict[str, Any]]:
    """Return the optimiser's class and its arguments besides the learning rate.

    Parameters
    ----------
    optimizer : {"adam", "adamw", "sgd"} or torch optimiser class
        A class is given `weight_decay` if it takes any.
    momentum, weight_decay : float
        Numbers for it.
    device : str
        Where the weights are.

    Returns
    -------
    tuple (type, dict)
        The class, and keyword arguments.

    Raises
    ------
    ValueError
        If a class that knows no weight decay is to have one.
    """
    kind = torch.device(device).type
    if isinstance(optimizer, str):
        options: dict[str, Any] = {"weight_decay": weight_decay}
        if optimizer == "sgd":
            options["momentum"] = momentum
        # One pass over the weights and not ten: a step of Adam takes a fifth to a
        # tenth of the time on a CPU. On a GPU a captured step needs it.
        if kind == "cuda" or (kind == "cpu" and optimizer != "sgd"):
            options["fused"] = True
        if kind == "cuda" and optimizer != "sgd":
            options["capturable"] = True
        return OPTIMIZERS[optimizer], options
    known = inspect.signature(optimizer).parameters
    options = {}
    if "weight_decay" in known:
        options["weight_decay"] = weight_decay
    elif weight_decay:
        name = getattr(optimizer, "__name__", optimizer)
        raise ValueError(
            f"weight_decay must be 0 for the optimizer {name}, which takes none, "
            f"got {weight_decay:g}."
        )
    if kind == "cuda" and optimizer in OPTIMIZERS.values():
        options["fused"] = True
        if "capturable" in known:
            options["capturable"] = True
    return optimizer, options
