"""Figures of trajectories and of the laws fitted to them."""

from ._display import ScalingLawDisplay
from ._view import DrawnLine, View

__all__ = ["DrawnLine", "ScalingLawDisplay", "View"]
