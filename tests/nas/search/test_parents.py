"""Whose weights a candidate starts from: the nearest trained network's, decided once."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from nas.base.records import Candidate, Halfway, Outcome, TrialRecord, TrialState
from nas.pareto import front_of
from nas.search.finished import is_trained, read_records
from nas.search.parents import parent_of
from nas.search.repeats import run_repeats
from nas.search.settings import Halting, SearchSettings
from nas.workers.local import InProcess
from search_spaces import Choice, SearchSpace
from tests.builders import trial
from tests.toy import Batched, ToyEvaluate, search, settings, toy_problem, toy_space, toy_spec

RUNGS = (1, 3)
SPACE = toy_space(2)
UNEVEN = SearchSpace(
    "uneven", (Choice("a", (1, 2)), Choice("b", (1, 2, 3, 4)), Choice("c", (7,))), (1, 8, 8), 2, toy_spec
)


def at(number: int, *indices: int, space: SearchSpace = SPACE, state: TrialState = TrialState.COMPLETE) -> TrialRecord:
    return replace(trial(number, state=state), genotype=space.decode(indices))


def heirs(trials: int = 16, **others: object) -> SearchSettings:
    return settings(trials, inherit=True, **others)


def test_the_nearest_genotype_is_the_parent() -> None:
    trained = [at(3, 0, 0), at(5, 3, 3), at(7, 1, 2)]
    assert parent_of(SPACE.decode((0, 1)), trained, SPACE) == 3
    assert parent_of(SPACE.decode((3, 2)), trained, SPACE) == 5
    assert parent_of(SPACE.decode((2, 2)), trained, SPACE) == 7


def test_a_step_weighs_by_the_number_of_options() -> None:
    trained = [at(1, 1, 0, 0, space=UNEVEN), at(2, 0, 2, 0, space=UNEVEN)]  # 1/1 and 2/3 away
    assert parent_of(UNEVEN.smallest(), trained, UNEVEN) == 2
    assert parent_of(UNEVEN.smallest(), [trained[0], at(4, 0, 3, 0, space=UNEVEN)], UNEVEN) == 1, "1/1 and 3/3"


def test_among_equals_the_first_trial_is_the_parent() -> None:
    trained = [at(9, 0, 1), at(4, 1, 0), at(6, 1, 2), at(8, 2, 1)]
    assert parent_of(SPACE.decode((1, 1)), trained, SPACE) == 4
    tenths = SearchSpace("t", tuple(Choice(n, tuple(range(1, 12))) for n in "abc"), (1, 8, 8), 2, toy_spec)
    apart = [at(2, 3, 0, 0, space=tenths), at(1, 1, 1, 1, space=tenths)]  # 0.3, and 0.1 + 0.1 + 0.1 > 0.3 in floats
    assert parent_of(tenths.smallest(), apart, tenths) == 1


def test_whoever_left_no_scored_network_is_no_parent() -> None:
    assert parent_of(SPACE.smallest(), [], SPACE) is None
    assert parent_of(SPACE.smallest(), [at(1, 0, 1, state=TrialState.FAILED)], SPACE) is None
    halted = replace(at(2, 3, 3), state=TrialState.HALTED)
    assert parent_of(SPACE.smallest(), [at(1, 0, 1, state=TrialState.FAILED), halted], SPACE) == 2


def expected_parent(record: TrialRecord, finished: list[TrialRecord]) -> int | None:
    """The definition, over what was finished when `record` was started."""
    space = toy_problem().space
    best: tuple[float, int] | None = None
    for other in finished:
        if other.state in (TrialState.COMPLETE, TrialState.HALTED) and other.reused_from is None:
            pairs = zip(space.encode(record.genotype), space.encode(other.genotype), strict=True)
            found = (sum(abs(a - b) for a, b in pairs), other.number)
            best = found if best is None else min(best, found)
    return None if best is None else best[1]


def test_each_candidate_inherits_from_the_nearest_of_those_before(tmp_path: Path) -> None:
    evaluate = ToyEvaluate(fails=frozenset({2}))
    result = search(tmp_path / "j", toy_problem(params=1200), heirs(), evaluate)
    states = {record.state for record in result.records}
    assert states == {TrialState.COMPLETE, TrialState.FAILED, TrialState.REJECTED}
    for record in result.records:
        wanted = expected_parent(record, result.records[: record.number]) if is_trained(record) else None
        assert record.inherits == wanted, f"trial {record.number}"
    assert {c.number: c.inherits for c in result.trained} == {r.number: r.inherits for r in result.fresh}
    assert result.fresh[0].inherits is None
    assert len({r.inherits for r in result.fresh}) > 3


def test_without_the_setting_nobody_inherits_and_the_study_is_as_before(tmp_path: Path) -> None:
    result = search(tmp_path / "j")
    assert {candidate.inherits for candidate in result.trained} == {None}
    assert {record.inherits for record in result.records} == {None}
    assert b'"user_attr":{"inherits"' not in (tmp_path / "j").read_bytes()


@dataclass
class InParts(ToyEvaluate):
    """Stops at the stage of epochs that is asked for, with the scores of the whole training."""

    def __call__(self, candidate: Candidate) -> Outcome:
        found = super().__call__(candidate).evaluation
        assert found is not None
        passed = tuple(Halfway(e, {}) for e in RUNGS if candidate.epochs is None or e <= candidate.epochs)
        return Outcome(found, 0.0, epochs=candidate.epochs, halfway=passed)


def test_halted_networks_are_parents_and_all_parts_of_a_training_have_one(tmp_path: Path) -> None:
    evaluate = InParts()
    result = search(tmp_path / "j", chosen=heirs(24, halting=Halting(epochs=RUNGS, keep=0.3)), evaluate=evaluate)
    halted = {r.number for r in result.records if r.state is TrialState.HALTED and r.reused_from is None}
    parts: dict[int, list[int | None]] = {}
    for candidate in evaluate.calls:
        parts.setdefault(candidate.number, []).append(candidate.inherits)
    assert halted & {record.inherits for record in result.records}
    assert any(len(parents) == 1 + len(RUNGS) for parents in parts.values())
    assert {record.number: {record.inherits} for record in result.records if record.number in parts} == {
        number: set(parents) for number, parents in parts.items()
    }


@dataclass
class _Killed:
    """Ends the process at the `at`-th call, after the candidate was trained and stored, as nas.runs.trial does."""

    at: int
    stored: dict[int, Candidate] = field(default_factory=dict)
    evaluate: ToyEvaluate = field(default_factory=ToyEvaluate)

    def __call__(self, candidate: Candidate) -> Outcome:
        outcome = self.evaluate(candidate)
        self.stored[candidate.number] = candidate
        if len(self.evaluate.calls) == self.at:
            raise KeyboardInterrupt
        return outcome


@pytest.mark.parametrize("capacity", [1, 3])
def test_killed_and_taken_up_again_a_trial_keeps_its_parent(tmp_path: Path, capacity: int) -> None:
    for stop in range(1, 13):
        path = tmp_path / f"{stop}"
        killed = _Killed(stop)
        batched = Batched(killed, capacity)
        with pytest.raises(KeyboardInterrupt):
            search(path, chosen=heirs(12), executor=batched)
        running = {c.number: c.inherits for c in batched._queue} | {
            number: c.inherits for number, c in killed.stored.items()
        }
        finished = {record.number for record in read_records(path)}
        resumed = search(path, chosen=heirs(12))
        parents = {record.number: record.inherits for record in resumed.records}
        assert {number: parents[number] for number in running} == running, f"killed in training {stop}"
        again = [candidate for candidate in resumed.trained if candidate.number in running]
        assert {c.number for c in again} == running.keys() - finished
        assert all(killed.stored.get(c.number, c) == c for c in again), "the result in its folder is taken for its own"


def test_a_later_finish_changes_no_stored_parent(tmp_path: Path) -> None:
    """With three workers, trial 2 is started while 0 and 1 run: it has no parent, whatever ends before it goes on."""
    killed = _Killed(2)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "j", chosen=heirs(6), executor=Batched(killed, 3))
    assert [c.number for c in killed.evaluate.calls] == [2, 3], "the last one submitted is finished first"
    resumed = search(tmp_path / "j", chosen=heirs(6))
    parents = {record.number: record.inherits for record in resumed.records}
    assert (parents[0], parents[1], parents[2], parents[3]) == (None, None, None, 2)


def test_one_worker_gives_one_search_however_often_it_is_killed(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole", chosen=heirs(10)).records
    assert search(tmp_path / "again", chosen=heirs(10)).records == whole
    for stop in range(1, 11, 2):
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / f"{stop}", chosen=heirs(10), executor=Batched(_Killed(stop), 1))
        assert search(tmp_path / f"{stop}", chosen=heirs(10)).records == whole


def test_a_journal_cut_anywhere_is_taken_up_again(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole", chosen=heirs(6)).records
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    stored = [index for index, line in enumerate(lines) if b'"user_attr":{"inherits"' in line]
    assert len(stored) == 6
    for index in stored:
        for cut in (index, index + 1):
            (tmp_path / "j").write_bytes(b"".join(lines[:cut]))
            assert search(tmp_path / "j", chosen=heirs(6)).records == whole


def test_further_trainings_of_the_front_start_from_the_same_parent(tmp_path: Path) -> None:
    problem, evaluate = toy_problem(), ToyEvaluate()
    records = search(tmp_path / "j", problem, heirs()).records
    front = front_of(records, problem.objectives).records
    run_repeats(problem, front, 3, InProcess(evaluate), heirs(), lambda _: None, lambda _: None)
    assert any(record.inherits is not None for record in front)
    for record in front:
        of_it = [candidate for candidate in evaluate.calls if candidate.number == record.number]
        assert [candidate.repeat for candidate in of_it] == [1, 2]
        assert {candidate.inherits for candidate in of_it} == {record.inherits}
        assert len({candidate.seed for candidate in of_it} | {record.seed}) == 3
