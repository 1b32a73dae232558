r"""Path norm: the sum over all paths from an input to an output, in one pass.

.. math::

    \phi = \Bigl(\sum_{\text{paths}} \prod_{\text{edges}} w_e^2\Bigr)^{1/2}

(Neyshabur, Tomioka and Srebro 2015, arXiv:1503.00036). The network is run on ones
with its weights squared; a rectifier then has only positive inputs and does
nothing. A pooled maximum may be any of its window, so that all of them count
(Gonon, Brisebarre, Riccietti and Gribonval 2024, arXiv:2310.01225); an average
is a weight of one over their number. What follows from the definition and what is
convention is written at the rules, in `path_layers` and `path_pooling`.
"""

from __future__ import annotations

import torch
from torch import nn

# The rules register themselves.
from . import path_layers, path_pooling  # noqa: F401
from .effective import evaluation_mode, told_of_shape
from .path_tensor import PathTensor, wrap

__all__ = ["log_path_norm"]


def log_path_norm(
    module: nn.Module, input_shape: tuple[int, ...], fold_normalization: bool = False
) -> float:
    r"""Log of the path norm of a network.

    Parameters
    ----------
    module : torch.nn.Module
        The network. Its forward pass is run once, in evaluation mode.
    input_shape : tuple of int
        Shape of a sample. Paths start at each of its entries.
    fold_normalization : bool, default=False
        Whether batch normalisation counts with its scale in evaluation.

    Returns
    -------
    float
        Minus infinity if no path is left, NaN if a weight is not finite.

    Raises
    ------
    ValueError
        If the forward pass has an operation that paths are not defined for, or does
        not take a sample of that shape.
    """
    device = next(module.parameters()).device
    device = torch.device("cpu") if device.type == "mps" else device
    ones = torch.ones(1, *input_shape, dtype=torch.float64, device=device)
    start = wrap(ones, ones.new_zeros(()), fold_normalization)
    with evaluation_mode(module), told_of_shape(input_shape):
        end = module(start)
    if not isinstance(end, PathTensor):
        raise ValueError(
            f"the path norm needs a network that returns one tensor, got "
            f"{type(end).__name__}. Leave 'path' out of names."
        )
    return float((end.paths.sum().log() + end.log_scale) / 2)
