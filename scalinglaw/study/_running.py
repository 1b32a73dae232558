"""Train what a study describes, fit its laws, compare its models."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.base import clone

from .._validation import plural
from ..exceptions import SweepFailedError
from ..laws import compare_exponents
from ..sweep import TrajectorySweep
from ._data import load_data, samples_for
from ._description import Study, make_law
from ._words import in_words_of

if TYPE_CHECKING:
    from ..laws import ExponentComparison, ScalingLawEstimator

__all__ = ["StudyResult", "in_keys", "rehearse", "run_study"]

# What messages about laws and data advise, and the tables that have such keys.
_TABLES = {
    "window": "law",
    "landmark": "law",
    "offset": "law",
    "min_train_size": "law",
    "method": "law",
    "include_unresolved": "comparison",
    "download": "data",
}


@dataclass
class StudyResult:
    """What a study found.

    Parameters
    ----------
    study : Study
        Its description.
    trajectories : dict of str to DataFrame
        The table of each model; models may have recorded different norms. A model
        none of whose runs succeeded is missing.
    laws : dict of str to ScalingLawEstimator
        Fitted laws, by model; a model whose law could not be fitted is missing.
    comparisons : list of ExponentComparison
        One per exponent; empty with fewer than two laws.
    sweeps : dict of str to TrajectorySweep
        Fitted sweeps, by model; one without a successful run is missing.
    failures : dict of str to DataFrame
        Runs that failed, by model, as in ``TrajectorySweep.failures_``.
    remarks : dict of str to list of str
        Warnings and failures, by model; those of comparisons under "".
    """

    study: Study
    trajectories: dict[str, pd.DataFrame] = field(default_factory=dict)
    laws: dict[str, ScalingLawEstimator] = field(default_factory=dict)
    comparisons: list[ExponentComparison] = field(default_factory=list)
    sweeps: dict[str, TrajectorySweep] = field(default_factory=dict)
    failures: dict[str, pd.DataFrame] = field(default_factory=dict)
    remarks: dict[str, list[str]] = field(default_factory=dict)

    def without_laws(self) -> list[str]:
        """Return the models that have no exponents; `remarks` says why."""
        return [name for name in self.study.models if name not in self.laws]


def run_study(
    study: Study, *, verbose: int = 0, say: Callable[[str], None] | None = None
) -> StudyResult:
    """Train all runs that are missing, fit the laws, compare the models.

    Parameters
    ----------
    study : Study
        From :func:`read_study`.
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
    BrokenExecutor
        If a worker process was killed, as for want of memory.
    KeyboardInterrupt
        If the study was interrupted. As after a killed worker, finished runs are in
        the cache.
    """
    X, y = load_data(study)
    result = StudyResult(study, remarks={"": []})
    for name, model in study.models.items():
        if say is not None:
            say(f"{name}: {plural(study.n_runs, 'run')} on {study.data_name}")
        sweep = TrajectorySweep(
            model.classifier,
            cache_dir=study.cache / name,
            verbose=verbose,
            **study.sweep,
        )
        said, failures = _train(study, sweep, samples_for(model, X), y)
        result.remarks[name], result.failures[name] = said, failures
        if hasattr(sweep, "trajectories_"):
            result.sweeps[name] = sweep
            result.trajectories[name] = sweep.trajectories_
    if not result.trajectories:
        name, said = next((name, said) for name, said in result.remarks.items() if said)
        raise ValueError(f"{study.path}: models.{name}: {said[0]}")
    _fit_laws(result)
    _compare(result)
    return result


def rehearse(study: Study) -> pd.DataFrame:
    """Check a study against its data, and return what it would train, by model.

    Each network is built, and trained for one epoch of the smallest train size.
    """
    X, y = load_data(study)
    sizes = sorted(study.sweep["train_sizes"])
    rows = {}
    for name, model in study.models.items():
        classifier = clone(model.classifier)
        epochs = getattr(classifier, "max_epochs", "")
        if epochs:
            classifier.set_params(max_epochs=1)
        settings = study.sweep | {"train_sizes": sizes[:1], "n_seeds": 1}
        sweep = TrajectorySweep(classifier, **settings)
        said, _ = _train(study, sweep, samples_for(model, X), y)
        if not hasattr(sweep, "trajectories_"):
            raise ValueError(f"{study.path}: models.{name}: {said[0]}")
        rows[name] = {
            "classifier": type(classifier).__name__,
            "runs": study.n_runs,
            "train sizes": f"{sizes[0]} to {sizes[-1]}",
            "epochs": epochs,
        }
    n_pool = len(y) - len(sweep.test_indices_)
    if sizes[-1] > n_pool:
        raise ValueError(
            f"{study.path}: sweep.train_sizes asks for {sizes[-1]} samples, and "
            f"{n_pool} are left beside the test set."
        )
    return pd.DataFrame.from_dict(rows, orient="index")


def _train(
    study: Study, sweep: TrajectorySweep, X: np.ndarray, y: np.ndarray
) -> tuple[list[str], pd.DataFrame]:
    """Fit a sweep, and return its warnings, or why it has no run, and its failures."""
    with _remembered() as heard:
        try:
            sweep.fit(X, y)
        except SweepFailedError as error:
            return [f"No run succeeded: {error}"], error.failures
        except ValueError as error:
            if re.split(r"\W", str(error), maxsplit=1)[0] in study.sweep:
                raise ValueError(f"{study.path}: sweep.{error}") from error
            return [f"No run succeeded: {str(error).rstrip('.')}."], pd.DataFrame()
    if sweep.interrupted_ is not None:
        raise sweep.interrupted_
    return heard, sweep.failures_


def _fit_laws(result: StudyResult) -> None:
    for name, table in result.trajectories.items():
        settings = {"norm": result.study.models[name].norm} | result.study.law
        with _remembered() as heard:
            try:
                result.laws[name] = make_law(settings).fit(table)
            except ValueError as error:
                heard.append(f"The laws could not be fitted: {error}")
        result.remarks[name] += heard


def _compare(result: StudyResult) -> None:
    settings = dict(result.study.comparison)
    exponents = settings.pop("exponents")
    for exponent in exponents if len(result.laws) > 1 else ():
        with _remembered() as heard:
            try:
                found = compare_exponents(result.laws, exponent, **settings)
                result.comparisons.append(found)
            except ValueError as error:
                heard.append(str(error))
        result.remarks[""] += heard


@contextmanager
def _remembered() -> Iterator[list[str]]:
    """Collect warnings as texts, each once, in the words of a study's keys."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield texts
    texts += dict.fromkeys(str(warning.message) for warning in caught)
    texts[:] = map(in_keys, texts)


def in_keys(text: str) -> str:
    """Return a message that advises keys of the file where Python has parameters."""
    values = {"True": "true", "False": "false"}
    return in_words_of(
        text,
        tuple(_TABLES),
        lambda name, value: f"{_TABLES[name]}.{name} = {values.get(value, value)}",
    )
