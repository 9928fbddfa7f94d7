"""The members of a front trained again: how often, from which seeds, and that nothing is trained twice."""

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from nas.base.errors import SearchStopped
from nas.base.records import Candidate, Fidelity, Outcome, TrialRecord, from_json, to_json
from nas.pareto import front_of
from nas.search.problem import Problem, Progress
from nas.search.repeats import run_repeats
from nas.workers.local import Executor, InProcess, Processes
from tests.toy import Batched, search, settings, toy_evaluation, toy_problem

RUNGS: tuple[Fidelity, ...] = ("screen", "attack", "front")
PROBLEM = replace(toy_problem(), rungs=RUNGS)
TRIALS = 12


@dataclass
class Stored:
    """Picklable `evaluate` that keeps each outcome in a file and answers from it, as a trial does."""

    folder: Path
    fails: frozenset[tuple[int, int]] = frozenset()
    """Trials and repeats that fail."""
    stop_at: int = 0
    """Number of the call that Ctrl-C interrupts; 0: none."""
    calls: list[Candidate] = field(default_factory=list)

    def __call__(self, candidate: Candidate) -> Outcome:
        self.calls.append(candidate)
        if len(self.calls) == self.stop_at:
            raise KeyboardInterrupt
        if (candidate.number, candidate.repeat) in self.fails:
            return Outcome(None, 0.0, "Traceback …\nValueError: cursed")
        found = self.stored(candidate)
        assert found is None or found.evaluation is not None
        if found is None or RUNGS.index(found.evaluation.fidelity) < RUNGS.index(candidate.fidelity):  # type: ignore[union-attr]
            found = Outcome(replace(toy_evaluation(candidate.genotype), fidelity=candidate.fidelity), 1.0)
            self._path(candidate).write_text(json.dumps(to_json(found)))
        return found

    def stored(self, candidate: Candidate) -> Outcome | None:
        path = self._path(candidate)
        return from_json(Outcome, json.loads(path.read_text())) if path.exists() else None

    def _path(self, candidate: Candidate) -> Path:
        return self.folder / f"{candidate.number}_{candidate.repeat}_{candidate.seed}.json"


def repeated(
    evaluate: Stored,
    front: tuple[TrialRecord, ...],
    seeds: int = 3,
    executor: Executor | None = None,
    problem: Problem = PROBLEM,
) -> tuple[str, list[Progress]]:
    reports: list[Progress] = []
    executor = executor or InProcess(evaluate)
    said = run_repeats(problem, front, seeds, executor, settings(TRIALS), evaluate.stored, reports.append)
    return said, reports


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrialRecord, ...]:
    folder = tmp_path_factory.mktemp("search")
    evaluate = Stored(folder)
    records = search(folder / "j", PROBLEM, settings(TRIALS), executor=InProcess(evaluate)).records
    found = front_of(records, PROBLEM.objectives).records
    assert len(found) > 2
    return found


def test_every_member_is_trained_from_every_seed_and_climbs_every_rung(
    tmp_path: Path, front: tuple[TrialRecord, ...]
) -> None:
    evaluate = Stored(tmp_path)
    said, reports = repeated(evaluate, front)
    wanted = [(r.number, k, rung) for k in (1, 2) for r in front for rung in RUNGS]
    assert [(c.number, c.repeat, c.fidelity) for c in evaluate.calls] == wanted
    seeds = {(c.number, c.repeat): c.seed for c in evaluate.calls} | {(r.number, 0): r.seed for r in front}
    assert len(set(seeds.values())) == 3 * len(front)
    assert said == f"{len(front)} members of the front, 3 seeds each"
    assert (reports[-1].trained, reports[-1].target, reports[-1].running) == (2 * len(front), 2 * len(front), 0)
    ended = [(report.latest.number, report.repeat) for report in reports if report.latest]
    assert ended == [(r.number, k) for k in (1, 2) for r in front]


def test_a_member_attacked_less_is_repeated_as_it_is(tmp_path: Path, front: tuple[TrialRecord, ...]) -> None:
    assert front[0].evaluation is not None
    lower = replace(front[0], evaluation=replace(front[0].evaluation, fidelity="attack"))
    evaluate = Stored(tmp_path)
    repeated(evaluate, (lower,), seeds=2)
    assert [c.fidelity for c in evaluate.calls] == ["screen", "attack"]


def test_one_seed_or_an_empty_front_asks_for_nothing(tmp_path: Path, front: tuple[TrialRecord, ...]) -> None:
    evaluate = Stored(tmp_path)
    assert repeated(evaluate, front, seeds=1) == ("", [])
    assert repeated(evaluate, ()) == ("", [])
    assert evaluate.calls == []


def test_more_seeds_only_add(tmp_path: Path, front: tuple[TrialRecord, ...]) -> None:
    evaluate = Stored(tmp_path)
    repeated(evaluate, front, seeds=2)
    before = len(evaluate.calls)
    repeated(evaluate, front, seeds=4)
    assert Counter(c.repeat for c in evaluate.calls[before:]) == {2: 3 * len(front), 3: 3 * len(front)}
    again = Stored(tmp_path)
    _, reports = repeated(again, front, seeds=4)
    assert (again.calls, reports[-1].trained) == ([], 3 * len(front))


def test_interrupted_at_any_call_it_goes_on_without_doing_anything_twice(
    tmp_path: Path, front: tuple[TrialRecord, ...]
) -> None:
    whole = Stored(tmp_path / "whole")
    whole.folder.mkdir()
    repeated(whole, front)
    for stop in range(1, len(whole.calls) + 1):
        first = Stored(tmp_path / str(stop), stop_at=stop)
        first.folder.mkdir()
        with pytest.raises(KeyboardInterrupt):
            repeated(first, front)
        second = Stored(first.folder)
        repeated(second, front)
        done = first.calls[:-1] + second.calls
        assert Counter((c.number, c.repeat, c.fidelity) for c in done) == Counter(
            (c.number, c.repeat, c.fidelity) for c in whole.calls
        )
        assert sorted(p.name for p in first.folder.iterdir()) == sorted(p.name for p in whole.folder.iterdir())


def test_several_at_once_give_the_same(tmp_path: Path, front: tuple[TrialRecord, ...]) -> None:
    evaluate, alone = Stored(tmp_path / "a"), Stored(tmp_path / "b")
    evaluate.folder.mkdir()
    alone.folder.mkdir()
    repeated(evaluate, front, executor=Batched(evaluate))
    repeated(alone, front)
    assert {p.name: p.read_text() for p in evaluate.folder.iterdir()} == {
        p.name: p.read_text() for p in alone.folder.iterdir()
    }


def test_worker_processes_do_the_same(tmp_path: Path, front: tuple[TrialRecord, ...]) -> None:
    evaluate = Stored(tmp_path)
    executor = Processes(evaluate, workers=1, threads=1, timeout=None)
    try:
        said, reports = repeated(evaluate, front[:2], seeds=2, executor=executor)
    finally:
        executor.close()
    assert said == "2 members of the front, 2 seeds each"
    assert len(list(tmp_path.iterdir())) == reports[-1].trained == 2


def test_a_failure_is_reported_and_tried_again_next_time(tmp_path: Path, front: tuple[TrialRecord, ...]) -> None:
    cursed = (front[1].number, 1)
    said, reports = repeated(Stored(tmp_path, fails=frozenset({cursed})), front)
    assert "1 trainings failed and are tried again" in said
    failed = [report for report in reports if report.latest and report.latest.error]
    assert [(report.latest.number, report.repeat) for report in failed if report.latest] == [cursed]
    assert (reports[-1].failed, reports[-1].trained) == (1, 2 * len(front) - 1)
    again = Stored(tmp_path)
    repeated(again, front)
    assert {(c.number, c.repeat) for c in again.calls} == {cursed}


def test_failures_in_a_row_stop_it(tmp_path: Path, front: tuple[TrialRecord, ...]) -> None:
    fails = frozenset((r.number, k) for r in front for k in range(1, 6))
    evaluate = Stored(tmp_path, fails=fails)
    with pytest.raises(SearchStopped, match=r"5 trainings of the front's members failed in a row.*cursed"):
        repeated(evaluate, front, seeds=6)
    assert len(evaluate.calls) == 5
