"""Run the fuzzers: all of them in full, or one kind, or one case of it.

python -m tests.fuzz
python -m tests.fuzz pickles --cases 500
python -m tests.fuzz pickles --case 17
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from . import KINDS, ROUGH
from .harness import generator, run, work


def main() -> int:
    """Print a line for each kind and each finding; return 1 if there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", help=f"some of {', '.join(KINDS)}")
    parser.add_argument("--cases", type=int, help="how many of each kind")
    parser.add_argument("--case", type=int, help="run this one here, with a traceback")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    kinds = arguments.kinds or list(KINDS)
    if arguments.worker:
        work(lambda kind: (ROUGH if kind == "rough" else KINDS[kind]).load())
        return 0
    if arguments.case is not None:
        return _run_here(kinds[0], arguments.case)
    n_findings = 0
    for kind in kinds:
        start = time.monotonic()
        report = run({kind: range(arguments.cases or KINDS[kind].n_cases)})[kind]
        n_findings += len(report.findings)
        counts = ", ".join(
            f"{report.counts[outcome]} {outcome}s"
            for outcome in ("answer", "refusal", "finding")
        )
        print(f"{kind}: {counts} in {time.monotonic() - start:.0f} s", flush=True)
        for finding in report.findings:
            print(f"  {finding}", flush=True)
    return int(n_findings > 0)


def _run_here(kind: str, number: int) -> int:
    try:
        KINDS[kind].load()(generator(kind, number))
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
