"""Limits that a finished trial keeps or breaks: conditions on its scores, and that its numbers are trusted."""

from dataclasses import replace

from nas.base.records import TrialRecord
from nas.search.problem import Problem

TRUSTED, HALTED = "trusted", "halted"
"""Names of the constraints that no check fails, and that a candidate was trained to its end."""


def constrained(record: TrialRecord, problem: Problem) -> TrialRecord:
    """`record` with the violations of the problem's conditions on its scores."""
    # A limit on something never measured counts as broken by its whole size.
    measured = {
        str(condition): 1.0 if record.evaluation is None else condition.violation(record)
        for condition in problem.constraints
    }
    if problem.reject_untrusted:
        measured[TRUSTED] = float(record.evaluation is None or not record.evaluation.is_trusted)
    return replace(record, violations={**record.violations, **measured})


def regardless_of_trust(record: TrialRecord) -> TrialRecord:
    """`record` without the violation of trust."""
    return replace(record, violations={name: value for name, value in record.violations.items() if name != TRUSTED})
