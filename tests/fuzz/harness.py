"""Runs odd inputs one after the other, in a process that may die.

A case is a function of a random generator, seeded by its kind and number, so that any
one can be run again alone. It ends in one of these:

``answer``
    It returned, and what it returned was looked at.
``refusal``
    A ValueError or TypeError that the package itself, or scikit-learn's validation of
    arguments, put into words.
``finding``
    Anything else: another error, an error in the words of a library below, a warning
    that is none of the package's, an answer that fails its check (``Finding``), more
    memory than a case may take, a hang, or the death of the process.
"""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import scalinglaw

PACKAGE = f"{Path(scalinglaw.__file__).parent}{os.sep}"
ROOT = Path(__file__).parents[2]
SECONDS = 20.0
MEMORY = 2**30
SEED = 20_250_513


class Finding(AssertionError):
    """An answer that should not have been given."""


@dataclass
class Report:
    """What came of the cases of one kind."""

    counts: Counter = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    def add(self, number: int, outcome: str, detail: str = "") -> None:
        """Count one case."""
        self.counts[outcome] += 1
        if outcome == "finding":
            self.findings.append(f"case {number}: {detail}")


def generator(kind: str, number: int) -> np.random.Generator:
    """Return the generator of one case."""
    return np.random.default_rng([SEED, *kind.encode(), number])


def run(kind: str, numbers: range) -> Report:
    """Run cases in a process of their own; start another where it dies."""
    report, following = Report(), numbers.start
    while following < numbers.stop:
        following = _run_some(kind, range(following, numbers.stop), report)
    return report


def _run_some(kind: str, numbers: range, report: Report) -> int:
    """Run cases until one kills the process; return the number of the next."""
    command = [sys.executable, "-m", "tests.fuzz", kind, "--worker"]
    worker = subprocess.Popen(
        [*command, str(numbers.start), str(numbers.stop)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    current, left = numbers.start, b""
    # The first line comes after the imports.
    patience = 120.0
    try:
        while True:
            ready, _, _ = select.select([worker.stdout], [], [], patience)
            if not ready:
                report.add(current, "finding", f"hang, over {SECONDS:g} s")
                return current + 1
            block = os.read(worker.stdout.fileno(), 2**16)
            if not block:
                break
            patience = SECONDS
            *lines, left = (left + block).split(b"\n")
            for line in lines:
                number, outcome, detail = json.loads(line)
                if outcome != "start":
                    report.add(number, outcome, detail)
                    current = number + 1
    finally:
        worker.kill()
        worker.wait()
        worker.stdout.close()
    if current < numbers.stop:
        report.add(current, "finding", f"the process died (code {worker.returncode})")
        current += 1
    return current


def work(
    kind: str, case: Callable[[np.random.Generator], None], numbers: range
) -> None:
    """Run cases here and tell the parent process, in lines of JSON."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def tell(*message: object) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    run_case(kind, case, -1)  # Imports what a case needs.
    _limit_memory()
    tell(numbers.start, "start", "")
    for number in numbers:
        peak = _peak_memory()
        outcome, detail = run_case(kind, case, number)
        taken = _peak_memory() - peak
        if taken > MEMORY:
            outcome, detail = "finding", f"{taken / 2**30:.1f} GiB more memory"
        tell(number, outcome, detail)


def run_case(
    kind: str, case: Callable[[np.random.Generator], None], number: int
) -> tuple[str, str]:
    """Run one case; return its outcome and what there is to say about it."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            outcome = _ending(case, generator(kind, number))
    except Finding as finding:
        return "finding", str(finding)
    except Exception as error:
        words = f"{_where(error)} {type(error).__name__}: {error}"
        return "finding", ascii(words[:400])[1:-1]
    for warning in caught:
        # Ours are UserWarnings; numpy's, pandas' and Python's are of other classes.
        if not issubclass(warning.category, UserWarning):
            where = f"{warning.filename.removeprefix(PACKAGE)}:{warning.lineno}"
            return "finding", f"{where} {warning.category.__name__}: {warning.message}"
    return outcome, ""


def _ending(case: Callable, rng: np.random.Generator) -> str:
    try:
        case(rng)
    except (ValueError, TypeError) as error:
        if not _put_into_words_here(error):
            raise
        return "refusal"
    return "answer"


def _put_into_words_here(error: BaseException) -> bool:
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    return last.startswith(PACKAGE) or "/sklearn/utils/" in last


def _where(error: BaseException) -> str:
    """Return the last line of the package that an error went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(PACKAGE)]
    frame = (ours or frames)[-1]
    owner = "" if ours else "not of the package: "
    return f"{owner}{frame.filename.removeprefix(PACKAGE)}:{frame.lineno}"


def _peak_memory() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _limit_memory() -> None:
    """Keep a case from taking the machine's memory; libraries reserve some ahead."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 6 * MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
