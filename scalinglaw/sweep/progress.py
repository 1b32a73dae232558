"""What a sweep shows while it runs: a bar, plain lines, or nothing."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from .runs import Outcome, Run

__all__ = ["SweepProgress"]

_LINE_SECONDS = 30.0


class SweepProgress:
    """Progress of a sweep on standard error.

    A live bar on a terminal and in a notebook; elsewhere, as in a log file,
    a plain line at most every half minute. Time left is estimated from the
    samples that the finished runs trained on, since a run's time grows with
    its train size.

    Parameters
    ----------
    runs : list of Run
        The runs to train.
    n_known : int
        Runs that the cache had.
    verbose : int
        0 for silence.
    console : rich.console.Console, optional
        Where to write; standard error by default.
    """

    def __init__(
        self,
        runs: list[Run],
        n_known: int = 0,
        *,
        verbose: int = 1,
        console: Console | None = None,
    ) -> None:
        self.n_runs = len(runs) + n_known
        self.n_known = n_known
        self.n_done = 0
        self.n_failed = 0
        self.best: dict[int, float] = {}
        self._cost = sum(run.train_size for run in runs)
        self._cost_done = 0
        self._start = time.perf_counter()
        self._last_line = -float("inf")
        self._silent = verbose <= 0
        self._console = console or Console(stderr=True)
        self._bar: Progress | None = None

    def __enter__(self) -> SweepProgress:
        live = self._console.is_terminal or self._console.is_jupyter
        if not self._silent and live:
            self._bar = Progress(
                TextColumn("sweep"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[status]}"),
                console=self._console,
            )
            self._bar.start()
            self._task = self._bar.add_task(
                "sweep", total=self.n_runs, completed=self.n_known, status=""
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif not self._silent:
            self._print_line()

    def advance(self, outcome: Outcome) -> None:
        """Count a run that ended.

        Parameters
        ----------
        outcome : Outcome
            Its table gives the lowest test error.
        """
        run = outcome.run
        self.n_done += 1
        self._cost_done += run.train_size
        if outcome.table is None:
            self.n_failed += 1
        elif "test_error" in outcome.table.columns:
            low = float(outcome.table["test_error"].min())
            self.best[run.train_size] = min(low, self.best.get(run.train_size, 1.0))
        if self._bar is not None:
            self._bar.update(self._task, advance=1, status=self.status())
        elif not self._silent and time.perf_counter() - self._last_line > _LINE_SECONDS:
            self._print_line()

    def seconds_left(self) -> float | None:
        """Return the seconds that the remaining runs need, None if unknown."""
        if not self._cost_done:
            return None
        elapsed = time.perf_counter() - self._start
        return elapsed * (self._cost - self._cost_done) / self._cost_done

    def status(self) -> str:
        """Return failures, time left and the lowest test error by train size."""
        parts = []
        if self.n_failed:
            parts.append(f"{self.n_failed} failed")
        left = self.seconds_left()
        if left:
            parts.append(f"{_duration(left)} left")
        if self.best:
            errors = (
                f"{size}: {error:.3f}" for size, error in sorted(self.best.items())
            )
            parts.append("lowest test error " + ", ".join(errors))
        return "; ".join(parts)

    def _print_line(self) -> None:
        self._last_line = time.perf_counter()
        done = self.n_known + self.n_done
        line = f"sweep: {done}/{self.n_runs} runs; {self.status()}".rstrip("; ")
        self._console.print(line, soft_wrap=True, highlight=False, markup=False)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
