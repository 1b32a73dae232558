"""Images to train on, published curves, and simulated trajectories."""

from .images import load_images
from .published import read_published
from .simulate import SCENARIOS, make_trajectories

__all__ = ["SCENARIOS", "load_images", "make_trajectories", "read_published"]
