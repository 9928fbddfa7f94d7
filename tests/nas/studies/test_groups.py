"""Trials of one network belong together, under a name that tells it from the others."""

import dataclasses

import pytest

from nas.base.errors import UsageError
from nas.base.records import TrialState
from nas.studies import groups_of
from tests.builders import trial
from tests.nas.studies.records import trained


@pytest.mark.parametrize(
    ("networks", "labels"),
    [
        ([(0.5, 2), (1.0, 2)], ["W = 0.5", "W = 1"]),
        ([(0.5, 6), (0.5, 2)], ["E = 6", "E = 2"]),
        ([(0.5, 2), (0.5, 4), (1.0, 2)], ["W = 0.5, E = 2", "W = 0.5, E = 4", "W = 1, E = 2"]),
        ([(0.5, 2)], ["W = 0.5, E = 2"]),
    ],
)
def test_a_label_names_what_differs(networks: list[tuple[float, float]], labels: list[str]) -> None:
    records = [trained(number, *network) for number, network in enumerate(networks * 2)]
    groups = groups_of(records)
    assert [group.label for group in groups] == labels
    for index, group in enumerate(groups):
        assert [record.number for record in group.records] == [index, index + len(networks)]
        assert (group.genotype.values["width"], group.genotype.values["expand"]) == networks[index]


def test_only_trainings_count() -> None:
    failed = dataclasses.replace(trained(1, 0.5), state=TrialState.FAILED, evaluation=None)
    reused = dataclasses.replace(trained(2, 0.5), reused_from=0)
    (group,) = groups_of([trained(0, 0.5), failed, reused])
    assert [record.number for record in group.records] == [0]
    with pytest.raises(UsageError, match="nas sweep"):
        groups_of([failed, trial(3, state=TrialState.REJECTED)])
