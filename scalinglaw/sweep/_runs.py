"""One run of a sweep: a clone trained on one subset, with its trajectory."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from threadpoolctl import ThreadpoolController

from ..trajectories import check_trajectories
from ._outcomes import Outcome, Run

if TYPE_CHECKING:
    from ._cache import RunCache

__all__ = ["RunSettings", "take_rows", "threads_per_run", "train_run"]

# Threads per library, and torch's global generators, belong to the process.
_ONE_RUN = threading.RLock()


@dataclass(frozen=True)
class RunSettings:
    """What all runs of a sweep have in common, besides the data.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        Labels as the user gave them.
    fit_params : dict
        Further arguments of the estimator's ``fit``. Those of a pipeline are one
        such dict for each of its steps.
    raise_errors : bool
        Whether an error in a run stops the sweep.
    cache : RunCache or None
        Where finished runs are kept.
    n_threads : int
        Threads that the libraries may use.
    """

    classes: np.ndarray
    fit_params: dict[str, Any]
    raise_errors: bool
    cache: RunCache | None
    n_threads: int


def take_rows(X: Any, rows: np.ndarray) -> Any:
    """Return a copy of the given rows of an array or a data frame."""
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


def threads_per_run() -> int:
    """Return ``OMP_NUM_THREADS``, or 1 when it is not set.

    One thread by default, whatever ``n_jobs`` is: two workers with two threads
    each on two cores are 10 to 40 times slower than with one, and sums split
    over another number of threads differ in their last bits.
    """
    try:
        return max(int(os.environ["OMP_NUM_THREADS"]), 1)
    except (KeyError, ValueError):
        return 1


def train_run(
    estimator: Any,
    X: Any,
    codes: np.ndarray,
    rows: np.ndarray,
    test: np.ndarray,
    run: Run,
    position: int,
    settings: RunSettings,
) -> Outcome:
    """Train one clone, in whichever process this is called.

    Parameters
    ----------
    estimator : classifier
        Unfitted clone of the sweep's, or a pipeline that ends in one.
    X : array or data frame of shape (n_samples, ...)
        All samples. An argument of its own, like `codes`, because joblib then sends
        it to a worker once and not once per run.
    codes : ndarray of int of shape (n_samples,)
        Positions of the labels among the classes.
    rows, test : ndarray of int
        Samples to train on, and those that were held out.
    run : Run
        Its size and seeds.
    position : int
        Place of the run in the order of launch.
    settings : RunSettings
        What it shares with the other runs.

    Returns
    -------
    Outcome
        With the run's table, or with the reason of its failure.

    Raises
    ------
    TypeError
        If the estimator records nothing: no other run would do better.
    OSError
        If the finished run cannot be written to the cache.
    KeyboardInterrupt
        If Ctrl-C came, even where the estimator took it for the end of training.
    """
    cache = settings.cache
    if cache is not None:
        # Another process may have finished it since this sweep made its list.
        with contextlib.suppress(ValueError, PermissionError):
            if (known := cache.read(run)) is not None:
                return Outcome(run, known)
    start = time.perf_counter()
    y = settings.classes[codes]
    try:
        with _limited_threads(settings.n_threads), _heeded_interrupt():
            fitted = _fit(
                _prepare(estimator, run.random_state, position),
                (take_rows(X, rows), y[rows]),
                (take_rows(X, test), y[test]),
                _cut(settings.fit_params, rows),
            )
        table = getattr(fitted, "trajectory_", None)
        if table is not None:
            table = _table_of_run(table, run)
    except Exception as error:
        if settings.raise_errors:
            raise
        reason = f"{type(error).__name__}: {error}"
        return Outcome(run, None, reason, traceback.format_exc())
    if table is None:
        raise TypeError(
            f"{type(fitted).__name__} has no trajectory_ after fit. A sweep needs a "
            "classifier that records one, such as CNNClassifier."
        )
    if cache is not None:
        seconds = time.perf_counter() - start
        table = cache.write(run, table, seconds, str(getattr(fitted, "device_", "cpu")))
    return Outcome(run, table)


def _fit(estimator: Any, train: Any, test: Any, fit_params: dict[str, Any]) -> Any:
    """Train, and return the classifier that recorded.

    A pipeline hands ``eval_set`` on as it came. Its steps are therefore fitted one by
    one, and the test samples go through each of them as they do in ``predict``.
    """
    if not isinstance(estimator, Pipeline):
        return estimator.fit(*train, eval_set=test, **fit_params)
    (X, y), (X_test, y_test) = train, test
    for name, step in estimator.steps[:-1]:
        if step is not None and step != "passthrough":
            X = step.fit_transform(X, y, **fit_params[name])
            X_test = step.transform(X_test)
    name, last = estimator.steps[-1]
    return _fit(last, (X, y), (X_test, y_test), fit_params[name])


def _cut(fit_params: dict[str, Any], rows: np.ndarray) -> dict[str, Any]:
    """Return the arguments of a run: of the weights of samples, those of its own."""
    cut = dict(fit_params)
    for name, value in fit_params.items():
        if isinstance(value, dict):
            cut[name] = _cut(value, rows)
        elif name == "sample_weight" and value is not None:
            cut[name] = np.asarray(value)[rows]
    return cut


def _prepare(estimator: Any, random_state: int, position: int) -> Any:
    """Return a clone with the random state of a run, on the GPU whose turn it is.

    Jobs that run at once are neighbours in the order of launch, so that taking turns
    keeps their numbers on any two GPUs within one of each other.
    """
    copy = clone(estimator)
    torch = sys.modules.get("torch")
    n_gpus = torch.cuda.device_count() if torch is not None else 0
    changes: dict[str, Any] = {}
    for name, value in copy.get_params().items():
        leaf = name.rpartition("__")[2]
        if leaf == "random_state":
            changes[name] = random_state
        elif leaf == "device" and n_gpus > 1 and str(value) in ("auto", "cuda"):
            changes[name] = f"cuda:{position % n_gpus}"
    return copy.set_params(**changes)


def _table_of_run(table: pd.DataFrame, run: Run) -> pd.DataFrame:
    """Return a classifier's trajectory as that of a run of the sweep."""
    keys = {"train_size": run.train_size, "seed": run.seed}
    table = table.drop(columns=list(keys), errors="ignore")
    for position, (name, value) in enumerate(keys.items()):
        table.insert(position, name, np.int64(value))
    return check_trajectories(table)


@contextlib.contextmanager
def _heeded_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt at the end if one came in between.

    skorch takes Ctrl-C for a wish to stop training and returns a net like any other.
    The run would count as finished, and its stump be kept in the cache.
    """
    before = signal.getsignal(signal.SIGINT)
    # Handlers belong to the main thread; signals may be ignored, as under nohup.
    here = threading.current_thread() is threading.main_thread()
    if not (here and callable(before)):
        yield
        return
    came = []

    def note(number: int, frame: Any) -> None:
        came.append(number)
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _limited_threads(n_threads: int) -> Iterator[None]:
    """Hold the libraries of this process to `n_threads` threads.

    Runs in several threads of one process, as on a Dask worker that has them, take
    turns: the limit is the process's, and the bits of a run depend on it.
    """
    # torch keeps a count of its own beside OpenMP's; numpy-only sweeps skip it.
    torch = sys.modules.get("torch")
    with _ONE_RUN, _thread_pools(len(sys.modules)).limit(limits=n_threads):
        before = torch.get_num_threads() if torch is not None else 0
        if torch is not None:
            torch.set_num_threads(n_threads)
        try:
            yield
        finally:
            if torch is not None:
                torch.set_num_threads(before)


@functools.lru_cache(maxsize=1)
def _thread_pools(n_modules: int) -> ThreadpoolController:
    """Look for thread pools again only when a module, and so a library, came in.

    The search takes longer than all else that a sweep does for a run.
    """
    return ThreadpoolController()
