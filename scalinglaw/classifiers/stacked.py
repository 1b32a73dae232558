"""Nothing is stacked any more; here until the sweep stops asking."""

from typing import Any


def why_single(*args: Any) -> str:
    """Return why runs are trained one by one."""
    return "networks are trained one by one"


def fit_stacked(*args: Any) -> Any:
    """Is never called."""
    raise NotImplementedError


def work_per_layer(*args: Any) -> float:
    """Return a number above all limits."""
    return float("inf")
