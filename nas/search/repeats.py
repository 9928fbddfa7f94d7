"""The members of a front trained again from other seeds, to tell their quality from their luck."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic

from nas.base.records import Candidate, Fidelity, Outcome, TrialRecord, TrialState
from nas.base.seeding import derive_seed
from nas.pareto import hypervolume
from nas.search.loop import failure_of, run, seconds_left
from nas.search.problem import Problem, Progress
from nas.search.settings import SearchSettings
from nas.workers.local import Executor

Stored = Callable[[Candidate], Outcome | None]
"""Outcome of a candidate that was finished before, on whatever rung; None where there is none."""


def run_repeats(
    problem: Problem,
    front: Sequence[TrialRecord],
    seeds: int,
    executor: Executor,
    settings: SearchSettings,
    stored: Stored,
    report: Callable[[Progress], None],
) -> str:
    """Trains every member of `front` until it has `seeds` trainings, the search's own included; says so in words.

    Each training climbs the rungs of the attack ladder that the member has climbed. What is `stored` is not done again;
    the study is left as it is. `report` is called as by `run_search`. A training that fails is reported and tried again
    by the next search. Raises SearchStopped after `max_failures` failures in a row.
    """
    if seeds == 1 or not front:
        return ""
    plan = _Repeats(problem, front, seeds, settings, stored, report)
    return run(plan, executor, settings.max_failures, trained="trainings of the front's members")


@dataclass
class _Repeats:
    problem: Problem
    front: Sequence[TrialRecord]
    seeds: int
    settings: SearchSettings
    stored: Stored
    report: Callable[[Progress], None]
    waiting: list[Candidate] = field(default_factory=list)
    in_work: set[tuple[int, int]] = field(default_factory=set)
    """Trial and repeat of what is in the executor."""
    done: int = 0
    failed: int = 0
    last_failure: str = ""
    trained_now: int = 0
    began: float = field(default_factory=monotonic)

    def resume(self) -> None:
        """Finds out which trainings wait, and for which rung: all members once before any of them twice."""
        for repeat in range(1, self.seeds):
            for record in self.front:
                seed = derive_seed(self.settings.seed, "trial", record.genotype.key, repeat)
                candidate = Candidate(
                    record.number, record.genotype, seed, self.problem.rungs[0], repeat=repeat, inherits=record.inherits
                )
                rung = self.rung_after(record, self.stored(candidate))
                if rung is None:
                    self.done += 1
                else:
                    self.waiting.append(replace(candidate, fidelity=rung))

    def start_next(self) -> Candidate | None:
        """The next training that waits."""
        if not self.waiting:
            return None
        candidate = self.waiting.pop(0)
        self.in_work.add((candidate.number, candidate.repeat))
        return candidate

    def finish(self, candidate: Candidate, outcome: Outcome) -> Candidate | None:
        """Returns `candidate` on its next rung, or reports its end."""
        record = next(record for record in self.front if record.number == candidate.number)
        rung = None if outcome.evaluation is None else self.rung_after(record, outcome)
        if rung is not None:
            return replace(candidate, fidelity=rung)
        self.in_work.remove((candidate.number, candidate.repeat))
        self.trained_now += 1
        latest = replace(
            record, seed=candidate.seed, evaluation=outcome.evaluation, error=outcome.error,
            state=TrialState.FAILED if outcome.evaluation is None else TrialState.COMPLETE,
            seconds=outcome.seconds, scoring_seconds=outcome.scoring_seconds,
        )  # fmt: skip
        if outcome.evaluation is None:
            self.failed += 1
            self.last_failure = failure_of(latest, candidate.repeat)
        else:
            self.done += 1
        self.tick(latest, candidate.repeat)
        return None

    def ended(self) -> str:
        """What was trained, in words."""
        failed = f"; {self.failed} trainings failed and are tried again by the next search" if self.failed else ""
        return f"{len(self.front)} members of the front, {self.seeds} seeds each{failed}"

    def rung_after(self, record: TrialRecord, outcome: Outcome | None) -> Fidelity | None:
        """Rung that a training of `record` climbs next: the lowest where it has none, None where it is as high."""
        own = record.evaluation
        assert own is not None, "members of a front are evaluated"
        rungs = self.problem.rungs
        last = rungs.index(own.fidelity) if own.fidelity in rungs else len(rungs) - 1
        reached = -1
        if outcome is not None and outcome.evaluation is not None:
            reached = rungs.index(outcome.evaluation.fidelity)
        return rungs[reached + 1] if reached < last else None

    def tick(self, latest: TrialRecord | None = None, repeat: int = 0) -> None:
        """Reports the progress, and the training that has just ended."""
        target = (self.seeds - 1) * len(self.front)
        left = target - self.done - self.failed
        evaluations = [record.evaluation for record in self.front if record.evaluation is not None]
        self.report(
            Progress(
                target=target, trained=self.done, spent=self.done, rejected=0, reused=0, failed=self.failed, halted=0,
                running=len(self.in_work),
                hypervolume=hypervolume(self.front, self.problem.objectives, self.problem.reference_point),
                front_size=len(self.front),
                best_robust_accuracy=max(evaluation.robust_accuracy for evaluation in evaluations),
                seconds_left=seconds_left(self.began, self.trained_now, left),
                latest=latest, repeat=repeat, in_work=tuple(sorted(self.in_work)),
            )
        )  # fmt: skip
