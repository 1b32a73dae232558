"""A look inside: the norms of each layer, as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch import nn

from .._validation import check_integers, check_option
from .effective import evaluation_mode, uncompiled
from .per_layer import LayerLogs
from .tracker import CONV

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["layer_table"]


def layer_table(
    module: nn.Module,
    *,
    conv: str = "kernel",
    fold_normalization: bool = False,
    input_shape: Iterable[int] | None = None,
) -> pd.DataFrame:
    r"""Norms of each weight matrix of a network.

    Parameters
    ----------
    module : torch.nn.Module
        The network. It is not changed.
    conv, fold_normalization, input_shape : object
        See :func:`compute_norms`.

    Returns
    -------
    DataFrame
        One row per weight matrix :math:`W`, in order of registration:

        - ``name``: dotted path of the layer; attention has four;
        - ``shape``: of its weight;
        - ``log_spectral``: natural log of the largest singular value;
        - ``log_frobenius``: natural log of :math:`\|W\|_F`;
        - ``stable_rank``: :math:`\|W\|_F^2/\|W\|_s^2`, from 1 to the rank; NaN for a
          layer of zeros;
        - ``log_rows_21``: natural log of :math:`\|W^T\|_{2,1}`, the sum of the norms
          of rows, one per output;
        - ``log_columns_21``: natural log of :math:`\|W\|_{2,1}`, the sum of the norms
          of columns, one per input.

    Raises
    ------
    ValueError
        If the module has no weight matrix, or one that is not finite.

    Examples
    --------
    >>> import torch
    >>> from scalinglaw.norms import layer_table
    >>> layer = torch.nn.Linear(3, 3, bias=False)
    >>> _ = layer.weight.data.copy_(torch.diag(torch.tensor([2.0, 1.0, 1.0])))
    >>> table = layer_table(torch.nn.Sequential(layer))
    >>> table[["name", "shape", "stable_rank"]]
      name   shape  stable_rank
    0    0  (3, 3)          1.5
    """
    # Norms in a training loop need no pandas.
    import numpy as np
    import pandas as pd

    check_option(conv, "conv", CONV)
    shape = None
    if input_shape is not None:
        shape = check_integers(input_shape, "input_shape")
    inner = uncompiled(module)
    layers = LayerLogs(inner, conv, fold_normalization, shape)
    with evaluation_mode(inner):
        logs = layers(["spectral", "frobenius", "rows", "columns"])
        shapes = [
            tuple(layer.weight().shape)
            if layer.is_convolution
            else tuple(layer.blocks().shape[1:])
            for layer in layers.layers
        ]
    logs_np = {name: values.numpy() for name, values in logs.items()}
    zero = np.isneginf(logs_np["spectral"])
    difference = np.zeros(len(zero))
    np.subtract(logs_np["frobenius"], logs_np["spectral"], out=difference, where=~zero)
    return pd.DataFrame(
        {
            "name": [layer.name for layer in layers.layers],
            "shape": shapes,
            "log_spectral": logs_np["spectral"],
            "log_frobenius": logs_np["frobenius"],
            "stable_rank": np.where(zero, np.nan, np.exp(2 * difference)),
            "log_rows_21": logs_np["rows"],
            "log_columns_21": logs_np["columns"],
        }
    )
