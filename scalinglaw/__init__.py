"""Dynamical scaling laws of classifiers, with intervals that can be trusted.

Names are loaded when first used: fitting laws to a table of trajectories
never imports torch, and ``import scalinglaw`` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from . import datasets, exceptions, norms, theory, trajectories
    from .classifiers import (
        CNNClassifier,
        ResNetClassifier,
        TrajectoryClassifier,
        ViTClassifier,
    )
    from .integrations.skorch import NormRecorder
    from .laws import (
        PowerLawFit,
        PublishedScalingLaw,
        ScalingLawEstimator,
        backtest,
        compare_exponents,
        required_seeds,
    )
    from .logs import read_runs
    from .perceptron import LogisticPerceptron, make_teacher_student
    from .plotting import ScalingLawDisplay
    from .recorder import TrajectoryRecorder, record_steps
    from .sweep import TrajectorySweep
    from .trajectories import (
        check_trajectories,
        concat_trajectories,
        read_trajectories,
        write_trajectories,
    )

_HOME = {
    "CNNClassifier": "classifiers",
    "LogisticPerceptron": "perceptron",
    "NormRecorder": "integrations.skorch",
    "PowerLawFit": "laws",
    "PublishedScalingLaw": "laws",
    "ResNetClassifier": "classifiers",
    "ScalingLawDisplay": "plotting",
    "ScalingLawEstimator": "laws",
    "TrajectoryClassifier": "classifiers",
    "TrajectoryRecorder": "recorder",
    "TrajectorySweep": "sweep",
    "ViTClassifier": "classifiers",
    "backtest": "laws",
    "check_trajectories": "trajectories",
    "compare_exponents": "laws",
    "concat_trajectories": "trajectories",
    "make_teacher_student": "perceptron",
    "read_runs": "logs",
    "read_trajectories": "trajectories",
    "record_steps": "recorder",
    "required_seeds": "laws",
    "write_trajectories": "trajectories",
}
_MODULES = ("datasets", "exceptions", "norms", "theory", "trajectories")

__all__ = [
    "CNNClassifier",
    "LogisticPerceptron",
    "NormRecorder",
    "PowerLawFit",
    "PublishedScalingLaw",
    "ResNetClassifier",
    "ScalingLawDisplay",
    "ScalingLawEstimator",
    "TrajectoryClassifier",
    "TrajectoryRecorder",
    "TrajectorySweep",
    "ViTClassifier",
    "__version__",
    "backtest",
    "check_trajectories",
    "compare_exponents",
    "concat_trajectories",
    "datasets",
    "exceptions",
    "make_teacher_student",
    "norms",
    "read_runs",
    "read_trajectories",
    "record_steps",
    "required_seeds",
    "theory",
    "trajectories",
    "write_trajectories",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
