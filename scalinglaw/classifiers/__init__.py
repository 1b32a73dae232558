"""Classifiers that record how norms and errors move during training."""

from ._module import TrajectoryClassifier
from ._public import CNNClassifier, ResNetClassifier, ViTClassifier

__all__ = [
    "CNNClassifier",
    "ResNetClassifier",
    "TrajectoryClassifier",
    "ViTClassifier",
]
