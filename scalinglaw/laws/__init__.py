"""Exponents from trajectories: fits, intervals, tests and forecasts."""

from ._backtest import backtest
from ._compare import ExponentComparison, compare_exponents
from ._estimates import Estimate
from ._estimator import ScalingLawEstimator
from ._planning import required_seeds
from ._power_law import PowerLawFit
from ._published import PublishedScalingLaw

__all__ = [
    "Estimate",
    "ExponentComparison",
    "PowerLawFit",
    "PublishedScalingLaw",
    "ScalingLawEstimator",
    "backtest",
    "compare_exponents",
    "required_seeds",
]
