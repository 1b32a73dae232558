"""Runs of a sweep, how they ended, and what a user should know of that."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from .._validation import plural
from ..exceptions import RunFailedWarning, SweepFailedError, TrajectoryWarning

__all__ = ["Outcome", "Run", "all_failed", "remarks_on", "table_of_failures"]


@dataclass(frozen=True, order=True)
class Run:
    """What tells one run of a sweep from another."""

    train_size: int
    seed: int
    random_state: int

    def __str__(self) -> str:
        return f"(train_size={self.train_size}, seed={self.seed})"


@dataclass(frozen=True)
class Outcome:
    """How a run ended: with a table, or with the reason why there is none."""

    run: Run
    table: pd.DataFrame | None = None
    reason: str = ""
    details: str = ""


def table_of_failures(outcomes: list[Outcome]) -> pd.DataFrame:
    """Return the failed runs, one a row."""
    return pd.DataFrame(
        [
            (o.run.train_size, o.run.seed, o.reason, o.details)
            for o in outcomes
            if o.table is None
        ],
        columns=["train_size", "seed", "reason", "details"],
    )


def all_failed(outcomes: list[Outcome], failures: pd.DataFrame) -> SweepFailedError:
    """Return the error of a sweep none of whose runs succeeded."""
    error = SweepFailedError(f"{_count_failures(outcomes)}.", failures)
    # The traceback of a run is a text: it may come from another process.
    error.__cause__ = RuntimeError(outcomes[0].details)
    return error


def _count_failures(outcomes: list[Outcome]) -> str:
    failed = [outcome for outcome in outcomes if outcome.table is None]
    return (
        f"{plural(len(failed), 'run')} of {len(outcomes)} failed; the first, "
        f"{failed[0].run}, with {failed[0].reason.rstrip('.')}"
    )


def remarks_on(
    damaged: dict[Run, str], outcomes: list[Outcome], ended_by: BaseException | None
) -> list[tuple[str, type[Warning]]]:
    """Return what a user should know about a sweep that has a table."""
    remarks: list[tuple[str, type[Warning]]] = []
    for run, reason in damaged.items():
        text = f"cache entry of the run {run} was damaged and was trained again: "
        remarks.append((text + reason, TrajectoryWarning))
    if any(outcome.table is None for outcome in outcomes):
        text = f"{_count_failures(outcomes)}; see failures_."
        remarks.append((text, RunFailedWarning))
    if ended_by is not None:
        text = "the sweep was interrupted"
        if not isinstance(ended_by, KeyboardInterrupt):
            reason = (str(ended_by).splitlines() or ["no reason given"])[0]
            text = (
                "a worker process was killed, as it is when memory runs short: "
                f"{reason.rstrip('.')}"
            )
        text += (
            ". trajectories_ holds the runs that finished. With a cache_dir, fitting "
            "again trains only the rest."
        )
        remarks.append((text, RunFailedWarning))
    return remarks
