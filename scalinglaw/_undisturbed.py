"""How a network is looked at during training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

__all__ = ["undisturbed"]


@contextlib.contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode without gradients, and all back as it was.

    Parameters
    ----------
    module : nn.Module
        Each of its parts gets back its own mode, and torch's random generators their
        state: a DataLoader draws from them whenever it starts.
    """
    modes = [(part, part.training) for part in module.modules()]
    first = next(module.parameters(), None)
    gpus = [first.device] if first is not None and first.is_cuda else []
    with torch.random.fork_rng(gpus), torch.no_grad():
        try:
            module.eval()
            yield
        finally:
            for part, mode in modes:
                part.training = mode
