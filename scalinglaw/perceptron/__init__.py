"""The logistic perceptron, whose scaling laws are known exactly."""

from ._estimator import LogisticPerceptron
from ._teacher import make_teacher_student

__all__ = ["LogisticPerceptron", "make_teacher_student"]
