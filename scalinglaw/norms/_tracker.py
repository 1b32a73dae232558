"""Norms of one module, again and again during training, or once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from .._validation import check_choices, check_integers, check_option
from . import _formulas as formulas
from ._data import as_tensor, labelled_batch, log_fisher_rao
from ._entrywise import log_entrywise_norm, parameters
from ._folding import find_folds, ordinary
from ._matrices import find_layers
from ._modules import evaluation_mode, told_of_depth, uncompiled
from ._path import log_path_norm
from ._per_layer import CONV, layer_logs, operator_sizes

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

NORMS: tuple[str, ...] = (*_PER_LAYER, *_ENTRYWISE, "path", "fisher_rao")
"""Names of the norms that :func:`compute_norms` knows."""


class NormTracker:
    """Log-norms of one module, to be taken again and again.

    Arguments are checked, and what is not counted is announced, once: at the start.
    Every call reads the weights anew.

    Parameters
    ----------
    module : torch.nn.Module
        The network. It is kept, not copied, and never changed: neither its
        mode, its buffers, its gradients nor the state of a random generator.
    names : sequence of str, default=("spectral_complexity",)
        Which norms, among :data:`NORMS`.
    conv : {"kernel", "operator"}, default="kernel"
        What the matrix of a convolution is; see :func:`compute_norms`.
    fold_normalization : bool, default=False
        Whether batch normalisation counts; see :func:`compute_norms`.
    input_shape : tuple of int, optional
        Shape of a sample; see :func:`compute_norms`.
    X, y : array-like, optional
        Samples and their classes, for ``fisher_rao``; kept for all calls.

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
        self,
        module: nn.Module,
        names: Iterable[str] = ("spectral_complexity",),
        *,
        conv: str = "kernel",
        fold_normalization: bool = False,
        input_shape: Iterable[int] | None = None,
        X: Any = None,
        y: Any = None,
    ) -> None:
        self.names: tuple[str, ...] = check_choices(names, "names", NORMS)
        self.conv: str = check_option(conv, "conv", CONV)
        self.fold_normalization = bool(fold_normalization)
        # The forward pass of a compiled module is not ours.
        self.module: nn.Module = uncompiled(module)
        self.input_shape = _sample_shape(input_shape, X)
        self._needed = sorted(
            {n for name in self.names for n in _PER_LAYER.get(name, (None, ()))[1]}
        )
        if "fisher_rao" in self.names:
            self._batch = labelled_batch(X, y)
        with told_of_depth():
            # Which layer a normalisation follows does not change in training.
            self._folds = find_folds(self.module) if self.fold_normalization else []
            net = ordinary(self.module, self._folds)
            with evaluation_mode(net):
                if self._needed:
                    layers = find_layers(net)
                    self._sizes = (
                        operator_sizes(net, layers, self.input_shape)
                        if self.conv == "operator"
                        else {}
                    )
                # What is left is defined by parameters of any kind.
                if any(name not in _PER_LAYER for name in self.names):
                    parameters(net)
                if "path" in self.names and self.input_shape is None:
                    self.input_shape = _first_shape(net)

    def compute(self) -> dict[str, float]:
        """Return the natural logarithm of each norm, by name.

        Returns
        -------
        dict of str to float
            In the order of `names`. Minus infinity says that the norm is zero:
            that of a product if a layer is zero, ``frobenius`` and ``l1`` if every
            parameter is.

        Raises
        ------
        ValueError
            If a weight is NaN or infinite; the message names its layer.
        """
        # Every norm sees an ordinary network.
        with told_of_depth():
            net = ordinary(self.module, self._folds)
            with evaluation_mode(net):
                return self._compute(net)

    def _compute(self, net: nn.Module) -> dict[str, float]:
        per_layer: dict[str, Tensor] = {}
        if self._needed:
            per_layer = layer_logs(
                find_layers(net, announce=False), self._needed, self._sizes
            )
        norms = {}
        for name in self.names:
            if name in _PER_LAYER:
                formula, needs = _PER_LAYER[name]
                norms[name] = float(formula(*(per_layer[need] for need in needs)))
            elif name in _ENTRYWISE:
                norms[name] = log_entrywise_norm(net, _ENTRYWISE[name])
            else:
                norms[name] = self._by_forward_pass(net, name)
        return norms

    def _by_forward_pass(self, net: nn.Module, name: str) -> float:
        if name == "path":
            norm = log_path_norm(net, self.input_shape or ())
        else:
            norm = log_fisher_rao(net, *self._batch)
        if math.isnan(norm) or norm == math.inf:
            log_entrywise_norm(net, 1.0)  # names the weight that is not finite
            raise ValueError(
                f"{name} is not finite: the network's outputs leave the range of "
                "floating-point numbers on the given data."
            )
        return norm


def _sample_shape(input_shape: Any, X: Any) -> tuple[int, ...] | None:
    """Return the shape of a sample, as given or as in the data."""
    if input_shape is not None:
        return check_integers(input_shape, "input_shape")
    return None if X is None else tuple(as_tensor(X, "X").shape[1:])


def _first_shape(module: nn.Module) -> tuple[int, ...]:
    """Return the shape of a sample of a network that starts with a linear layer."""
    first = find_layers(module, announce=False)[0].module
    if not isinstance(first, nn.Linear):
        raise ValueError(
            "path depends on the shape of a sample unless the first layer is linear, "
            f"got a {type(first).__name__}: pass input_shape, such as "
            "input_shape=(3, 32, 32)."
        )
    return (first.in_features,)


def compute_norms(
    module: nn.Module,
    names: Iterable[str] = ("spectral_complexity",),
    *,
    conv: str = "kernel",
    fold_normalization: bool = False,
    input_shape: Iterable[int] | None = None,
    X: Any = None,
    y: Any = None,
) -> dict[str, float]:
    r"""Natural logarithms of norms of a network.

    Weights are taken as matrices :math:`W_i` of shape (outputs, inputs): a
    convolution's kernel is reshaped to (out_channels, in_channels x kernel),
    attention counts as query, key, value and output projection. Biases,
    normalisation layers and embeddings contribute to ``frobenius``, ``l1`` and
    ``fisher_rao`` only, which are taken over all parameters. A shared layer or a
    tied weight counts once. A weight that a parametrization or a hook makes
    (``weight_norm``, ``spectral_norm``, ``prune``) counts as the forward pass uses it.

    Parameters
    ----------
    module : torch.nn.Module
        The network, on any device and in any floating dtype. It is not
        changed, and read as it is in evaluation mode.
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
          :math:`\sum|w|` over all parameters;
        - ``path``: root of the sum, over all paths from an input to an output, of
          the product of squared weights [3]_. Pooled maxima are sums over their
          windows [4]_, residual branches add. Smooth activations, normalisation
          and the position-dependent part of attention have no exact meaning for
          paths: by convention the first two count as the identity, and attention
          looks at every token alike, so that query and key do not count;
        - ``fisher_rao``: :math:`\sqrt{E[(\theta\cdot\nabla_\theta\ell)^2]}` of
          the cross-entropy of the network's logits [5]_ on `X` and `y`.
    conv : {"kernel", "operator"}, default="kernel"
        With ``"operator"``, :math:`W_i` of a convolution is the whole matrix from
        input pixels to output pixels, at the size of image that the layer meets,
        with a periodic boundary [6]_: the norms are those of the fully connected
        network that computes the same. Zero padding is taken as periodic, and a
        size that the stride does not divide is rounded up: for these the operator
        norm is that of a nearby map. ``frobenius``, ``l1``, ``path`` and
        ``fisher_rao`` do not depend on it.
    fold_normalization : bool, default=False
        Merge the scale that each batch normalisation has in evaluation into the
        layer before it, as :func:`fold_normalization` does, and take the norms of
        that network. Each tied layer with a scale of its own then counts.
    input_shape : tuple of int, optional
        Shape of one sample, such as ``(3, 32, 32)``. Needed by ``path`` unless the
        first layer is linear, and by ``conv="operator"`` if there are convolutions.
        Taken from `X` where that is given.
    X : array-like of shape (n_samples, ...), optional
        Samples as the network takes them; needed by ``fisher_rao``. Integers are
        taken as numbers, unless the network has an embedding to look them up; bytes
        (uint8) are always numbers.
    y : array-like of shape (n_samples,), optional
        Their classes, as the indices of the network's outputs.

    Returns
    -------
    dict of str to float
        Natural logarithms, by name. Minus infinity says that a layer is all
        zeros, as the head of torchvision's ``VisionTransformer`` is at first.

    Raises
    ------
    ValueError
        If the module has no weight matrix, or one that is not finite; if a norm
        needs data or a shape that are not there, or is not defined for an operation
        of the network; if the network takes no sample of the given shape, or a
        normalisation cannot be folded.

    See Also
    --------
    NormTracker : For a module that is measured many times.
    layer_table : The norms of each layer.
    normalized_margins : Margins over the spectral complexity.

    References
    ----------
    .. [1] Bartlett, Foster and Telgarsky (2017), arXiv:1706.08498.
    .. [2] D'Amico, Bocchi and Negri (2025), arXiv:2505.13230, eq. 6.
    .. [3] Neyshabur, Tomioka and Srebro (2015), arXiv:1503.00036.
    .. [4] Gonon, Brisebarre, Riccietti and Gribonval (2024), arXiv:2310.01225.
    .. [5] Liang, Poggio, Rakhlin and Stokes (2019), arXiv:1711.01530.
    .. [6] Sedghi, Gupta and Long (2019), arXiv:1805.10408.

    Examples
    --------
    >>> import torch
    >>> from scalinglaw.norms import compute_norms
    >>> layer = torch.nn.Linear(3, 3, bias=False)
    >>> _ = layer.weight.data.copy_(torch.eye(3))
    >>> norms = compute_norms(layer, ["spectral_complexity", "l1", "path"])
    >>> print({name: round(log, 4) for name, log in norms.items()})
    {'spectral_complexity': 1.0986, 'l1': 1.0986, 'path': 0.5493}
    """
    return NormTracker(
        module,
        names,
        conv=conv,
        fold_normalization=fold_normalization,
        input_shape=input_shape,
        X=X,
        y=y,
    ).compute()
