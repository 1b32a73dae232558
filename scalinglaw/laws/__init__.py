"""Exponents from trajectories: fits, intervals, tests and forecasts."""

from .estimator import ScalingLawEstimator
from .inference import Estimate
from .power_law import PowerLawFit

__all__ = ["Estimate", "PowerLawFit", "ScalingLawEstimator"]
