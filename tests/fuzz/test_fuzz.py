"""The first cases of each fuzzer; ``make fuzz`` runs them all."""

import pytest

from . import KINDS
from .harness import Finding, Report, run, run_case


@pytest.mark.parametrize("kind", KINDS)
def test_odd_inputs_end_in_an_answer_or_a_named_error(kind):
    n_cases = KINDS[kind].n_short
    report = run(kind, range(n_cases))
    assert report.findings == []
    assert report.counts["answer"] + report.counts["refusal"] == n_cases
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
