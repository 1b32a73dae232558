"""What the laws tend to at large loads; the tests hold each against its function."""

from __future__ import annotations

import numpy as np

__all__ = [
    "ALPHA_RANGE",
    "BAYES_CONSTANT",
    "EARLY_PREFACTOR",
    "MAX_STABILITY_CONSTANT",
    "NORM_RANGE",
    "OPTIMAL_EXCESS",
    "OPTIMAL_NORM_CONSTANT",
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
