r"""Leave out samples whose weight in the gradient cannot matter.

A sample far beyond the smallest margin has a weight of :math:`e^{-2\lambda\Delta}`
relative to the largest. At a norm of 100 this concerns four samples of five. Which
ones may be left out follows from a bound, not from a guess: a direction that moved by
:math:`\delta` has changed no margin by more than :math:`\delta` times the longest
sample.
"""

from __future__ import annotations

import numpy as np

__all__ = ["ScreenedSamples"]

# Samples left out weigh less than exp(-36) = 2e-16 each, relative to the largest.
_CUT = 36.0
# Drawn wider than needed, so that the selection lasts while the direction moves.
_SLACK = 1.6
# A selection is renewed once the norm has outgrown it by this factor, ...
_OUTGROWN = 1.5
# ... and is not worth a copy if it keeps more than this share of the samples.
_WORTHWHILE = 0.7


class ScreenedSamples:
    r"""The samples that matter at a norm and a direction.

    Parameters
    ----------
    signed : array of shape (n_samples, n_features)
        Inputs times labels -1 and 1.
    screen : bool
        False where the loss does not let weights decay: then all samples matter.
    """

    def __init__(self, signed: np.ndarray, screen: bool = True):
        self._all = self._kept = signed
        self._screen = screen
        self._longest = np.sqrt(np.einsum("ij,ij->i", signed, signed).max())
        self._gap = -np.inf
        self._norm = 0.0
        self._direction = np.zeros(signed.shape[1])

    def at(self, norm: float, direction: np.ndarray) -> np.ndarray:
        r"""Return the samples that matter.

        Parameters
        ----------
        norm : float
            :math:`\lambda`.
        direction : array of shape (n_features,)
            Close to unit length.

        Returns
        -------
        array of shape (n_kept, n_features)
            All but those of negligible weight.
        """
        if self._screen and not self._lasts(norm, direction):
            self._renew(norm, direction)
        return self._kept

    def _lasts(self, norm: float, direction: np.ndarray) -> bool:
        if norm > _OUTGROWN * self._norm:
            return False
        # Both the sample left out and the smallest margin may have moved.
        moved = 2 * self._longest * float(np.linalg.norm(direction - self._direction))
        return 2 * norm * (self._gap - moved) >= _CUT

    def _renew(self, norm: float, direction: np.ndarray) -> None:
        margin = self._all @ direction
        self._gap = _SLACK * _CUT / (2 * norm)
        self._norm, self._direction = norm, direction.copy()
        # A negative margin's weight is near its largest value, 1.
        near = margin <= max(margin.min(), 0.0) + self._gap
        if near.mean() > _WORTHWHILE:
            self._kept, self._gap = self._all, np.inf
        else:
            self._kept = self._all[near]
