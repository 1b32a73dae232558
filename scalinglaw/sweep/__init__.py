"""Train one classifier at many train sizes and seeds."""

from .cache import read_cache, read_records
from .estimator import TrajectorySweep

__all__ = ["TrajectorySweep", "read_cache", "read_records"]
