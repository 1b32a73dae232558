"""What the laws tend to at large loads, and the points at which they are computed."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._validation import check_range

__all__ = [
    "ALPHA_RANGE",
    "BAYES_CONSTANT",
    "EARLY_PREFACTOR",
    "MAX_STABILITY_CONSTANT",
    "NORM_RANGE",
    "OPTIMAL_EXCESS",
    "OPTIMAL_NORM_CONSTANT",
    "check_points",
]

#: :math:`k_1 = [2\sqrt{2/\pi}(\ln 2 - 1/2)]^{1/2} = 0.555174`: for
#: :math:`\alpha \to \infty` and norms well above 1 and below the optimum, error /
#: Hebb's error = k1 norm^(-1/2), so that gamma1 = 1/2.
EARLY_PREFACTOR = float(np.sqrt(2 * np.sqrt(2 / np.pi) * (np.log(2) - 0.5)))
#: Limit of optimal norm / alpha for :math:`\alpha \to \infty`, so that gamma2 = 1
#: (arXiv:2505.13230).
OPTIMAL_NORM_CONSTANT = 0.883585
#: Limit of optimal error / Bayes error - 1: near Bayes, and not Bayes.
OPTIMAL_EXCESS = 6.29e-4
#: Limit of alpha times the error of maximal stability (Engel and Van den Broeck 2001).
MAX_STABILITY_CONSTANT = 0.500489
#: Limit of alpha times the error of the Bayes-optimal student (ibid.).
BAYES_CONSTANT = 0.441700

#: Loads that the functions take.
ALPHA_RANGE = (0.1, 1e6)
#: Norms that they take; the optimum of the largest load is among them.
NORM_RANGE = (1e-3, 1e6)


def check_points(alpha: Any, norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return loads and norms within their ranges, as arrays of one shape.

    Parameters
    ----------
    alpha, norm : float or array
        Loads and norms.

    Returns
    -------
    alpha, norm : arrays of one shape
        The same, broadcast against each other.

    Raises
    ------
    TypeError, ValueError
        If a value is no number or out of its range, or if the shapes do not fit.
    """
    alpha = check_range(alpha, "alpha", *ALPHA_RANGE)
    norm = check_range(norm, "norm", *NORM_RANGE)
    try:
        alpha, norm = np.broadcast_arrays(alpha, norm)
    except ValueError:
        raise ValueError(
            "alpha and norm must have shapes that broadcast, got "
            f"{alpha.shape} and {norm.shape}."
        ) from None
    return alpha, norm
