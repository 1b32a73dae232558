"""Exponents from trajectories: fits, intervals, tests and forecasts."""

from ._backtest import backtest
from ._compare import ExponentComparison, compare_exponents
from ._planning import required_seeds
from ._power_law import PowerLawFit
from .estimator import ScalingLawEstimator
from .inference import Estimate

__all__ = [
    "Estimate",
    "ExponentComparison",
    "PowerLawFit",
    "ScalingLawEstimator",
    "backtest",
    "compare_exponents",
    "required_seeds",
]
