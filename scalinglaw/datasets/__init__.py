"""Images to train on, published curves, and simulated trajectories."""

from ._scenarios import SCENARIOS
from ._simulate import make_trajectories
from .images import load_images
from .published import read_published

__all__ = ["SCENARIOS", "load_images", "make_trajectories", "read_published"]
