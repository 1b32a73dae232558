"""The first cases of each fuzzer; ``make fuzz`` runs them all."""

import pytest

from . import KINDS
from .harness import Finding, Report, run, run_case


@pytest.fixture(scope="module")
def reports():
    # Of all kinds in one process: most of the time goes into imports.
    return run({kind: range(KINDS[kind].n_short) for kind in KINDS})


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_odd_inputs_end_in_an_answer_or_a_named_error(reports, kind):
    report = reports[kind]
    assert report.findings == []
    assert report.counts.total() == KINDS[kind].n_short
    assert report.counts["answer"] > 0
    assert report.counts["refusal"] > 0


def _raising(error):
    def case(rng):
        raise error

    return case


@pytest.mark.parametrize(
    "error", [KeyError("x"), ValueError("in the words of another"), Finding("wrong")]
)
def test_what_is_neither_is_a_finding(error):
    outcome, _ = run_case("none", _raising(error), 0)
    assert outcome == "finding"


def test_a_report_names_the_case():
    report = Report()
    report.add(7, "finding", "why")
    report.add(8, "answer")
    assert report.findings == ["case 7: why"]
    assert report.counts == {"finding": 1, "answer": 1}


def test_a_process_that_dies_or_hangs_is_a_finding_and_the_rest_is_run(monkeypatch):
    monkeypatch.setattr("tests.fuzz.harness.SECONDS", 3.0)
    report = run({"rough": range(4)})["rough"]
    assert report.counts == {"answer": 2, "finding": 2}
    assert report.findings[0].startswith("case 1: the process died")
    assert report.findings[1] == "case 2: hang, over 3 s"
