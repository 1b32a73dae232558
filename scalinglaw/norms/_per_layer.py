"""What the norms need to know of each weight matrix, as one log per layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .._validation import check_integers, check_option
from ._entrywise import (
    check_finite,
    gather,
    log_column_norms,
    log_entry_norm,
    log_row_norms,
    scaled,
)
from ._folding import find_folds, ordinary
from ._matrices import WeightLayer, find_layers
from ._modules import evaluation_mode, told_of_depth, uncompiled
from ._operator import Operator, input_sizes
from ._probe import geometry
from ._spectral import log_spectral_norms

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CONV", "layer_logs", "layer_table", "operator_sizes"]

CONV = ("kernel", "operator")
_SUMS = {
    "rows": log_row_norms,
    "columns": log_column_norms,
    "frobenius": lambda blocks: log_entry_norm(blocks, 2.0),
}
Sizes = dict[int, list[tuple[int, ...]]]


def layer_logs(
    layers: Sequence[WeightLayer], needed: Sequence[str], sizes: Sizes | None = None
) -> dict[str, Tensor]:
    """Return a CPU tensor of one log per layer for each quantity.

    Parameters
    ----------
    layers : sequence of WeightLayer
        Matrices of a network.
    needed : sequence of {"spectral", "rows", "columns", "frobenius"}
        The largest singular value; the sums of the norms of rows and of columns;
        the root of the sum of squares.
    sizes : dict of int to list of tuple of int, optional
        Sizes of image of the layers, by their index, that count as the operator of a
        convolution.

    Returns
    -------
    dict of str to Tensor of shape (n_layers,), float64

    Raises
    ------
    ValueError
        If a weight is NaN or infinite; the message names its layer.
    """
    sizes = sizes or {}
    reshaped = [i for i in range(len(layers)) if i not in sizes]
    logs = {need: torch.empty(len(layers)).double() for need in needed}
    if reshaped:
        found = _logs_of_kernels([layers[i] for i in reshaped], needed)
        for need in needed:
            logs[need][reshaped] = found[need]
    for i, met in sizes.items():
        # A weight that meets images of several sizes counts with its largest norm.
        each = [_logs_of_operator(layers[i], size, needed) for size in met]
        for need in needed:
            logs[need][i] = max(found[need] for found in each)
    return logs


def _logs_of_kernels(
    layers: Sequence[WeightLayer], needed: Sequence[str]
) -> dict[str, Tensor]:
    pairs = [scaled(layer.blocks()) for layer in layers]
    blocks = [quotient for quotient, _ in pairs]
    columns = [[log_scale for _, log_scale in pairs]]
    for need in needed:
        if need == "spectral":
            columns.append(log_spectral_norms(blocks))
        else:
            columns.append([_SUMS[need](block) for block in blocks])
    # The only transfer from the device.
    table = gather([log for column in columns for log in column])
    scales, *found = table.reshape(len(columns), len(layers))
    check_finite(scales, [layer.name for layer in layers])
    return {need: logs + scales for need, logs in zip(needed, found, strict=True)}


def _logs_of_operator(
    layer: WeightLayer, size: tuple[int, ...], needed: Sequence[str]
) -> dict[str, float]:
    weight, log_scale = scaled(layer.weight)
    check_finite(log_scale[None], [layer.name])
    operator = Operator(layer.module, weight, size)
    return {
        need: float(getattr(operator, f"log_{need}")()) + float(log_scale)
        for need in needed
    }


def operator_sizes(
    net: nn.Module,
    layers: Sequence[WeightLayer],
    input_shape: tuple[int, ...] | None,
) -> Sizes:
    """Return the sizes of image that each convolution meets, by the index of its layer.

    Parameters
    ----------
    net : torch.nn.Module
        Ordinary network of the layers.
    layers : sequence of WeightLayer
        Its matrices.
    input_shape : tuple of int or None
        Shape of a sample; needed if there is a convolution.

    Returns
    -------
    dict of int to list of tuple of int
    """
    for layer in layers:
        found = geometry(layer.module)
        if found and found[1] and not layer.is_convolution:
            raise ValueError(
                f'conv="operator" needs torch\'s own convolutions, got {layer.name!r}, '
                f'a {type(layer.module).__name__}: use conv="kernel".'
            )
    convolutions = [i for i, layer in enumerate(layers) if layer.is_convolution]
    if not convolutions:
        return {}
    if input_shape is None:
        raise ValueError(
            'conv="operator" depends on the size of the images: pass '
            "input_shape=(channels, height, width), the shape of one sample."
        )
    found_sizes = input_sizes(net, tuple(input_shape))
    sizes = {}
    for i in convolutions:
        own = layers[i].module
        met: set[tuple[int, ...]] = set()
        for part, others in found_sizes.items():
            if part is own or _as_operator(part) == _as_operator(own):
                met |= others
        if not met:
            raise ValueError(
                f"the forward pass does not call {layers[i].name!r}, so that it has no "
                'size of input: use conv="kernel".'
            )
        sizes[i] = sorted(met)
    return sizes


def _as_operator(part: Any) -> tuple[Any, ...]:
    """Return what the matrix of a convolution depends on, beside the size."""
    return id(part.weight), type(part), part.stride, part.dilation, part.groups


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
    with told_of_depth():
        net = ordinary(inner, find_folds(inner) if fold_normalization else ())
        with evaluation_mode(net):
            layers = find_layers(net)
            sizes = operator_sizes(net, layers, shape) if conv == "operator" else {}
            needed = ["spectral", "frobenius", "rows", "columns"]
            logs = layer_logs(layers, needed, sizes)
    shapes = [
        tuple(layer.weight.shape)
        if layer.is_convolution
        else tuple(layer.blocks().shape[1:])
        for layer in layers
    ]
    logs_np = {name: values.numpy() for name, values in logs.items()}
    zero = np.isneginf(logs_np["spectral"])
    difference = np.zeros(len(zero))
    np.subtract(logs_np["frobenius"], logs_np["spectral"], out=difference, where=~zero)
    return pd.DataFrame(
        {
            "name": [layer.name for layer in layers],
            "shape": shapes,
            "log_spectral": logs_np["spectral"],
            "log_frobenius": logs_np["frobenius"],
            "stable_rank": np.where(zero, np.nan, np.exp(2 * difference)),
            "log_rows_21": logs_np["rows"],
            "log_columns_21": logs_np["columns"],
        }
    )
