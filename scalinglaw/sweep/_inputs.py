"""What a sweep is given: a classifier that records, samples, arguments of ``fit``."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import issparse
from sklearn import get_config
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

__all__ = ["check_estimator", "check_samples", "route_fit_params"]


def check_estimator(estimator: Any) -> None:
    """Refuse what cannot record a trajectory, before any run is trained.

    Raises
    ------
    TypeError
        If it is no estimator, or its ``fit`` takes no ``eval_set``.
    """
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    if isinstance(estimator, type) or not hasattr(estimator, "fit"):
        raise TypeError(
            "estimator must be a classifier that records a trajectory_, such as "
            f"CNNClassifier(), got {estimator!r}."
        )
    if not _takes(estimator, "eval_set"):
        raise TypeError(
            f"estimator must record a trajectory_, got {type(estimator).__name__}, "
            "whose fit takes no eval_set to record test errors on. Use a classifier "
            "such as TrajectoryClassifier or LogisticPerceptron."
        )


def check_samples(X: Any, y: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    """Return samples, the classes and the position of each label among them.

    Raises
    ------
    TypeError, ValueError
        If X is sparse, y holds no labels of at least two classes, or their lengths
        differ.
    """
    if y is None:
        raise ValueError("y must hold the labels of X, got None.")
    if issparse(X):
        raise TypeError(
            f"X must be dense, got a {type(X).__name__}: call its toarray()."
        )
    X = X if hasattr(X, "iloc") else np.asarray(X)
    y = column_or_1d(y)
    missing = pd.isna(y)
    if missing.any():
        raise ValueError(
            "y must hold a label for each sample, got a missing one in row "
            f"{int(np.argmax(missing))} ({missing.sum()} of {len(y)})."
        )
    if not len(y):
        raise ValueError("X and y must hold samples, got none.")
    if np.ndim(X) == 0 or len(X) != len(y):
        n_samples = len(X) if np.ndim(X) else "no samples"
        raise ValueError(
            f"X and y must have the same length: X has {n_samples}, y {len(y)}."
        )
    check_classification_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"y must hold labels of at least 2 classes, got {classes[0]} alone."
        )
    return X, classes, codes


def route_fit_params(
    sweep: Any, estimator: Any, fit_params: dict[str, Any], n_samples: int
) -> dict[str, Any]:
    """Return the arguments of the estimator's ``fit``, by step for a pipeline.

    Raises
    ------
    TypeError
        If a ``fit`` does not take its argument.
    ValueError
        If an argument belongs to no step of a pipeline, is given by the sweep itself,
        or holds weights of other samples.
    """
    if fit_params and get_config()["enable_metadata_routing"]:
        fit_params = process_routing(sweep, "fit", **fit_params).estimator["fit"]
    return _by_step(estimator, fit_params, n_samples)


def _by_step(
    estimator: Any, fit_params: dict[str, Any], n_samples: int
) -> dict[str, Any]:
    if not isinstance(estimator, Pipeline):
        for name, value in fit_params.items():
            _check_argument(estimator, name, value, n_samples)
        return fit_params
    by_step: dict[str, dict[str, Any]] = {name: {} for name, _ in estimator.steps}
    if fit_params and get_config()["enable_metadata_routing"]:
        routed = process_routing(estimator, "fit", **fit_params)
        for name in by_step:
            for method in ("fit", "fit_transform"):
                by_step[name] |= routed[name].get(method, {})
    else:
        for key, value in fit_params.items():
            step, _, name = key.partition("__")
            if not name or step not in by_step:
                raise ValueError(
                    f"arguments of fit must name a step of the pipeline, as in "
                    f"{estimator.steps[-1][0]}__{key}, got {key}."
                )
            by_step[step][name] = value
    return {
        name: _by_step(step, by_step[name], n_samples) for name, step in estimator.steps
    }


def _check_argument(estimator: Any, name: str, value: Any, n_samples: int) -> None:
    if name == "eval_set":
        raise ValueError(
            "eval_set is given by the sweep, which holds out test_size of the samples."
        )
    if not _takes(estimator, name):
        raise TypeError(f"fit of {type(estimator).__name__} takes no {name}.")
    if name == "sample_weight" and value is not None and len(value) != n_samples:
        raise ValueError(
            f"sample_weight must hold a weight for each of {n_samples} samples, got "
            f"{len(value)}."
        )


def _takes(estimator: Any, name: str) -> bool:
    """Whether the ``fit`` of an estimator has an argument, or takes any."""
    parameters = inspect.signature(estimator.fit).parameters
    return name in parameters or any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()
    )
