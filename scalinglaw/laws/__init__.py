"""Exponents from trajectories: fits, intervals, tests and forecasts."""

from ._power_law import PowerLawFit
from .backtest import backtest
from .compare import ExponentComparison, compare_exponents
from .estimator import ScalingLawEstimator
from .inference import Estimate
from .planning import required_seeds

__all__ = [
    "Estimate",
    "ExponentComparison",
    "PowerLawFit",
    "ScalingLawEstimator",
    "backtest",
    "compare_exponents",
    "required_seeds",
]
