"""The sweep: one clone of a classifier per train size and seed."""

from __future__ import annotations

import os
import re
from concurrent.futures import BrokenExecutor
from typing import Any

import numpy as np
import pandas as pd
from joblib.parallel import get_active_backend
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from .._validation import (
    check_integer,
    check_jobs,
    check_seed,
    check_train_sizes,
    warn_user,
)
from ..trajectories import concat_trajectories
from ._cache import RunCache
from ._inputs import check_estimator, check_samples, route_fit_params
from ._outcomes import Outcome, Run, all_failed, remarks_on, table_of_failures
from ._runs import RunSettings, threads_per_run, train_run
from ._subsets import hold_out, nested_order, run_state, subset_state

__all__ = ["TrajectorySweep"]


class TrajectorySweep(TransformerMixin, BaseEstimator):
    """Train a classifier at many train sizes and seeds, and keep all trajectories.

    One test set is held out, stratified by class. Each seed orders the remaining
    samples once, and its runs train on heads of that order: subsets of one seed are
    nested, stratified, and hold every class.

    Parameters
    ----------
    estimator : classifier
        Cloned for each run; must record a ``trajectory_``. In a pipeline the last step
        records; the steps before it are fitted on the training samples of each run,
        and its test samples go through them.
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
    cache_key : str or None, default=None
        What determines the runs and cannot be seen in parameters and in the files that
        define them, such as the version of a file that a network reads.
    random_state : int or None, default=None
        Determines the split, the subsets and all runs. With a `cache_dir` it must
        be an int, or no run would be found again.
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
    cache_folder_ : Path or None
        Where in `cache_dir` the runs of this sweep are.
    interrupted_ : BaseException or None
        What ended the sweep before its last run: KeyboardInterrupt at Ctrl-C, or a
        BrokenExecutor if a worker process died. None if all runs were trained.
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
        cache_dir: str | os.PathLike[str] | None = None,
        cache_key: str | None = None,
        random_state: int | None = None,
        error_score: Any = np.nan,
        verbose: int = 0,
    ):
        self.estimator = estimator
        self.train_sizes = train_sizes
        self.n_seeds = n_seeds
        self.test_size = test_size
        self.n_jobs = n_jobs
        self.cache_dir = cache_dir
        self.cache_key = cache_key
        self.random_state = random_state
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
            Arguments of the estimator's ``fit``, such as ``teacher``; for a pipeline
            those of its steps, such as ``scaler__sample_weight``. Of ``sample_weight``
            each run gets the entries of its own samples. With scikit-learn's metadata
            routing they go where they were requested.

        Returns
        -------
        TrajectorySweep
            Fitted sweep.

        Raises
        ------
        TypeError, ValueError
            If an argument breaks a rule, the estimator records nothing, or the data
            are too few for the largest train size; with ``error_score="raise"``, a
            run's own error.
        SweepFailedError
            If every run failed.
        OSError
            If the cache cannot be written.
        KeyboardInterrupt, BrokenExecutor
            If the sweep was ended before its first run was finished.

        Warns
        -----
        RunFailedWarning
            If some runs failed, or were not reached.
        TrajectoryWarning
            If runs in the cache were damaged and trained again.
        """
        # Should this fit fail, nothing of an earlier one is left.
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)
        train_sizes = self._check_parameters()
        X, classes, codes = check_samples(X, y)
        routed = route_fit_params(self, self.estimator, fit_params, len(codes))
        entropy = check_seed(self.random_state)
        if entropy is None:
            entropy = int(np.random.SeedSequence().generate_state(1)[0])
        pool, test = hold_out(codes, self.test_size, entropy)
        self._check_sizes(train_sizes, len(pool), len(classes))
        settings = RunSettings(
            classes,
            routed,
            raise_errors=self.error_score == "raise",
            cache=self._open_cache(X, codes, classes, len(test), entropy, fit_params),
            n_threads=threads_per_run(),
        )
        order = {
            seed: pool[nested_order(codes[pool], subset_state(entropy, seed))]
            for seed in range(self.n_seeds)
        }
        rows = {
            Run(size, seed, run_state(entropy, size, seed)): order[seed][:size]
            for size in train_sizes
            for seed in order
        }
        outcomes, damaged = _read_finished(settings.cache, list(rows))
        ended_by = self._train(rows, X, codes, test, settings, outcomes)
        finished = [outcomes[run] for run in sorted(outcomes)]
        failures = table_of_failures(finished)
        tables = [outcome.table for outcome in finished if outcome.table is not None]
        if not tables:
            raise ended_by or all_failed(finished, failures)
        self.trajectories_ = concat_trajectories(tables)
        self.failures_ = failures
        self.interrupted_ = ended_by
        self.cache_folder_ = None if settings.cache is None else settings.cache.folder
        self.train_sizes_, self.classes_, self.test_indices_ = (
            train_sizes,
            classes,
            test,
        )
        for text, category in remarks_on(damaged, finished, ended_by):
            warn_user(text, category)
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
        check_is_fitted(self, "trajectories_")
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

    def get_metadata_routing(self) -> MetadataRouter:
        """Return which method of the estimator gets the arguments of which of ours.

        Returns
        -------
        MetadataRouter
            Routing of scikit-learn.
        """
        mapping = MethodMapping().add(caller="fit", callee="fit")
        mapping.add(caller="fit_transform", callee="fit")
        router = MetadataRouter(owner=type(self).__name__)
        return router.add(estimator=self.estimator, method_mapping=mapping)

    def _check_parameters(self) -> list[int]:
        """Return the train sizes in increasing order."""
        check_estimator(self.estimator)
        train_sizes = check_train_sizes(self.train_sizes)
        check_integer(self.n_seeds, "n_seeds")
        check_jobs(self.n_jobs, "n_jobs")
        if not isinstance(self.verbose, bool):
            check_integer(self.verbose, "verbose", minimum=0)
        score = self.error_score
        if not (score == "raise" or (isinstance(score, float) and np.isnan(score))):
            raise ValueError(f"error_score must be one of 'raise', nan, got {score!r}.")
        if not isinstance(self.cache_dir, str | os.PathLike | None):
            raise TypeError(f"cache_dir must be a folder, got {self.cache_dir!r}.")
        if not isinstance(self.cache_key, str | None):
            raise TypeError(f"cache_key must be a text, got {self.cache_key!r}.")
        if self.cache_dir is not None and self.random_state is None:
            raise ValueError(
                "random_state must be an integer when cache_dir is given, got None: "
                "runs with other random numbers would not be found again."
            )
        return train_sizes

    def _check_sizes(self, train_sizes: list[int], n_pool: int, n_classes: int) -> None:
        smallest, largest = train_sizes[0], train_sizes[-1]
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
        n_test: int,
        entropy: int,
        fit_params: dict[str, Any],
    ) -> RunCache | None:
        if self.cache_dir is None:
            return None
        common = {"n_test": n_test, "random_state": entropy}
        # The test set is part of the data: the key must not depend on y's type.
        determinants = common | {
            "estimator": self.estimator,
            "X": X,
            "codes": codes,
            "classes": classes,
            "fit_params": fit_params,
            "n_threads": threads_per_run(),
        }
        name = type(self.estimator).__name__
        cache = RunCache.open(self.cache_dir, name, determinants, self.cache_key)
        params = self.estimator.get_params(deep=False)
        about = {
            "estimator": name,
            # Without the addresses that Python puts into some.
            "parameters": {
                key: re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value)[:500])
                for key, value in params.items()
            },
            "samples": list(np.shape(X)),
            "cache_key": self.cache_key,
        }
        cache.prepare(about | common)
        return cache

    def _train(
        self,
        rows: dict[Run, np.ndarray],
        X: Any,
        codes: np.ndarray,
        test: np.ndarray,
        settings: RunSettings,
        outcomes: dict[Run, Outcome],
    ) -> BaseException | None:
        """Add the outcomes of all runs that have none; return what ended them early."""
        # The longest first: none is left to run alone at the end.
        todo = sorted(rows.keys() - outcomes.keys(), key=lambda r: (-r.train_size, r))
        unfitted = clone(self.estimator)
        jobs = (
            delayed(train_run)(
                unfitted, X, codes, rows[run], test, run, position, settings
            )
            for position, run in enumerate(todo)
        )
        n_failed = 0
        with _progress(self.verbose) as progress:
            task = progress.add_task("sweep", total=len(rows), completed=len(outcomes))
            try:
                for outcome in _parallel(self.n_jobs)(jobs):
                    outcomes[outcome.run] = outcome
                    n_failed += outcome.table is None
                    failed = f"sweep, {n_failed} failed" if n_failed else "sweep"
                    progress.update(task, advance=1, description=failed)
            except KeyboardInterrupt as interrupt:
                return interrupt
            except BrokenExecutor as error:
                if settings.raise_errors:
                    raise
                return error
        return None


def _parallel(n_jobs: int | None) -> Parallel:
    """Return joblib's loop over jobs, that hands on each result as it comes.

    Some back-ends, as Ray's and ``multiprocessing``, can hand on all at the end only.
    """
    backend, _ = get_active_backend()
    one_by_one = getattr(backend, "supports_return_generator", False)
    return Parallel(
        n_jobs=n_jobs, return_as="generator_unordered" if one_by_one else "list"
    )


def _progress(verbose: int) -> Progress:
    """Return a bar on standard error, of which a log file gets the last state."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        # Before rich 14.3 a disabled bar still ends in an empty line.
        console=Console(stderr=True, quiet=not verbose),
        disable=not verbose,
    )


def _read_finished(
    cache: RunCache | None, runs: list[Run]
) -> tuple[dict[Run, Outcome], dict[Run, str]]:
    """Return the runs that the cache has, and what is wrong with those it had."""
    outcomes: dict[Run, Outcome] = {}
    damaged: dict[Run, str] = {}
    if cache is None:
        return outcomes, damaged
    for run in runs:
        try:
            if (table := cache.read(run)) is not None:
                outcomes[run] = Outcome(run, table)
        except (ValueError, PermissionError) as error:
            damaged[run] = str(error)
    return outcomes, damaged
