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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import scalinglaw

PACKAGE = f"{Path(scalinglaw.__file__).parent}{os.sep}"
ROOT = Path(__file__).parents[2]
SECONDS, IMPORTS = 20.0, 180.0
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


def run(plan: Mapping[str, range]) -> dict[str, Report]:
    """Run cases in a process of their own; start another where it dies."""
    reports = {kind: Report() for kind in plan}
    cases = [(kind, number) for kind, numbers in plan.items() for number in numbers]
    while cases:
        cases = cases[_run_some(cases, reports) :]
    return reports


def _run_some(cases: list[tuple[str, int]], reports: dict[str, Report]) -> int:
    """Run cases until one kills the process; return how many are done."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.fuzz", "--worker"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    worker.stdin.write(json.dumps(cases).encode())
    worker.stdin.close()
    done, left, patience = 0, b"", IMPORTS

    def stopped(why: str) -> int:
        kind, number = cases[done]
        reports[kind].add(number, "finding", why)
        return done + 1

    try:
        while done < len(cases):
            ready, _, _ = select.select([worker.stdout], [], [], patience)
            if not ready:
                return stopped(f"hang, over {SECONDS:g} s")
            block = os.read(worker.stdout.fileno(), 2**16)
            if not block:
                return stopped(f"the process died (code {worker.wait()})")
            *lines, left = (left + block).split(b"\n")
            for line in lines:
                outcome, detail = json.loads(line)
                # Importing what a kind needs is no case, and may take longer.
                patience = IMPORTS if outcome == "import" else SECONDS
                if outcome not in ("import", "start"):
                    kind, number = cases[done]
                    reports[kind].add(number, outcome, detail)
                    done += 1
        return done
    finally:
        worker.kill()
        worker.wait()
        worker.stdout.close()


def work(load: Callable[[str], Callable]) -> None:
    """Run the cases that the parent process wrote, and tell it in lines of JSON."""
    cases = json.load(sys.stdin)
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def tell(outcome: str, detail: str = "") -> None:
        channel.write(json.dumps([outcome, detail]) + "\n")
        channel.flush()

    current, case = "", None
    for kind, number in cases:
        if kind != current:
            tell("import")
            current, case = kind, load(kind)
            run_case(kind, case, -1)  # Imports what a case needs.
            _limit_memory()
            tell("start")
        peak = _peak_memory()
        outcome, detail = run_case(kind, case, number)
        taken = _peak_memory() - peak
        if taken > MEMORY:
            outcome, detail = "finding", f"{taken / 2**30:.1f} GiB more memory"
        tell(outcome, detail)


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
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 6 * MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, most))
