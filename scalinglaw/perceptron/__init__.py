"""The logistic perceptron, whose scaling laws are known exactly."""

from .estimator import LogisticPerceptron
from .teacher import make_teacher_student

__all__ = ["LogisticPerceptron", "make_teacher_student"]
