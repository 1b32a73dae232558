"""Warnings that a user may want to filter by class, and one error with a table.

Other errors are plain ``ValueError``, ``TypeError`` and scikit-learn's
``NotFittedError``.
"""

from typing import Any

__all__ = [
    "CensoredOptimumWarning",
    "RunFailedWarning",
    "SweepFailedError",
    "TrajectoryWarning",
    "UncountedParameterWarning",
    "UnresolvedExponentWarning",
    "ZeroNormWarning",
]


class TrajectoryWarning(UserWarning):
    """Rows of a trajectory table were dropped, replaced or look unusual."""


class ZeroNormWarning(TrajectoryWarning):
    """A layer holds only zeros, so that its log-norm is minus infinity."""


class UncountedParameterWarning(UserWarning):
    """Parameters that may multiply activations are left out of the norm, by name."""


class CensoredOptimumWarning(UserWarning):
    """Training stopped before a lowest test error, or a knee, could be seen."""


class UnresolvedExponentWarning(UserWarning):
    """The data do not show a clean power law: an exponent is only effective."""


class RunFailedWarning(UserWarning):
    """Runs of a sweep failed or were not reached, and are missing from its table."""


class SweepFailedError(ValueError):
    """Every run of a sweep failed.

    Parameters
    ----------
    message : str
        How many runs failed, and the reason of the first.
    failures : DataFrame
        Runs that failed: ``train_size``, ``seed``, ``reason``, ``details``.
    """

    def __init__(self, message: str, failures: Any = None) -> None:
        super().__init__(message)
        self.failures = failures
