"""Train one classifier at many train sizes and seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .cache import read_cache, read_records
from .estimator import TrajectorySweep

if TYPE_CHECKING:
    from .stopping import StopAfterOptimum

__all__ = ["StopAfterOptimum", "TrajectorySweep", "read_cache", "read_records"]


def __getattr__(name: str) -> Any:
    # It needs skorch, hence torch; sweeps of numpy's classifiers need neither.
    if name == "StopAfterOptimum":
        from .stopping import StopAfterOptimum

        return StopAfterOptimum
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
