"""The sweep: one clone of a classifier per train size and seed."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import BrokenExecutor
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs
from joblib.parallel import get_active_backend
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted, column_or_1d

from .._validation import (
    check_integer,
    check_option,
    check_seed,
    check_train_sizes,
    plural,
)
from ..exceptions import RunFailedWarning
from ..trajectories import concat_trajectories
from .cache import RunCache
from .fingerprint import plain
from .progress import SweepProgress
from .runs import Outcome, Run, take_rows, threads_per_run
from .stacks import group_runs, reason_against, stack_width, train_runs
from .subsets import hold_out, nested_order, run_state, subset_state

__all__ = ["TrajectorySweep"]

_STACK = ("auto", True, False)


class TrajectorySweep(TransformerMixin, BaseEstimator):
    """Train a classifier at many train sizes and seeds, and keep all trajectories.

    One test set is held out, stratified by class. Each seed orders the remaining
    samples once, and its runs train on heads of that order: subsets of one seed are
    nested, stratified, and hold every class.

    Parameters
    ----------
    estimator : classifier
        Cloned for each run; must record a ``trajectory_``.
    train_sizes : sequence of int
        Training samples of the runs.
    n_seeds : int, default=5
        Runs of each train size; they differ in subset, initial weights and batches.
    test_size : float or int, default=0.2
        Samples to hold out, or their fraction.
    n_jobs : int or None, default=None
        Runs trained at once. Other back-ends come through
        ``joblib.parallel_config``.
    cache_dir : path-like or None, default=None
        Folder that keeps each finished run; a second `fit` trains only what is
        missing.
    random_state : int or None, default=None
        Determines the split, the subsets and all runs. With a `cache_dir` it must
        be an int, or no run would be found again.
    stack : {"auto", True, False}, default="auto"
        Train the seeds of a train size side by side, as one stacked network.
        ``"auto"`` does where that saves time: for small networks on a CPU. Records
        equal those of single runs but for the rounding of floating-point sums.
    error_score : "raise" or nan, default=nan
        What to do if a run fails: stop, or go on and warn at the end.
    verbose : int, default=0
        0 for silence, 1 for one progress bar on standard error.

    Attributes
    ----------
    trajectories_ : DataFrame
        The trajectory table of all finished runs.
    failures_ : DataFrame
        Runs that failed: ``train_size``, ``seed``, ``reason``, ``details``.
    stacking_ : str
        Why the runs were trained one by one; empty if they were stacked.
    cache_folder_ : Path or None
        Where in `cache_dir` the runs of this sweep are.
    interrupted_ : bool
        Whether Ctrl-C, or the death of a worker, ended the sweep before its last run.
    train_sizes_ : list of int
        In increasing order.
    classes_ : ndarray of shape (n_classes,)
        Labels.
    test_indices_ : ndarray of int
        Rows of X that were held out.

    References
    ----------
    .. [1] D'Amico, Bocchi and Negri (2025), arXiv:2505.13230.

    Examples
    --------
    >>> from scalinglaw import LogisticPerceptron, TrajectorySweep
    >>> from scalinglaw import make_teacher_student
    >>> X, y, teacher = make_teacher_student(300, 20, random_state=0)
    >>> sweep = TrajectorySweep(
    ...     LogisticPerceptron(max_norm=10.0, n_records=10),
    ...     train_sizes=[50, 100],
    ...     n_seeds=2,
    ...     random_state=0,
    ... )
    >>> sweep.fit_transform(X, y).groupby(["train_size", "seed"]).size().tolist()
    [10, 10, 10, 10]
    """

    def __init__(
        self,
        estimator: Any,
        *,
        train_sizes: Any,
        n_seeds: int = 5,
        test_size: float = 0.2,
        n_jobs: int | None = None,
        cache_dir: str | os.PathLike | None = None,
        random_state: int | None = None,
        stack: Any = "auto",
        error_score: Any = np.nan,
        verbose: int = 0,
    ):
        self.estimator = estimator
        self.train_sizes = train_sizes
        self.n_seeds = n_seeds
        self.test_size = test_size
        self.n_jobs = n_jobs
        self.cache_dir = cache_dir
        self.random_state = random_state
        self.stack = stack
        self.error_score = error_score
        self.verbose = verbose

    def fit(self, X: Any, y: Any, **fit_params: Any) -> TrajectorySweep:
        """Train all runs.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, ...)
            Samples, in the form that the estimator takes.
        y : array-like of shape (n_samples,)
            Labels.
        **fit_params : dict
            Passed to the estimator's ``fit``, such as ``teacher``.

        Returns
        -------
        TrajectorySweep
            Itself.

        Raises
        ------
        TypeError, ValueError
            If an argument breaks a rule, the data are too few for the largest train
            size, or every run failed; with ``error_score="raise"``, a run's own error.
        OSError
            If the cache cannot be written.
        KeyboardInterrupt
            If the sweep was ended before its first run was finished.

        Warns
        -----
        RunFailedWarning
            If some runs failed.
        """
        X, classes, codes, entropy = self._check(X, y)
        pool, test = hold_out(codes, self.test_size, entropy)
        self._check_sizes(len(pool), len(classes))
        self.classes_, self.test_indices_ = classes, test
        self.stacking_ = reason_against(
            self.stack if isinstance(self.stack, str) else bool(self.stack),
            self.estimator,
            X,
            codes,
            classes,
            self.n_seeds,
            fit_params,
        )
        if self.stack is True and self.stacking_:
            warnings.warn(
                f"the runs are trained one by one: {self.stacking_}.",
                UserWarning,
                stacklevel=2,
            )
        # The test set is part of the data: the key must not depend on y's type.
        cache = self._open_cache(X, codes, classes, entropy, fit_params)
        self.cache_folder_ = None if cache is None else cache.folder
        order = {
            seed: pool[nested_order(codes[pool], subset_state(entropy, seed))]
            for seed in range(self.n_seeds)
        }
        runs = [
            Run(size, seed, run_state(entropy, size, seed))
            for size in self.train_sizes_
            for seed in range(self.n_seeds)
        ]
        self._lost_worker: BrokenExecutor | None = None
        outcomes = self._train(runs, order, X, codes, classes, test, cache, fit_params)
        self.interrupted_ = len(outcomes) < len(runs)
        self._store(outcomes)
        return self

    def transform(self, X: Any) -> pd.DataFrame:
        """Return the trajectory table.

        Parameters
        ----------
        X : object
            Ignored: the runs are those of `fit`.

        Returns
        -------
        DataFrame
            ``trajectories_``.
        """
        check_is_fitted(self)
        return self.trajectories_

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> pd.DataFrame:
        """Train all runs and return the trajectory table.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, ...)
            Samples.
        y : array-like of shape (n_samples,)
            Labels.
        **fit_params : dict
            Passed to the estimator's ``fit``.

        Returns
        -------
        DataFrame
            ``trajectories_``.
        """
        return self.fit(X, y, **fit_params).trajectories_

    def _check(self, X: Any, y: Any) -> tuple[Any, np.ndarray, np.ndarray, int]:
        self.train_sizes_ = check_train_sizes(self.train_sizes)
        check_integer(self.n_seeds, "n_seeds")
        check_seed(self.random_state)
        # 0 equals False, and is no option all the same.
        named = isinstance(self.stack, str | bool | np.bool_)
        check_option(self.stack if named else repr(self.stack), "stack", _STACK)
        if isinstance(self.error_score, str):
            check_option(self.error_score, "error_score", ("raise",))
        if y is None:
            raise ValueError("y must hold the labels of X, got None.")
        if self.cache_dir is not None and self.random_state is None:
            raise ValueError(
                "random_state must be an integer when cache_dir is given, got None: "
                "runs with other random numbers would not be found again."
            )
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
        classes, codes = np.unique(y, return_inverse=True)
        if len(X) != len(codes):
            raise ValueError(
                f"X and y must have the same length: X has {len(X)}, y {len(codes)}."
            )
        entropy = self.random_state
        if entropy is None:
            entropy = int(np.random.SeedSequence().generate_state(1)[0])
        return X, classes, codes, entropy

    def _check_sizes(self, n_pool: int, n_classes: int) -> None:
        smallest, largest = self.train_sizes_[0], self.train_sizes_[-1]
        if largest > n_pool:
            raise ValueError(
                f"train_sizes asks for {largest} samples, and {n_pool} are left beside "
                f"the test set (test_size={self.test_size})."
            )
        if smallest < n_classes:
            raise ValueError(
                f"train_sizes must be at least the number of classes ({n_classes}), "
                f"so that each is present, got {smallest}."
            )

    def _open_cache(
        self,
        X: Any,
        codes: np.ndarray,
        classes: np.ndarray,
        entropy: int,
        fit_params: dict[str, Any],
    ) -> RunCache | None:
        if self.cache_dir is None:
            return None
        cache = RunCache.open(
            self.cache_dir,
            type(self.estimator).__name__,
            {
                "estimator": self.estimator,
                "X": X,
                "codes": codes,
                "classes": classes,
                "test_size": self.test_size,
                "random_state": entropy,
                "fit_params": fit_params,
                "n_threads": threads_per_run(),
            }
            | ({} if self.stacking_ else {"stacked": True}),
        )
        cache.prepare(
            {
                "estimator": plain(self.estimator),
                "samples": list(np.shape(X)),
                "test_size": self.test_size,
                "random_state": entropy,
            }
        )
        return cache

    def _train(
        self,
        runs: list[Run],
        order: dict[int, np.ndarray],
        X: Any,
        codes: np.ndarray,
        classes: np.ndarray,
        test: np.ndarray,
        cache: RunCache | None,
        fit_params: dict[str, Any],
    ) -> dict[Run, Outcome]:
        outcomes: dict[Run, Outcome] = {}
        if cache is not None:
            for run in runs:
                if (table := cache.read(run)) is not None:
                    outcomes[run] = Outcome(run, table)
        todo = [run for run in runs if run not in outcomes]
        data = (X, codes, classes, take_rows(X, test), codes[test])
        settings = {
            "fit_params": fit_params,
            "n_threads": threads_per_run(),
            "raise_errors": self.error_score == "raise",
            "cache": cache,
        }
        # The longest first: none is left to run alone at the end.
        jobs = (
            delayed(train_runs)(
                clone(self.estimator),
                *data,
                [order[run.seed][: run.train_size] for run in group],
                group,
                position,
                stacked=not self.stacking_,
                **settings,
            )
            for position, group in enumerate(group_runs(todo, self._width(X)))
        )
        with SweepProgress(todo, len(outcomes), verbose=self.verbose) as progress:
            try:
                for group in _parallel(self.n_jobs)(jobs):
                    for outcome in group:
                        progress.advance(outcome)
                        outcomes[outcome.run] = outcome
            except KeyboardInterrupt:
                _warn_of_the_rest("the sweep was interrupted")
            except BrokenExecutor as error:
                if self.error_score == "raise":
                    raise
                self._lost_worker = error
                reason = (str(error).splitlines() or ["no reason given"])[0]
                _warn_of_the_rest(
                    "a worker process was killed, as it is when memory runs short: "
                    f"{reason.rstrip('.')}"
                )
        return outcomes

    def _width(self, X: Any) -> int:
        """Return how many runs train side by side."""
        if self.stacking_:
            return 1
        bytes_per_run = self.train_sizes_[-1] * int(np.prod(np.shape(X)[1:])) * 4
        return stack_width(self.n_seeds, effective_n_jobs(self.n_jobs), bytes_per_run)

    def _store(self, outcomes: dict[Run, Outcome]) -> None:
        ordered = [outcomes[run] for run in sorted(outcomes)]
        failed = [outcome for outcome in ordered if outcome.table is None]
        self.failures_ = pd.DataFrame(
            [(o.run.train_size, o.run.seed, o.reason, o.details) for o in failed],
            columns=["train_size", "seed", "reason", "details"],
        )
        if failed:
            first = failed[0]
            text = (
                f"{plural(len(failed), 'run')} of {len(ordered)} failed; the first, "
                f"(train_size={first.run.train_size}, seed={first.run.seed}), with "
                f"{first.reason}"
            )
            if len(failed) == len(ordered):
                raise ValueError(f"{text}. error_score='raise' shows where.")
            warnings.warn(f"{text}; see failures_.", RunFailedWarning, stacklevel=3)
        tables = [outcome.table for outcome in ordered if outcome.table is not None]
        if not tables:
            raise KeyboardInterrupt("the sweep ended before its first run was finished")
        self.trajectories_ = concat_trajectories(tables)


def _parallel(n_jobs: int | None) -> Parallel:
    """Return joblib's loop over jobs, that hands on each result as it comes.

    Some back-ends, as Ray's and ``multiprocessing``, can hand on all at the end only.
    """
    backend, _ = get_active_backend()
    one_by_one = getattr(backend, "supports_return_generator", False)
    return Parallel(
        n_jobs=n_jobs, return_as="generator_unordered" if one_by_one else "list"
    )


def _warn_of_the_rest(reason: str) -> None:
    warnings.warn(
        f"{reason}. trajectories_ holds the runs that finished. With a cache_dir, "
        "fitting again trains only the rest.",
        RunFailedWarning,
        stacklevel=4,
    )
