"""What a reader of a fit must know: sentences, with the warnings they are given as."""

from __future__ import annotations

from dataclasses import dataclass

from ..exceptions import (
    CensoredOptimumWarning,
    TrajectoryWarning,
    UnresolvedExponentWarning,
    ZeroNormWarning,
)

__all__ = ["Remark", "of_data", "of_exponents", "of_optima", "of_zero_norms"]


@dataclass(frozen=True)
class Remark:
    """A sentence about a fit.

    Parameters
    ----------
    text : str
        A whole sentence, or several.
    category : type of Warning or None
        Class of the warning that `fit` gives it as; None where it is only for the
        summary.
    """

    text: str
    category: type[Warning] | None = None


def of_data(text: str) -> Remark:
    """Return a remark on rows that were dropped or look unusual."""
    return Remark(text, TrajectoryWarning)


def of_zero_norms(text: str) -> Remark:
    """Return a remark on layers of zeros."""
    return Remark(text, ZeroNormWarning)


def of_optima(text: str) -> Remark:
    """Return a remark on optima that training did not reach."""
    return Remark(text, CensoredOptimumWarning)


def of_exponents(text: str) -> Remark:
    """Return a remark on exponents that the data do not support."""
    return Remark(text, UnresolvedExponentWarning)
