"""Images to train on, published curves, and simulated trajectories."""

from ._images import load_images
from ._published import read_published
from ._scenarios import SCENARIOS
from ._simulate import make_trajectories

__all__ = ["SCENARIOS", "load_images", "make_trajectories", "read_published"]
