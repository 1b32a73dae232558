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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from threadpoolctl import ThreadpoolController

from ..trajectories import check_trajectories

if TYPE_CHECKING:
    from .cache import RunCache

__all__ = [
    "Outcome",
    "Run",
    "failed",
    "heeded_interrupt",
    "limited_threads",
    "seeded_clone",
    "table_of",
    "take_rows",
    "threads_per_run",
    "train_run",
    "writable",
]

# Threads per library, and torch's global generators, belong to the process.
_ONE_RUN = threading.RLock()


@dataclass(frozen=True, order=True)
class Run:
    """What tells one run of a sweep from another."""

    train_size: int
    seed: int
    random_state: int


@dataclass(frozen=True)
class Outcome:
    """How a run ended: with a table, or with the reason why there is none."""

    run: Run
    table: pd.DataFrame | None = None
    seconds: float = 0.0
    reason: str = ""
    details: str = ""


def take_rows(X: Any, rows: np.ndarray) -> Any:
    """Return the given rows of an array or a data frame."""
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
    classes: np.ndarray,
    X_test: Any,
    test_codes: np.ndarray,
    rows: np.ndarray,
    run: Run,
    *,
    fit_params: Mapping[str, Any],
    n_threads: int,
    raise_errors: bool,
    cache: RunCache | None = None,
) -> Outcome:
    """Train one clone, in whichever process this is called.

    Parameters
    ----------
    estimator : classifier
        Cloned; its ``random_state`` becomes the run's.
    X : array or data frame of shape (n_samples, ...)
        All samples. An argument of its own, like `codes` and `X_test`, because
        joblib then sends it to a worker once and not once per run.
    codes, test_codes : ndarray of int
        Positions in `classes` of the labels.
    classes : ndarray of shape (n_classes,)
        The labels as the user gave them.
    X_test : array or data frame
        The held-out samples.
    rows : ndarray of int
        The run's training samples.
    run : Run
        Its size and seeds.
    fit_params : dict
        Further arguments of the estimator's ``fit``.
    n_threads : int
        Threads that the libraries may use.
    raise_errors : bool
        Let an error in the run stop the sweep.
    cache : RunCache, optional
        Where a finished run is kept.

    Returns
    -------
    Outcome
        With the run's table, or with the reason of its failure.

    Raises
    ------
    OSError
        If the finished run cannot be written to the cache.
    KeyboardInterrupt
        If Ctrl-C came, even where the estimator took it for the end of training.
    """
    # Another process may have finished it since this sweep made its list.
    if cache is not None and (known := cache.read(run)) is not None:
        return Outcome(run, known)
    start = time.perf_counter()
    try:
        with limited_threads(n_threads), heeded_interrupt():
            fitted = seeded_clone(estimator, run.random_state).fit(
                take_rows(X, rows),
                classes[codes[rows]],
                eval_set=(writable(X_test), classes[test_codes]),
                **fit_params,
            )
        table = table_of(fitted, run)
    except Exception as error:
        if raise_errors:
            raise
        return failed(run, error, time.perf_counter() - start, traceback.format_exc())
    seconds = time.perf_counter() - start
    if cache is not None:
        table = cache.write(run, table, seconds, str(getattr(fitted, "device_", "cpu")))
    return Outcome(run, table, seconds)


def failed(run: Run, error: Exception, seconds: float, details: str) -> Outcome:
    """Return the outcome of a run that ended in an error."""
    return Outcome(run, None, seconds, f"{type(error).__name__}: {error}", details)


def seeded_clone(estimator: Any, random_state: int) -> Any:
    """Return a clone, all of whose ``random_state`` are the given one."""
    copy = clone(estimator)
    names = [
        name
        for name in copy.get_params()
        if name == "random_state" or name.endswith("__random_state")
    ]
    return copy.set_params(**dict.fromkeys(names, random_state))


def writable(X: Any) -> Any:
    """Copy an array that a worker sees read-only, which torch would warn about."""
    if isinstance(X, np.ndarray) and not X.flags.writeable:
        return np.array(X)
    return X


def table_of(fitted: Any, run: Run) -> pd.DataFrame:
    """Return the trajectory of a fitted classifier as a run of the sweep."""
    try:
        table = fitted.trajectory_
    except AttributeError:
        raise TypeError(
            f"{type(fitted).__name__} has no trajectory_ after fit. A sweep needs a "
            "classifier that records one, such as CNNClassifier."
        ) from None
    keys = {"train_size": run.train_size, "seed": run.seed}
    table = table.drop(columns=list(keys), errors="ignore")
    for position, (name, value) in enumerate(keys.items()):
        table.insert(position, name, np.int64(value))
    return check_trajectories(table)


@contextlib.contextmanager
def heeded_interrupt() -> Iterator[None]:
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
def limited_threads(n_threads: int) -> Iterator[None]:
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
