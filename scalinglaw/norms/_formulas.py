r"""From the norms of single layers to the norm of the network, in logarithms.

Sources: Bartlett, Foster and Telgarsky (2017), arXiv:1706.08498, for the
spectral complexity with reference matrices 0; D'Amico, Bocchi and Negri
(2025), arXiv:2505.13230, eq. 6.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "log_group_norm",
    "log_spectral_complexity",
    "log_spectral_complexity_columns",
    "log_spectral_product",
]


def log_spectral_product(log_spectral: Tensor) -> Tensor:
    r"""Log of :math:`\prod_i\|W_i\|_s`, from one log per layer."""
    return log_spectral.sum()


def log_group_norm(log_columns: Tensor) -> Tensor:
    r"""Log of :math:`\sum_i\|W_i\|_{2,1}`, from one log per layer."""
    return torch.logsumexp(log_columns, dim=0)


def _log_complexity(log_spectral: Tensor, log_numerators: Tensor) -> Tensor:
    """Product of spectral norms times the (3/2)-power sum of ratios.

    A layer of zeros computes nothing: the product, and so the norm, is zero.
    """
    if torch.isneginf(log_spectral).any():
        return log_spectral.new_full((), -torch.inf)
    ratios = torch.logsumexp(2 / 3 * (log_numerators - log_spectral), dim=0)
    return log_spectral.sum() + 1.5 * ratios


def log_spectral_complexity(log_spectral: Tensor, log_rows: Tensor) -> Tensor:
    r"""Log of the spectral complexity.

    .. math::

        R = \prod_i\|W_i\|_s \Bigl(\sum_i
            \bigl(\|W_i^T\|_{2,1} / \|W_i\|_s\bigr)^{2/3}\Bigr)^{3/2}

    Parameters
    ----------
    log_spectral, log_rows : Tensor of shape (n_layers,), float64
        Logs of :math:`\|W_i\|_s` and of :math:`\|W_i^T\|_{2,1}`.

    Returns
    -------
    Tensor, shape ()
    """
    return _log_complexity(log_spectral, log_rows)


def log_spectral_complexity_columns(
    log_spectral: Tensor, log_columns: Tensor
) -> Tensor:
    r"""Log of the variant in the paper's code for its CNN and ResNet.

    .. math::

        R' = \prod_i\|W_i\|_s \Bigl(\sum_i \Bigl(
             \sum_{j>i}\|W_j\|_{2,1} / \|W_i\|_s\Bigr)^{2/3}\Bigr)^{3/2}

    with column norms of the layers after layer i. The last layer contributes
    nothing to the sum, so that a network of one layer has norm zero.

    Parameters
    ----------
    log_spectral, log_columns : Tensor of shape (n_layers,), float64
        Logs of :math:`\|W_i\|_s` and of :math:`\|W_i\|_{2,1}`, in the order
        of the layers.

    Returns
    -------
    Tensor, shape ()
    """
    after = torch.logcumsumexp(log_columns[1:].flip(0), dim=0).flip(0)
    none = log_columns.new_full((1,), -torch.inf)
    return _log_complexity(log_spectral, torch.cat([after, none]))
