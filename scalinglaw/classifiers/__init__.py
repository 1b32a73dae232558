"""Classifiers that record how norms and errors move during training."""

from .cnn import CNNClassifier
from .module import TrajectoryClassifier
from .recorder import NormRecorder
from .resnet import ResNetClassifier
from .vit import ViTClassifier

__all__ = [
    "CNNClassifier",
    "NormRecorder",
    "ResNetClassifier",
    "TrajectoryClassifier",
    "ViTClassifier",
]
