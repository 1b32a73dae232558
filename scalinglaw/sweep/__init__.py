"""Train one classifier at many train sizes and seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._cache import read_cache, read_records
from ._estimator import TrajectorySweep

if TYPE_CHECKING:
    from ._stopping import StopAfterOptimum, has_passed_optimum

__all__ = [
    "StopAfterOptimum",
    "TrajectorySweep",
    "has_passed_optimum",
    "read_cache",
    "read_records",
]


def __getattr__(name: str) -> Any:
    # They need skorch, hence torch; sweeps of numpy's classifiers need neither.
    if name in ("StopAfterOptimum", "has_passed_optimum"):
        from . import _stopping

        return getattr(_stopping, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
