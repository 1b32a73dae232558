"""Warnings that a user may want to filter by class.

Errors are plain ``ValueError``, ``TypeError`` and scikit-learn's
``NotFittedError``; only warnings have classes of their own.
"""

__all__ = [
    "CensoredOptimumWarning",
    "RunFailedWarning",
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
    """A matrix of parameters belongs to no known kind of layer and is left out."""


class CensoredOptimumWarning(UserWarning):
    """Training stopped before a lowest test error, or a knee, could be seen."""


class UnresolvedExponentWarning(UserWarning):
    """The data do not show a clean power law: an exponent is only effective."""


class RunFailedWarning(UserWarning):
    """Runs of a sweep failed or were not reached, and are missing from its table."""
