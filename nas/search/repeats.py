"""The members of a front trained again from other seeds, to tell their quality from their luck."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic

from nas.base.errors import SearchStopped
from nas.base.records import Candidate, Fidelity, Outcome, TrialRecord, TrialState
from nas.base.seeding import derive_seed
from nas.pareto import hypervolume
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
    repeats = _Repeats(problem, front, seeds, executor, settings, report)
    for repeat in range(1, seeds):  # all members once before any of them twice
        for record in front:
            candidate = repeats.candidate(record, repeat)
            outcome = stored(candidate)
            rung = repeats.rung_after(candidate, outcome)
            if rung is None:
                repeats.done += 1
            else:
                repeats.waiting.append(replace(candidate, fidelity=rung))
    repeats.run()
    failed = f"; {repeats.failed} trainings failed and are tried again by the next search" if repeats.failed else ""
    return f"{len(front)} members of the front, {seeds} seeds each{failed}"


@dataclass
class _Repeats:
    problem: Problem
    front: Sequence[TrialRecord]
    seeds: int
    executor: Executor
    settings: SearchSettings
    report: Callable[[Progress], None]
    waiting: list[Candidate] = field(default_factory=list)
    in_work: set[tuple[int, int]] = field(default_factory=set)
    """Trial and repeat of what is in the executor."""
    done: int = 0
    failed: int = 0
    failures: int = 0
    """In a row."""
    trained_now: int = 0
    began: float = field(default_factory=monotonic)

    def candidate(self, record: TrialRecord, repeat: int) -> Candidate:
        """Training number `repeat` of `record`, on the lowest rung."""
        seed = derive_seed(self.settings.seed, "trial", record.genotype.key, repeat)
        return Candidate(
            record.number, record.genotype, seed, self.problem.rungs[0], repeat=repeat, inherits=record.inherits
        )

    def rung_after(self, candidate: Candidate, outcome: Outcome | None) -> Fidelity | None:
        """Rung to climb next: the lowest for a training not begun, None for one that is as high as its trial's own."""
        own = self._record(candidate).evaluation
        assert own is not None, "members of a front are evaluated"
        rungs = self.problem.rungs
        last = rungs.index(own.fidelity) if own.fidelity in rungs else len(rungs) - 1
        reached = -1
        if outcome is not None and outcome.evaluation is not None:
            reached = rungs.index(outcome.evaluation.fidelity)
        return rungs[reached + 1] if reached < last else None

    def run(self) -> None:
        """Works off what is waiting."""
        self.tick()
        while self.waiting or self.in_work:
            while self.waiting and len(self.in_work) < self.executor.capacity:
                candidate = self.waiting.pop(0)
                self.executor.submit(candidate)
                self.in_work.add((candidate.number, candidate.repeat))
            for candidate, outcome in self.executor.collect(seconds=1.0):
                self.in_work.remove((candidate.number, candidate.repeat))
                self.finish(candidate, outcome)
            self.tick()

    def finish(self, candidate: Candidate, outcome: Outcome) -> None:
        """Sends `candidate` on to its next rung, or reports its end."""
        rung = None if outcome.evaluation is None else self.rung_after(candidate, outcome)
        if rung is not None:
            self.waiting.insert(0, replace(candidate, fidelity=rung))
            return
        self.trained_now += 1
        if outcome.evaluation is None:
            self.failed, self.failures = self.failed + 1, self.failures + 1
        else:
            self.done, self.failures = self.done + 1, 0
        self.tick(candidate, outcome)
        if self.failures >= self.settings.max_failures:
            raise SearchStopped(
                f"{self.failures} trainings of the front's members failed in a row (search.max_failures); the last "
                f"one, trial {candidate.number} with seed {candidate.repeat}: "
                f"{(outcome.error or '').strip().splitlines()[-1]}"
            )

    def tick(self, candidate: Candidate | None = None, outcome: Outcome | None = None) -> None:
        """Reports the progress, and the training that has just ended."""
        target = (self.seeds - 1) * len(self.front)
        left = target - self.done - self.failed
        pace = (monotonic() - self.began) / self.trained_now if self.trained_now else None
        latest = None
        if candidate is not None and outcome is not None:
            latest = replace(
                self._record(candidate),
                seed=candidate.seed,
                state=TrialState.FAILED if outcome.evaluation is None else TrialState.COMPLETE,
                evaluation=outcome.evaluation,
                seconds=outcome.seconds,
                scoring_seconds=outcome.scoring_seconds,
                error=outcome.error,
            )
        evaluations = [record.evaluation for record in self.front if record.evaluation is not None]
        self.report(
            Progress(
                target=target,
                trained=self.done,
                spent=self.done,
                rejected=0,
                reused=0,
                failed=self.failed,
                halted=0,
                running=len(self.in_work),
                hypervolume=hypervolume(self.front, self.problem.objectives, self.problem.reference_point),
                front_size=len(self.front),
                best_robust_accuracy=max(evaluation.robust_accuracy for evaluation in evaluations),
                seconds_left=None if pace is None else pace * left,
                latest=latest,
                repeat=candidate.repeat if candidate else 0,
                in_work=tuple(sorted(self.in_work)),
            )
        )

    def _record(self, candidate: Candidate) -> TrialRecord:
        return next(record for record in self.front if record.number == candidate.number)
