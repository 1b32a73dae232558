"""Norms of one module, again and again during training, or once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from .._validation import check_choices
from . import formulas
from .effective import evaluation_mode
from .entrywise import (
    log_column_norms,
    log_entry_norm,
    log_row_norms,
    parameters,
    read_parameter,
    scaled,
)
from .layers import WeightLayer, weight_layers
from .spectrum import SpectralNorms

__all__ = ["NORMS", "NormTracker", "compute_norms"]

# What each norm needs to know of every layer, in the order of its formula.
_PER_LAYER: dict[str, tuple[Callable[..., Tensor], tuple[str, ...]]] = {
    "spectral_complexity": (formulas.log_spectral_complexity, ("spectral", "rows")),
    "spectral_complexity_columns": (
        formulas.log_spectral_complexity_columns,
        ("spectral", "columns"),
    ),
    "spectral_product": (formulas.log_spectral_product, ("spectral",)),
    "group_21": (formulas.log_group_norm, ("columns",)),
}
# Sums over all parameters: the order of the entrywise norm.
_ENTRYWISE = {"frobenius": 2.0, "l1": 1.0}

NORMS: tuple[str, ...] = (*_PER_LAYER, *_ENTRYWISE)
"""Names of the norms that :func:`compute_norms` knows."""


class NormTracker:
    """Log-norms of one module, cheap to take again and again.

    The weights are found once and read at each call. Make a new tracker if
    layers are added or replaced.

    Parameters
    ----------
    module : torch.nn.Module
        The network. It is kept, not copied, and never changed: neither its
        mode, its buffers, its gradients nor the state of a random generator.
    names : sequence of str, default=("spectral_complexity",)
        Which norms, among :data:`NORMS`.

    See Also
    --------
    compute_norms : The same for a single call.

    Examples
    --------
    >>> import torch
    >>> from scalinglaw.norms import NormTracker
    >>> layer = torch.nn.Linear(2, 2, bias=False)
    >>> tracker = NormTracker(layer, ["spectral_product", "frobenius"])
    >>> for scale in (1.0, 10.0):
    ...     _ = layer.weight.data.copy_(scale * torch.eye(2))
    ...     norms = tracker.compute()
    ...     print(f"{norms['spectral_product']:.4f} {norms['frobenius']:.4f}")
    0.0000 0.3466
    2.3026 2.6492
    """

    def __init__(
        self, module: nn.Module, names: Iterable[str] = ("spectral_complexity",)
    ) -> None:
        self.names: tuple[str, ...] = check_choices(names, "names", NORMS)
        self.module = module
        needed = {
            n for name in self.names if name in _PER_LAYER for n in _PER_LAYER[name][1]
        }
        self._needed = sorted(needed)
        self._layers: list[WeightLayer] = weight_layers(module) if needed else []
        self._spectral = SpectralNorms()
        entrywise = any(name in _ENTRYWISE for name in self.names)
        self._parameters = _all_parameters(module) if entrywise else []

    def compute(self) -> dict[str, float]:
        """Return the natural logarithm of each norm, by name.

        Returns
        -------
        dict of str to float
            In the order of `names`. Minus infinity says that a layer, or for
            ``frobenius`` and ``l1`` every parameter, is zero.

        Raises
        ------
        ValueError
            If a weight is NaN or infinite; the message names its layer.
        """
        with evaluation_mode(self.module):
            per_layer = self._per_layer()
            norms = {}
            for name in self.names:
                if name in _ENTRYWISE:
                    norms[name] = self._entrywise(_ENTRYWISE[name])
                else:
                    formula, needs = _PER_LAYER[name]
                    norms[name] = float(formula(*(per_layer[need] for need in needs)))
        return norms

    def _per_layer(self) -> dict[str, Tensor]:
        """Return a CPU tensor of one log per layer for each quantity needed."""
        if not self._layers:
            return {}
        pairs = [scaled(layer.blocks()) for layer in self._layers]
        blocks = [quotient for quotient, _ in pairs]
        scales = _gather([log_scale for _, log_scale in pairs])
        _check_finite(scales, [layer.name for layer in self._layers])
        found = []
        for need in self._needed:
            if need == "spectral":
                found.append(_gather(self._spectral(blocks)))
            else:
                found.append(_gather([_SUMS[need](block) for block in blocks]))
        return {n: logs + scales for n, logs in zip(self._needed, found, strict=True)}

    def _entrywise(self, order: float) -> float:
        """Return the log of a norm of all parameters together."""
        logs = [
            log_entry_norm(read_parameter(part, attribute), order)
            for _, part, attribute in self._parameters
        ]
        table = _gather(logs)
        _check_finite(table, [name for name, _, _ in self._parameters])
        return float(torch.logsumexp(order * table, dim=0) / order)


_SUMS = {"rows": log_row_norms, "columns": log_column_norms}


def _gather(logs: list[Tensor]) -> Tensor:
    """Return scalars as one tensor on the CPU, in one transfer."""
    return torch.stack([log.to(logs[0].device) for log in logs]).cpu()


def _all_parameters(module: nn.Module) -> list[tuple[str, nn.Module, str]]:
    """Return every parameter with entries, or raise if there is none."""
    if not isinstance(module, nn.Module):
        weight_layers(module)
    with evaluation_mode(module):
        found = [p for p in parameters(module) if read_parameter(*p[1:]).numel()]
    if not found:
        raise ValueError(
            f"module has no parameter, got a {type(module).__name__}: "
            "there is nothing to take a norm of."
        )
    return found


def _check_finite(logs: Tensor, names: list[str]) -> None:
    """Raise if a log is NaN or plus infinity, and name where."""
    bad = [
        name
        for name, log in zip(names, logs.tolist(), strict=True)
        if math.isnan(log) or log == math.inf
    ]
    if bad:
        raise ValueError(
            f"weights must be finite, got NaN or infinity in {bad[0]!r} "
            f"({len(bad)} of {len(names)} tensors). Training has diverged: "
            "lower the learning rate, or stop recording before it does."
        )


def compute_norms(
    module: nn.Module, names: Iterable[str] = ("spectral_complexity",)
) -> dict[str, float]:
    r"""Natural logarithms of norms of a network.

    Weights are taken as matrices :math:`W_i` of shape (outputs, inputs): a
    convolution's kernel is reshaped to (out_channels, in_channels x kernel),
    attention counts as query, key, value and output projection. Biases,
    normalisation layers and embeddings contribute to ``frobenius`` and ``l1``
    only, which are sums over all parameters. A shared layer or a tied weight
    counts once.

    Parameters
    ----------
    module : torch.nn.Module
        The network, on any device and in any floating dtype. It is not
        changed.
    names : sequence of str, default=("spectral_complexity",)
        Which norms, among :data:`NORMS`:

        - ``spectral_complexity``: :math:`\prod_i\|W_i\|_s
          (\sum_i(\|W_i^T\|_{2,1}/\|W_i\|_s)^{2/3})^{3/2}` [1]_, the norm of
          the paper [2]_;
        - ``spectral_complexity_columns``: the variant in the code of [2]_
          for its CNN and ResNet; do not compare the two;
        - ``spectral_product``: :math:`\prod_i\|W_i\|_s`;
        - ``group_21``: sum over layers of the sum of column norms;
        - ``frobenius``, ``l1``: :math:`\sqrt{\sum w^2}` and
          :math:`\sum|w|` over all parameters.

    Returns
    -------
    dict of str to float
        Natural logarithms, by name. Minus infinity says that a layer is all
        zeros, as the head of torchvision's ``VisionTransformer`` is at first.

    Raises
    ------
    ValueError
        If the module has no weight matrix, or one that is not finite.

    See Also
    --------
    NormTracker : For a module that is measured many times.

    References
    ----------
    .. [1] Bartlett, Foster and Telgarsky (2017), arXiv:1706.08498.
    .. [2] D'Amico, Bocchi and Negri (2025), arXiv:2505.13230, eq. 6.

    Examples
    --------
    >>> import torch
    >>> from scalinglaw.norms import compute_norms
    >>> layer = torch.nn.Linear(3, 3, bias=False)
    >>> _ = layer.weight.data.copy_(torch.eye(3))
    >>> norms = compute_norms(layer, ["spectral_complexity", "l1"])
    >>> print({name: round(log, 4) for name, log in norms.items()})
    {'spectral_complexity': 1.0986, 'l1': 1.0986}
    """
    return NormTracker(module, names).compute()
