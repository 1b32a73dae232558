"""Which runs of a sweep train side by side, and their training.

Runs of one train size take the same number of steps in the same batch sizes, so that
they can be stacked (see :mod:`scalinglaw.classifiers.stacked`). Which runs share a
stack moves no bit of any of them; whether a run is stacked at all moves its last
digits, and so belongs to the key of the cache.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .devices import on_its_device
from .runs import (
    Outcome,
    Run,
    failed,
    heeded_interrupt,
    limited_threads,
    seeded_clone,
    table_of,
    take_rows,
    train_run,
    writable,
)

if TYPE_CHECKING:
    from .cache import RunCache

__all__ = ["group_runs", "reason_against", "stack_width", "train_runs"]

# Wider stacks save little more, and their activations leave the caches.
_WIDEST = 16
# Bytes of training samples that a stack may hold.
_MOST_BYTES = 2**30
# A stack saves the time between operations, not that inside them. Multiply-adds of
# one layer and batch above which it saves nothing on a CPU (benchmarks/sweep.py).
_MOST_WORK = 2e6


def reason_against(
    stack: Any,
    estimator: Any,
    X: Any,
    codes: np.ndarray,
    classes: np.ndarray,
    n_seeds: int,
    fit_params: Mapping[str, Any],
) -> str:
    """Return why runs are trained one by one, or nothing if they are stacked.

    Parameters
    ----------
    stack : {"auto", True, False}
        What the user wants.
    estimator : classifier
        The sweep's.
    X : array or data frame of shape (n_samples, ...)
        All samples.
    codes : ndarray of int
        Their classes.
    classes : ndarray of shape (n_classes,)
        Labels.
    n_seeds : int
        Runs of each train size.
    fit_params : dict
        Further arguments of the estimator's ``fit``.

    Returns
    -------
    str
        The same for the same data and parameters, whatever the machine's load.
    """
    if not stack:
        return "stack=False"
    # Whoever has a network has imported torch.
    if "torch" not in sys.modules:
        return f"{type(estimator).__name__} is no network"
    if n_seeds == 1:
        return "there is one seed, and nothing beside it"
    if fit_params:
        return f"fit takes {', '.join(fit_params)}, which a stack does not know"
    from ..classifiers.stacked import why_single, work_per_layer

    first = np.unique(codes, return_index=True)[1]
    rows = np.concatenate([first, first])
    X, y = writable(take_rows(X, rows)), classes[codes[rows]]
    reason = why_single(estimator, X, y)
    if reason or stack != "auto":
        return reason
    if estimator.device != "cpu" and _sees_gpu():
        return 'stack="auto" stacks on a CPU only, where it was measured'
    # Of whole batches, or a train size added later might change the answer.
    work = work_per_layer(estimator, X, y) * estimator.batch_size
    if work > _MOST_WORK:
        return (
            f"its layers do {work:.2g} multiply-adds per batch, and a stack pays below "
            f"{_MOST_WORK:.2g}"
        )
    return ""


def stack_width(n_seeds: int, n_workers: int, bytes_per_run: int) -> int:
    """Return how many runs a stack may hold.

    Parameters
    ----------
    n_seeds : int
        Runs of each train size.
    n_workers : int
        Workers, among whom the runs of a size are shared out.
    bytes_per_run : int
        Training samples of the largest run.

    Returns
    -------
    int
        At least 2.
    """
    share = -(-n_seeds // max(n_workers, 1))
    room = _MOST_BYTES // max(bytes_per_run, 1)
    return max(min(share, _WIDEST, room), 2)


def group_runs(runs: Sequence[Run], width: int) -> list[list[Run]]:
    """Return runs in groups of one train size, the longest first.

    Parameters
    ----------
    runs : sequence of Run
        In any order.
    width : int
        Runs of a group at most; 1 leaves each alone.

    Returns
    -------
    list of list of Run
        Groups of one train size differ by one run at most.
    """
    groups = []
    for size in sorted({run.train_size for run in runs}, reverse=True):
        members = sorted(run for run in runs if run.train_size == size)
        parts = np.array_split(np.arange(len(members)), -(-len(members) // width))
        groups += [[members[i] for i in part] for part in parts]
    return groups


def train_runs(
    estimator: Any,
    X: Any,
    codes: np.ndarray,
    classes: np.ndarray,
    X_test: Any,
    test_codes: np.ndarray,
    rows: Sequence[np.ndarray],
    runs: Sequence[Run],
    position: int,
    *,
    stacked: bool,
    fit_params: Mapping[str, Any],
    **settings: Any,
) -> list[Outcome]:
    """Train a group of runs, in whichever process this is called.

    Parameters
    ----------
    estimator : classifier
        A clone of the sweep's.
    X, codes, classes, X_test, test_codes : object
        As for :func:`train_run`. Arguments of their own, because joblib then sends
        them to a worker once and not once per group.
    rows : sequence of ndarray of int
        Training samples of each run.
    runs : sequence of Run
        Their sizes and seeds.
    position : int
        Of the group in the order of launch.
    stacked : bool
        Whether they train side by side.
    fit_params : dict
        Further arguments of the estimator's ``fit``; a stack has none.
    **settings : object
        As for :func:`train_run`.

    Returns
    -------
    list of Outcome
        One per run.
    """
    estimator = on_its_device(estimator, position)
    data = (X, codes, classes, X_test, test_codes)
    if stacked:
        return train_stack(estimator, *data, rows, runs, **settings)
    return [
        train_run(estimator, *data, own, run, fit_params=fit_params, **settings)
        for run, own in zip(runs, rows, strict=True)
    ]


def train_stack(
    estimator: Any,
    X: Any,
    codes: np.ndarray,
    classes: np.ndarray,
    X_test: Any,
    test_codes: np.ndarray,
    rows: Sequence[np.ndarray],
    runs: Sequence[Run],
    *,
    n_threads: int,
    raise_errors: bool,
    cache: RunCache | None = None,
) -> list[Outcome]:
    """Train runs of one train size side by side.

    Should the stack as a whole fail, as when memory is short or the data of one run
    cannot be trained on, each half is tried for itself, down to single runs. Which runs
    share a stack moves no bit.

    Parameters
    ----------
    estimator, X, codes, classes, X_test, test_codes : object
        As for :func:`train_run`.
    rows : sequence of ndarray of int
        Training samples of each run.
    runs : sequence of Run
        Their sizes and seeds.
    n_threads, raise_errors, cache : object
        As for :func:`train_run`.

    Returns
    -------
    list of Outcome
        One per run.

    Raises
    ------
    OSError
        If a finished run cannot be written to the cache.
    """
    from ..classifiers.stacked import fit_stacked

    outcomes = []
    todo, todo_rows = [], []
    for run, own in zip(runs, rows, strict=True):
        if cache is not None and (known := cache.read(run)) is not None:
            outcomes.append(Outcome(run, known))
        else:
            todo.append(run)
            todo_rows.append(own)
    if not todo:
        return outcomes
    # A run alone would be computed by other kernels than in a stack, whose results
    # differ in their last bits: it gets itself for company.
    copies = 2 if len(todo) == 1 else 1
    start = time.perf_counter()
    try:
        with limited_threads(n_threads), heeded_interrupt():
            fitted = fit_stacked(
                [seeded_clone(estimator, r.random_state) for r in todo * copies],
                [(take_rows(X, o), classes[codes[o]]) for o in todo_rows * copies],
                (writable(X_test), classes[test_codes]),
            )[: len(todo)]
    except Exception as error:
        if len(todo) == 1:
            if raise_errors:
                raise
            seconds = time.perf_counter() - start
            return [*outcomes, failed(todo[0], error, seconds, traceback.format_exc())]
        half = len(todo) // 2
        for part in (slice(half), slice(half, None)):
            outcomes += train_stack(
                *(estimator, X, codes, classes, X_test, test_codes),
                todo_rows[part],
                todo[part],
                n_threads=n_threads,
                raise_errors=raise_errors,
                cache=cache,
            )
        return outcomes
    # What a run would have taken alone is not known; together they took this.
    seconds = (time.perf_counter() - start) / len(todo)
    for run, member in zip(todo, fitted, strict=True):
        if isinstance(member, ValueError):
            if raise_errors:
                raise member
            details = "".join(traceback.format_exception(member))
            outcomes.append(failed(run, member, seconds, details))
            continue
        table = table_of(member, run)
        if cache is not None:
            table = cache.write(run, table, seconds, member.device_, len(todo))
        outcomes.append(Outcome(run, table, seconds))
    return outcomes


def _sees_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
