"""Records survive JSON exactly, and know whether they are feasible."""

import dataclasses
import json
from typing import Any

import pytest

from nas.base.records import (
    Candidate,
    Costs,
    Evaluation,
    Genotype,
    Interval,
    Outcome,
    TrialRecord,
    TrialState,
    from_json,
    to_json,
)
from tests.builders import evaluation, tiny_space, trial

GENOTYPE = tiny_space().largest()
RECORDS: tuple[Any, ...] = (
    Costs(1, 2, 3, 4),
    Candidate(3, GENOTYPE, 2**62 + 1),
    Interval(1 / 3, 0.1 + 0.2),
    evaluation(robust=1 / 3, warnings=("ε is odd", "two")),
    evaluation().with_scores({"margin": 0.1 + 0.2}),
    Outcome(evaluation(), 1.5),
    Outcome(None, 0.0, "Traceback …"),
    trial(4),
    trial(5, violations={"params": -0.25, "natural_accuracy": 1e-17}),
    dataclasses.replace(trial(6, state=TrialState.FAILED), error="boom", seconds=0.1),
    dataclasses.replace(trial(7), genotype=Genotype("s", {"a": 1, "b": 0.35, "c": "swish"}, "0"), reused_from=4),
)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_records_survive_json_exactly(record: Any) -> None:
    text = json.dumps(to_json(record), allow_nan=False)
    again = from_json(type(record), json.loads(text))
    assert again == record
    assert json.dumps(to_json(again)) == text


def test_json_keeps_the_types_of_a_genotypes_values() -> None:
    values = from_json(Genotype, json.loads(json.dumps(to_json(RECORDS[-1].genotype)))).values
    assert [type(value) for value in values.values()] == [int, float, str]


def test_a_genotype_read_from_json_can_be_used_as_a_key() -> None:
    again = from_json(Genotype, json.loads(json.dumps(to_json(GENOTYPE))))
    assert {GENOTYPE: "found"}[again] == "found"


@pytest.mark.parametrize(
    "missing",
    [
        field.name
        for field in dataclasses.fields(Evaluation)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ],
)
def test_an_evaluation_without_one_of_its_fields_is_refused(missing: str) -> None:
    data = to_json(evaluation())
    del data[missing]
    with pytest.raises(ValueError, match=missing):
        from_json(Evaluation, data)


def test_scores_are_read_and_replaced_by_name_wherever_they_are_stored() -> None:
    found = evaluation(robust=0.5).with_scores({"margin": 1.5}).with_scores({"drift": 2.0, "robust_accuracy": 0.25})
    assert found.scores == {"margin": 1.5, "drift": 2.0}
    assert [found.score(name) for name in ("margin", "robust_accuracy", "unheard_of")] == [1.5, 0.25, None]


def test_an_unknown_state_is_refused() -> None:
    with pytest.raises(ValueError, match="state"):
        from_json(TrialRecord, {**to_json(trial(1)), "state": "asleep"})


def test_records_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        trial(1).number = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (trial(1), True),
        (trial(1, violations={"params": 0.0, "macs": -0.5}), True),
        (trial(1, violations={"params": 1e-9, "macs": -0.5}), False),
        *((trial(1, state=state), False) for state in TrialState if state is not TrialState.COMPLETE),
    ],
)
def test_only_complete_trials_within_every_limit_are_feasible(record: TrialRecord, expected: bool) -> None:
    assert record.is_feasible is expected
