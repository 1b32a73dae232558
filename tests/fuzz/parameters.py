"""Every public function and estimator, with one or two parameters that are odd."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from joblib import parallel_config

from scalinglaw import (
    CNNClassifier,
    LogisticPerceptron,
    PowerLawFit,
    ScalingLawEstimator,
    TrajectoryClassifier,
    TrajectorySweep,
    backtest,
    check_trajectories,
    compare_exponents,
    concat_trajectories,
    make_teacher_student,
    required_seeds,
    theory,
)
from scalinglaw.datasets import load_images, make_trajectories, read_published

from .harness import Finding
from .values import is_large, odd, one

# Counts of work that a caller may want to be as large as he pleases.
_WORK = {
    "max_steps", "max_epochs", "n_seeds", "n_replicates", "n_records", "n_samples",
    "n_features", "train_sizes", "batch_size", "n_jobs", "candidates", "hidden_size",
    "n_test", "channels", "hidden_units",
}  # fmt: skip


def case(rng: np.random.Generator) -> None:
    """Call one function with odd parameters; look at the numbers that come back."""
    call, parameters = one(rng, _CALLS)
    arguments = {}
    for name in rng.permutation(parameters)[: int(rng.integers(1, 3))]:
        value = odd(rng)
        if str(name) in _WORK and is_large(value):
            value = -1
        arguments[str(name)] = value
    _look(call(arguments))


def _look(found: Any) -> None:
    """Refuse numbers that are infinite, and errors beyond 0 and 1."""
    if isinstance(found, pd.DataFrame):
        found = found.select_dtypes("number").to_numpy(dtype=float)
    if isinstance(found, float | np.ndarray) and np.isinf(found).any():
        raise Finding("infinite numbers")


@cache
def _data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return make_teacher_student(60, 6, random_state=0)


@cache
def _table() -> pd.DataFrame:
    return make_trajectories(
        train_sizes=(250, 500, 1000), n_seeds=3, n_records=20, random_state=0
    )


@cache
def _law() -> Any:
    return ScalingLawEstimator().fit(_table())


def _perceptron(arguments: dict[str, Any]) -> Any:
    X, y, teacher = _data()
    quick = {"max_norm": 10.0, "n_records": 5, "max_steps": 50}
    fit = {
        key: arguments.pop(key) for key in ("eval_set", "teacher") if key in arguments
    }
    fit = fit or {"teacher": teacher}
    run = LogisticPerceptron(**{**quick, **arguments}).fit(X, y, **fit)
    run.predict_proba(X)
    return run.trajectory_


def _inputs(arguments: dict[str, Any]) -> Any:
    X, y, _ = _data()
    X = X * float(arguments.pop("X")) if _is_float(arguments.get("X")) else X
    y = arguments.pop("y", y)
    run = LogisticPerceptron(max_norm=10.0, n_records=5).fit(arguments.pop("X", X), y)
    return run.trajectory_.drop(columns="log_rms")


def _is_float(value: Any) -> bool:
    return isinstance(value, float | np.floating)


def _theory(name: str) -> Callable[[dict[str, Any]], Any]:
    def call(arguments: dict[str, Any]) -> Any:
        function = getattr(theory, name)
        both = name in ("generalization_error", "local_slope", "square_loss_error")
        found = function(
            **{"alpha": 3.0, **({"norm": 1.0} if both else {}), **arguments}
        )
        errors = np.asarray(found)
        if "error" in name and not ((errors >= 0) & (errors <= 0.5)).all():
            raise Finding(f"an error of {found}")
        return found

    return call


def _classifier(arguments: dict[str, Any]) -> Any:
    X, y, _ = _data()
    quick = {"max_epochs": 1, "n_records": 3, "device": "cpu", "random_state": 0}
    with np.errstate(all="ignore"):
        return TrajectoryClassifier(**{**quick, **arguments}).fit(X, y).trajectory_


def _cnn(arguments: dict[str, Any]) -> Any:
    X = np.random.default_rng(0).normal(size=(20, 1, 8, 8))
    quick = {"max_epochs": 1, "n_records": 3, "device": "cpu", "random_state": 0}
    return CNNClassifier(**{**quick, **arguments}).fit(X, np.arange(20) % 2).trajectory_


def _sweep(arguments: dict[str, Any]) -> Any:
    X, y, _ = _data()
    quick = {
        "estimator": LogisticPerceptron(max_norm=2.0, n_records=4),
        "train_sizes": [10, 20],
        "n_seeds": 1,
        "random_state": 0,
    }
    # Processes would have to import everything once more.
    with parallel_config(backend="threading"):
        return TrajectorySweep(**{**quick, **arguments}).fit(X, y).trajectories_


def _fit(arguments: dict[str, Any]) -> Any:
    law = ScalingLawEstimator(**arguments).fit(_table())
    law.summary()
    return law.exponents_


def _power_law(arguments: dict[str, Any]) -> Any:
    x = np.geomspace(10, 1000, 8)
    fit = {key: arguments.pop(key) for key in ("x", "y", "groups") if key in arguments}
    found = PowerLawFit(**arguments).fit(**{"x": x, "y": x**-0.5, **fit})
    found.summary()
    found.conf_int()
    return float(found.exponent_)


def _simulate(arguments: dict[str, Any]) -> Any:
    quick = {"n_records": 8, "n_seeds": 1, "train_sizes": (100, 200)}
    return make_trajectories(**{**quick, **arguments})


def _seeds(arguments: dict[str, Any]) -> Any:
    quick = {"half_width": 0.5, "candidates": (2,), "n_replicates": 2}
    required_seeds(**{**quick, **arguments})


def _compare(arguments: dict[str, Any]) -> Any:
    laws = {"a": _law(), "b": _law()}
    str(compare_exponents(**{"laws": laws, **arguments}))


def _backtest(arguments: dict[str, Any]) -> Any:
    defaults = {"law": ScalingLawEstimator(), "trajectories": _table()}
    return backtest(**{**defaults, **arguments})


def _images(arguments: dict[str, Any]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        try:
            load_images(**{"name": "mnist", "root": folder, **arguments})
        except FileNotFoundError:
            return


def _published(arguments: dict[str, Any]) -> Any:
    try:
        read_published(**arguments)
    except OSError:
        return


def _predict(arguments: dict[str, Any]) -> Any:
    return _law().predict(**{"train_size": [500.0], **arguments})


_CALLS: tuple[tuple[Callable[[dict[str, Any]], Any], list[str]], ...] = (
    (_perceptron, [*LogisticPerceptron().get_params(), "eval_set", "teacher"]),
    (_inputs, ["X", "y"]),
    (_theory("generalization_error"), ["alpha", "norm"]),
    (_theory("local_slope"), ["alpha", "norm"]),
    (_theory("square_loss_error"), ["alpha", "norm"]),
    (_theory("optimal_norm"), ["alpha"]),
    (_theory("optimal_error"), ["alpha"]),
    (_theory("bayes_error"), ["alpha"]),
    (_theory("hebb_error"), ["alpha"]),
    (_theory("max_stability_error"), ["alpha"]),
    (
        lambda a: make_teacher_student(**{"n_samples": 5, "n_features": 3, **a})[0],
        ["n_samples", "n_features", *make_teacher_student.__kwdefaults__],
    ),
    (_classifier, sorted(TrajectoryClassifier().get_params())),
    (_cnn, sorted(CNNClassifier().get_params())),
    (_sweep, sorted(TrajectorySweep(None, train_sizes=[1]).get_params(deep=False))),
    (_fit, sorted(ScalingLawEstimator().get_params())),
    (_power_law, [*PowerLawFit().get_params(), "x", "y", "groups"]),
    (_simulate, sorted(make_trajectories.__kwdefaults__)),
    (_seeds, ["half_width", *required_seeds.__kwdefaults__]),
    (_compare, ["laws", "exponent", "correction", "margin", "confidence_level"]),
    (_backtest, ["law", "trajectories", "hold_out"]),
    (_predict, ["train_size"]),
    (lambda a: check_trajectories(**{"trajectories": _table(), **a}),
     ["trajectories", "norm", "metric"]),
    (lambda a: concat_trajectories(**{"tables": [_table()], **a}), ["tables"]),
    (_images, ["name", "root"]),
    (_published, ["path"]),
)  # fmt: skip
