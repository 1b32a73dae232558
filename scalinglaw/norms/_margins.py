"""Margins of a trained network, over its complexity."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import nn

from ._data import are_tokens, labelled_batch, log_margins
from ._modules import uncompiled
from ._tracker import compute_norms

__all__ = ["normalized_margins"]


def normalized_margins(
    module: nn.Module,
    X: Any,
    y: Any,
    *,
    norm: str = "spectral_complexity",
    conv: str = "kernel",
    fold_normalization: bool = False,
    input_shape: Iterable[int] | None = None,
) -> np.ndarray:
    r"""Margins of a network divided by its norm and the size of its inputs.

    .. math::

        \frac{f(x_i)_{y_i} - \max_{j\ne y_i} f(x_i)_j}{R\,\|X\|_F/n}

    with R the norm of the network, :math:`\|X\|_F^2=\sum_i\|x_i\|^2`, and n samples.
    Their distribution on the training set, not the norm alone, is what the bound of
    Bartlett, Foster and Telgarsky [1]_ speaks of: a network may double its norm and
    its margins together and generalise alike.

    Parameters
    ----------
    module : torch.nn.Module
        The network, which returns logits. It is not changed.
    X : array-like of shape (n_samples, ...)
        Samples as the network takes them.
    y : array-like of shape (n_samples,)
        Their classes, as the indices of the network's outputs.
    norm : str, default="spectral_complexity"
        R, among :data:`NORMS`.
    conv, fold_normalization, input_shape : object
        See :func:`compute_norms`.

    Returns
    -------
    ndarray of shape (n_samples,), float64
        Without unit; negative where the prediction is wrong.

    Raises
    ------
    ValueError
        If the norm is zero or not defined, or data are missing or do not fit; if X
        holds tokens, indices for an embedding, which have no size.

    References
    ----------
    .. [1] Bartlett, Foster and Telgarsky (2017), arXiv:1706.08498.

    Examples
    --------
    >>> import torch
    >>> from scalinglaw.norms import normalized_margins
    >>> net = torch.nn.Linear(2, 2, bias=False)
    >>> _ = net.weight.data.copy_(torch.eye(2))
    >>> margins = normalized_margins(net, torch.eye(2), torch.tensor([0, 1]))
    >>> margins.round(4)
    array([0.7071, 0.7071])
    """
    samples, labels = labelled_batch(X, y)
    if are_tokens(uncompiled(module), samples):
        raise ValueError(
            "normalized_margins divides by the size of X, which indices of an "
            f"embedding have not, got X of {samples.dtype}. Pass what the embedding "
            "returns, and the network that follows it; if X holds numbers, convert "
            "them to floating point."
        )
    log_norm = compute_norms(
        module,
        (norm,),
        conv=conv,
        fold_normalization=fold_normalization,
        input_shape=input_shape,
        X=samples,
        y=labels,
    )[norm]
    margins, log_size = log_margins(module, samples, labels)
    log_scale = log_norm + log_size
    if log_scale == -math.inf:
        what = "norm of the network" if log_norm == -math.inf else "size of X"
        raise ValueError(
            f"margins cannot be divided by the {what}, which is zero: a layer, or all "
            "of the data, holds only zeros."
        )
    # In one exponential: the norm alone may be above 1e308.
    with np.errstate(divide="ignore"):
        return np.sign(margins) * np.exp(np.log(np.abs(margins)) - log_scale)
