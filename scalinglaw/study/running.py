"""Train what a study describes, fit its laws, compare its models."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._validation import plural
from ..laws import ScalingLawEstimator, compare_exponents
from ..sweep import TrajectorySweep
from .description import Study, check_jobs

if TYPE_CHECKING:
    from ..laws.compare import ExponentComparison
    from .models import Model

__all__ = ["StudyResult", "load_data", "run_study", "train"]

_COMPARED = ("gamma_predicted", "gamma_measured")


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
        Fitted, by model; a model whose law could not be fitted is missing.
    comparisons : list of ExponentComparison
        One per exponent; empty with fewer than two laws.
    sweeps : dict of str to TrajectorySweep
        Fitted, by model; one without a successful run has ``failures_`` only.
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

    def without_laws(self) -> list[str]:
        """Return the models that have no exponents; `remarks` says why."""
        return [name for name in self.study.models if name not in self.laws]


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
    BrokenExecutor
        If a worker process was killed, as for want of memory.
    KeyboardInterrupt
        If the study was interrupted. As after a killed worker, finished runs are in
        the cache.
    """
    if n_jobs is not None:
        check_jobs(n_jobs, "n_jobs")
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
        try:
            remarks[name] = train(sweep, _samples_for(model, X), y)
        except ValueError as error:
            _explain_settings(study, error)
            remarks[name] = [f"No run succeeded: {error}"]
        if hasattr(sweep, "failures_"):
            sweeps[name] = sweep
        if hasattr(sweep, "trajectories_"):
            tables[name] = sweep.trajectories_
    if not tables:
        name, said = next((name, said) for name, said in remarks.items() if said)
        raise ValueError(f"{study.path}: models.{name}: {said[0]}")
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
        If the data are not there, or the file is damaged or lacks an array.
    """
    data = study.data
    if data.file is None:
        from ..datasets import load_images

        return load_images(data.name, root=data.root)
    X, y = _read_arrays(data.file, f"{study.path}: data.file")
    if X.ndim < 2 or y.shape[:1] != X.shape[:1]:
        raise ValueError(
            f"{study.path}: data.file must hold a row of X and a label in y for each "
            f"sample, got shapes {X.shape} and {y.shape}."
        )
    return X, y


def train(sweep: TrajectorySweep, X: np.ndarray, y: np.ndarray) -> list[str]:
    """Fit a sweep to its last run.

    Parameters
    ----------
    sweep : TrajectorySweep
        With a cache, for what is done when it ends early.
    X : ndarray of shape (n_samples, ...)
        Samples.
    y : ndarray of shape (n_samples,)
        Labels.

    Returns
    -------
    list of str
        Its warnings.

    Raises
    ------
    ValueError
        If a parameter does not fit the data, or no run succeeded.
    BrokenExecutor
        If a worker process was killed.
    KeyboardInterrupt
        If Ctrl-C came.
    """
    with _remembered() as heard:
        try:
            sweep.fit(X, y)
        except ValueError as error:
            raise ValueError(_reason(sweep, error)) from error
        except KeyboardInterrupt:
            # The sweep raises it, too, where a killed worker has left it no run.
            if not getattr(sweep, "interrupted_", False):
                raise
    if sweep.interrupted_:
        raise sweep._lost_worker or KeyboardInterrupt
    return heard


def _reason(sweep: TrajectorySweep, error: ValueError) -> str:
    """Return why a sweep has no table.

    Where all runs failed, the sweep advises a parameter that neither a study nor the
    command line has.
    """
    failures = getattr(sweep, "failures_", None)
    if failures is None or failures.empty:
        return str(error)
    first = failures.iloc[0]
    return (
        f"{plural(len(failures), 'run')} of {len(failures)} failed; the first, "
        f"(train_size={first['train_size']}, seed={first['seed']}), with "
        f"{first['reason'].rstrip('.')}."
    )


def _read_arrays(file: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the arrays X and y of an .npz."""
    arrays: dict[str, np.ndarray] = {}
    try:
        # numpy would leave a file open that is no archive.
        with open(file, "rb") as opened:
            # It may hold pickles, which could run code: they are refused.
            loaded = np.load(opened, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array.")
            known = loaded.files
            arrays.update((key, loaded[key]) for key in ("X", "y") if key in known)
    except FileNotFoundError:
        raise FileNotFoundError(f"{name} = {str(file)!r} is not there.") from None
    except Exception as error:
        # Damage shows as an error of the archive, of its compression or of numpy.
        raise ValueError(
            f"{name} = {str(file)!r} is damaged, or no .npz of plain arrays "
            f"(numpy.savez(file, X=X, y=y) writes one): {error}"
        ) from error
    missing = [key for key in ("X", "y") if key not in arrays]
    if missing:
        raise ValueError(
            f"{name} lacks the array {missing[0]}; it has {', '.join(known) or 'none'}."
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
