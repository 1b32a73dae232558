r"""Norms that look at data: the Fisher-Rao norm, and margins over a norm.

The Fisher-Rao norm of parameters :math:`\theta` is
:math:`(\theta^T I(\theta)\,\theta)^{1/2}` with the Fisher information
:math:`I = E[\nabla\ell\,\nabla\ell^T]` (Liang, Poggio, Rakhlin and Stokes 2019,
arXiv:1711.01530, definition 2). The product :math:`\theta\cdot\nabla_\theta\ell`
is the derivative of the loss when all parameters grow by one factor, so that one
pass in forward mode gives it for each sample.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from ._modules import evaluation_mode, told_of_forward

__all__ = [
    "are_tokens",
    "as_tensor",
    "labelled_batch",
    "log_fisher_rao",
    "log_margins",
]

# Samples in one pass: in float64 and with derivatives, memory is the limit.
_BATCH = 128


def labelled_batch(X: Any, y: Any) -> tuple[Tensor, Tensor]:
    """Return samples and classes as tensors, or say what is wrong with them.

    Parameters
    ----------
    X : array-like of shape (n, ...)
        Samples as the network takes them.
    y : array-like of shape (n,)
        Indices of the network's outputs.

    Returns
    -------
    X : Tensor
    y : Tensor of int64

    Raises
    ------
    TypeError, ValueError
        If either is missing, y are no integers, or the lengths differ.
    """
    if X is None or y is None:
        raise ValueError(
            "fisher_rao and margins depend on data: pass X, samples as the network "
            "takes them, and y, their classes, to the call; or leave 'fisher_rao' "
            "out of names."
        )
    X = as_tensor(X, "X")
    y = y if isinstance(y, Tensor) else np.asarray(y)
    if not _are_integers(y):
        raise TypeError(
            f"y must hold classes as integers from 0 on, got {y.dtype}. Use "
            "np.unique(labels, return_inverse=True)."
        )
    y = as_tensor(y, "y")
    if y.ndim != 1 or len(X) != len(y) or not len(y):
        raise ValueError(
            "X and y must hold the same number of samples, one at least, got shapes "
            f"{tuple(X.shape)} and {tuple(y.shape)}."
        )
    return X, y.long()


def as_tensor(values: Any, name: str) -> Tensor:
    """Return array-like data as a tensor without gradient."""
    if isinstance(values, Tensor):
        return values.detach()
    array = np.ascontiguousarray(values)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{name} must hold numbers, got an array of {array.dtype}.")
    # torch warns of memory that it could write to and must not.
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def are_tokens(module: nn.Module, X: Tensor) -> bool:
    """Whether samples are indices that an embedding of the network looks up.

    Bytes are taken as images, and integers without an embedding as numbers.
    """
    if not _are_integers(X) or X.dtype == torch.uint8:
        return False
    kinds = (nn.Embedding, nn.EmbeddingBag)
    return any(isinstance(part, kinds) for part in module.modules())


def _are_integers(values: Tensor | np.ndarray) -> bool:
    if isinstance(values, np.ndarray):
        return bool(np.issubdtype(values.dtype, np.integer))
    numbers = values.is_floating_point() or values.is_complex()
    return not numbers and values.dtype != torch.bool


def log_fisher_rao(module: nn.Module, X: Tensor, y: Tensor) -> float:
    r"""Log of the Fisher-Rao norm, with the labels of the data.

    With p the softmax of the logits f, :math:`t = \partial f/\partial\log\theta` and
    :math:`p_y - 1 = -\sum_{j\ne y} p_j`, the derivative of the loss is
    :math:`\sum_{j\ne y} p_j (t_j - t_y)`. This form keeps its digits when p_y is 1 in
    floating point, as it is at the end of training.

    Parameters
    ----------
    module : torch.nn.Module
        An ordinary network that returns logits of shape (n, n_classes).
    X : Tensor of shape (n, ...)
        Integers become floating-point numbers unless an embedding looks them up.
    y : Tensor of shape (n,), int64

    Returns
    -------
    float
        NaN if an output is not finite.
    """
    # Not the arguments of a parametrization count, but what it makes: the direction
    # of a weight of unit norm has no length that could grow. The network has been
    # made ordinary for that.
    tensors = {
        f"{prefix}.{name}".lstrip("."): _double(tensor)
        for prefix, part in module.named_modules()
        for name, tensor in part.named_parameters(recurse=False)
    }
    constants = {name: _double(buffer) for name, buffer in module.named_buffers()}
    device = next(iter(tensors.values())).device
    dtype = torch.long if are_tokens(module, X) else torch.float64
    logs = []
    for samples, labels in zip(X.split(_BATCH), y.split(_BATCH), strict=True):
        # A network may write over its input.
        samples = samples.to(device, dtype, copy=True)
        with _told_of_samples(samples):
            logits, tangent = _along_parameters(module, tensors, constants, samples)
        labels = _check_logits(logits, labels.to(device))
        own = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, labels, True)
        log_p = logits.log_softmax(dim=1).masked_fill(own, -math.inf)
        highest = log_p.max(dim=1).values
        weights = (log_p - highest[:, None]).exp()
        slope = (weights * (tangent - tangent.gather(1, labels))).sum(dim=1)
        logs.append(highest + slope.abs().log())
    each = torch.cat(logs).cpu()
    return float((torch.logsumexp(2 * each, dim=0) - math.log(len(each))) / 2)


def log_margins(module: nn.Module, X: Tensor, y: Tensor) -> tuple[np.ndarray, float]:
    r"""Margins of a network, and the log of the root mean square of its data.

    Parameters
    ----------
    module : torch.nn.Module
        A network that returns logits of shape (n, n_classes).
    X : Tensor of shape (n, ...)
    y : Tensor of shape (n,), int64

    Returns
    -------
    margins : ndarray of shape (n,), float64
        :math:`f_y - \max_{j\ne y} f_j`.
    log_scale : float
        Log of :math:`\|X\|_F / n`.
    """
    reference = next(module.parameters())
    margins, squares = [], 0.0
    for samples, labels in zip(X.split(8 * _BATCH), y.split(8 * _BATCH), strict=True):
        squares += float(torch.linalg.vector_norm(samples.double()) ** 2)
        # A network may write over its input.
        samples = samples.to(reference.device, reference.dtype, copy=True)
        with evaluation_mode(module), _told_of_samples(samples):
            logits = module(samples)
        logits = logits.double() if isinstance(logits, Tensor) else logits
        labels = _check_logits(logits, labels.to(samples.device))
        others = logits.scatter(1, labels, -math.inf).max(dim=1).values
        margins.append((logits.gather(1, labels)[:, 0] - others).cpu())
    log_scale = math.log(squares) / 2 - math.log(len(X)) if squares else -math.inf
    return torch.cat(margins).numpy(), log_scale


def _told_of_samples(samples: Tensor) -> AbstractContextManager[None]:
    """Say which samples the forward pass refuses."""
    where = f"on X of shape {tuple(samples.shape)}"
    return told_of_forward("X must hold samples as the network takes them", where)


def _check_logits(logits: Any, labels: Tensor) -> Tensor:
    """Return labels as a column, if there is a logit for each of them."""
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[1] < 2:
        came = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits)
        raise ValueError(
            "fisher_rao and margins need a network that returns one logit per class, "
            f"shape (n, n_classes) with 2 classes or more, got {came}."
        )
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(
            f"y must lie between 0 and {logits.shape[1] - 1}, the last output of the "
            f"network, got {int(labels.min())} to {int(labels.max())}."
        )
    return labels[:, None]


def _double(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    tensor = tensor.cpu() if tensor.device.type == "mps" else tensor
    return tensor.double() if tensor.is_floating_point() else tensor


def _along_parameters(
    module: nn.Module,
    tensors: dict[str, Tensor],
    constants: dict[str, Tensor],
    samples: Tensor,
) -> tuple[Any, Tensor]:
    """Return outputs, and their derivative along the parameters themselves."""
    with _forward_kernels(module), _told_if_missing(), forward_ad.dual_level():
        with warnings.catch_warnings():
            # torch compiles its own rules at the first dual, and warns of how.
            warnings.filterwarnings("ignore", message="`torch.jit.script`")
            duals = {name: forward_ad.make_dual(t, t) for name, t in tensors.items()}
        output = torch.func.functional_call(
            module, (duals, constants), (samples,), tie_weights=False
        )
        if not isinstance(output, Tensor):
            return output, samples  # refused by the caller
        logits, tangent = forward_ad.unpack_dual(output)
    return logits, torch.zeros_like(logits) if tangent is None else tangent


@contextmanager
def _forward_kernels(module: nn.Module) -> Iterator[None]:
    """Enter evaluation mode, with kernels that have forward-mode derivatives."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with evaluation_mode(module), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def _told_if_missing() -> Iterator[None]:
    """Say which norm it is that needs a derivative which torch has not."""
    try:
        yield
    except NotImplementedError as error:
        raise ValueError(
            "fisher_rao needs derivatives in forward mode, which torch has not for an "
            f"operation of this network: {str(error).splitlines()[0]} Leave "
            "'fisher_rao' out of names."
        ) from error
