r"""Exact generalisation error of the perceptron at fixed norm.

A teacher :math:`w_*` in :math:`R^N` labels :math:`P = \alpha N` Gaussian inputs. The
student minimises the logistic loss at fixed norm :math:`\lambda = \|w\|/\sqrt N`. For
:math:`N \to \infty` its overlap :math:`R = \cos\theta` with the teacher solves the
replica-symmetric equations

.. math::

   1 - R^2 = 2\alpha \int Dt\, H(-Rt/s)\, v(t)^2, \qquad
   R = \alpha \sqrt{2/\pi} \int Dz\, v(sz), \qquad s = \sin\theta,

where :math:`v = 2x\,\sigma(-2\lambda(t + v))` is the proximal step, and
:math:`\epsilon = \theta/\pi`. ``alpha`` is the load :math:`P/N` throughout this module.

References
----------
A. Engel and C. Van den Broeck, "Statistical Mechanics of Learning" (2001), ch. 3-4.
B. Aubin, F. Krzakala, Y. Lu and L. Zdeborova, arXiv:2006.06560 (2020).
F. D'Amico, D. Bocchi and M. Negri, arXiv:2505.13230 (2025).
"""

from ._constants import (
    BAYES_CONSTANT,
    EARLY_PREFACTOR,
    MAX_STABILITY_CONSTANT,
    OPTIMAL_EXCESS,
    OPTIMAL_NORM_CONSTANT,
)
from ._fixed_norm import (
    generalization_error,
    local_slope,
    optimal_error,
    optimal_norm,
)
from ._limits import (
    bayes_error,
    hebb_error,
    max_stability_error,
    square_loss_error,
)

__all__ = [
    "BAYES_CONSTANT",
    "EARLY_PREFACTOR",
    "MAX_STABILITY_CONSTANT",
    "OPTIMAL_EXCESS",
    "OPTIMAL_NORM_CONSTANT",
    "bayes_error",
    "generalization_error",
    "hebb_error",
    "local_slope",
    "max_stability_error",
    "optimal_error",
    "optimal_norm",
    "square_loss_error",
]
