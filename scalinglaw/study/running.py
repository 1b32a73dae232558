"""Train what a study describes, fit its laws, compare its models."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..laws import ScalingLawEstimator, compare_exponents
from ..sweep import TrajectorySweep
from .description import Study

if TYPE_CHECKING:
    from ..laws.compare import ExponentComparison
    from .models import Model

__all__ = ["StudyResult", "load_data", "run_study"]

_COMPARED = ("gamma_predicted", "gamma_measured")


@dataclass
class StudyResult:
    """What a study found.

    Parameters
    ----------
    study : Study
        Its description.
    trajectories : dict of str to DataFrame
        The table of each model; models may have recorded different norms.
    laws : dict of str to ScalingLawEstimator
        Fitted, by model; a model whose law could not be fitted is missing.
    comparisons : list of ExponentComparison
        One per exponent; empty with fewer than two laws.
    sweeps : dict of str to TrajectorySweep
        Fitted, by model.
    remarks : dict of str to list of str
        Warnings and failures, by model; those of comparisons under "".
    n_samples : int
        Of the data.
    """

    study: Study
    trajectories: dict[str, pd.DataFrame]
    laws: dict[str, ScalingLawEstimator] = field(default_factory=dict)
    comparisons: list[ExponentComparison] = field(default_factory=list)
    sweeps: dict[str, TrajectorySweep] = field(default_factory=dict)
    remarks: dict[str, list[str]] = field(default_factory=dict)
    n_samples: int = 0


def run_study(
    study: Study,
    *,
    n_jobs: int | None = None,
    verbose: int = 0,
    say: Callable[[str], None] | None = None,
) -> StudyResult:
    """Train all runs that are missing, fit the laws, compare the models.

    Parameters
    ----------
    study : Study
        From :func:`read_study`.
    n_jobs : int, optional
        In place of the study's.
    verbose : int, default=0
        1 for a progress bar per model, on standard error.
    say : callable, optional
        Called with a line of text before each model.

    Returns
    -------
    StudyResult
        Nothing is written but the cache.

    Raises
    ------
    ValueError
        If a parameter does not fit the data, or no run of any model succeeded.
    KeyboardInterrupt
        If the study was interrupted; finished runs are in the cache.
    """
    X, y = load_data(study)
    settings = study.sweep | ({} if n_jobs is None else {"n_jobs": n_jobs})
    tables: dict[str, pd.DataFrame] = {}
    sweeps: dict[str, TrajectorySweep] = {}
    remarks: dict[str, list[str]] = {"": []}
    for name, model in study.models.items():
        if say is not None:
            say(f"{name}: {_count(study)} runs on {study.data.name}")
        sweep = TrajectorySweep(
            model.classifier, cache_dir=study.cache / name, verbose=verbose, **settings
        )
        with _remembered() as heard:
            try:
                sweep.fit(_samples_for(model, X), y)
            except ValueError as error:
                _explain_settings(study, error)
                heard.append(f"No run succeeded: {error}")
        remarks[name] = heard
        if getattr(sweep, "interrupted_", False):
            raise KeyboardInterrupt
        if hasattr(sweep, "trajectories_"):
            sweeps[name] = sweep
            tables[name] = sweep.trajectories_
    if not tables:
        raise ValueError(
            f"no run of the study succeeded; the first model said: "
            f"{next(text for said in remarks.values() for text in said)}"
        )
    result = StudyResult(
        study,
        tables,
        sweeps=sweeps,
        remarks=remarks,
        n_samples=len(y),
    )
    _fit_laws(result)
    _compare(result)
    return result


def load_data(study: Study) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples and labels of a study.

    Parameters
    ----------
    study : Study
        From :func:`read_study`.

    Returns
    -------
    X : ndarray of shape (n_samples, ...)
        Samples.
    y : ndarray of shape (n_samples,)
        Labels.

    Raises
    ------
    FileNotFoundError, ValueError
        If the data are not there, or the file lacks an array.
    """
    data = study.data
    if data.file is None:
        from ..datasets import load_images

        return load_images(data.name, root=data.root)
    # An .npz may hold pickles, which could run code: they are refused.
    with np.load(data.file, allow_pickle=False) as arrays:
        missing = [name for name in ("X", "y") if name not in arrays.files]
        if missing:
            raise ValueError(
                f"{study.path}: data.file lacks the array {missing[0]}; it has "
                f"{', '.join(arrays.files) or 'none'}."
            )
        return arrays["X"], arrays["y"]


def _count(study: Study) -> int:
    return len(study.sweep["train_sizes"]) * study.sweep["n_seeds"]


def _samples_for(model: Model, X: np.ndarray) -> np.ndarray:
    """Return samples in the form that a model takes."""
    if model.kind != "perceptron":
        return X
    flat = X.reshape(len(X), -1)
    return flat / 255.0 if X.dtype == np.uint8 else flat


def _explain_settings(study: Study, error: ValueError) -> None:
    """Raise an error about the sweep's own settings again, under their key."""
    text = str(error)
    for key in study.sweep:
        if text.startswith(f"{key} "):
            raise ValueError(f"{study.path}: sweep.{text}") from error


def _fit_laws(result: StudyResult) -> None:
    for name, table in result.trajectories.items():
        settings = {"norm": result.study.models[name].norm} | result.study.law
        with _remembered() as heard:
            try:
                result.laws[name] = ScalingLawEstimator(**settings).fit(table)
            except ValueError as error:
                heard.append(f"The laws could not be fitted: {error}")
        result.remarks[name] += heard


def _compare(result: StudyResult) -> None:
    if len(result.laws) < 2:
        return
    settings = dict(result.study.comparison)
    for exponent in settings.pop("exponents", _COMPARED):
        with _remembered() as heard:
            try:
                result.comparisons.append(
                    compare_exponents(result.laws, exponent, **settings)
                )
            except ValueError as error:
                heard.append(f"{exponent} could not be compared: {error}")
        result.remarks[""] += heard


@contextmanager
def _remembered() -> Iterator[list[str]]:
    """Collect warnings as texts, each once."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield texts
    texts += dict.fromkeys(str(warning.message) for warning in caught)
