"""A whole search in seconds: its candidates' trainings are looked up, and time is what they took."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from nas.base.records import Candidate, Halfway, Outcome, TrialRecord
from nas.base.seeding import derive_seed
from nas.pareto import front_of, hypervolume, scores_of
from nas.search.engine import run_search
from nas.search.finished import is_trained
from nas.search.problem import Problem, Progress
from nas.search.samplers import make_sampler
from nas.search.samplers.prescreen import Foreknown
from nas.search.settings import SearchSettings
from nas.search.study import StudyFile
from nas.studies.replay.table import BenchTable, TabulatedTraining
from nas.workers.local import Finished


@dataclass(frozen=True)
class Step:
    """How far a search was when a candidate had finished."""

    epochs: int
    """Epochs trained by all candidates so far."""
    seconds: float
    """Virtual wall time."""
    hypervolume: float
    """Of the search's front, by the scores that the search saw."""
    unseen: float
    """Of the same genotypes by trainings that the search did not see: luck of the seen ones does not count."""


@dataclass(frozen=True)
class Replay:
    """One search on the table."""

    seed: int
    steps: tuple[Step, ...]
    candidates: int
    halted: int
    reused: int
    """Proposals of an architecture that was trained before: they cost nothing and teach nothing."""


class VirtualTime:
    """Executor that looks trainings up: `capacity` candidates at once, and the next to finish is the soonest done."""

    def __init__(self, table: BenchTable, capacity: int, problem: Problem) -> None:
        self.capacity = capacity
        self.epochs = 0
        self.seconds = 0.0
        self._table, self._problem = table, problem
        self._running: list[tuple[float, int, Candidate]] = []
        self._reached: dict[int, tuple[int, tuple[Halfway, ...]]] = {}

    def submit(self, candidate: Candidate) -> None:
        """Starts `candidate` now, from where it stands."""
        reached, _ = self._reached.get(candidate.number, (0, ()))
        spent = (candidate.epochs or self._table.epochs) - reached
        ends = self.seconds + spent * self._training(candidate).seconds
        heapq.heappush(self._running, (ends, candidate.number, candidate))

    def collect(self, seconds: float) -> list[Finished]:
        """The next to finish; the clock moves on to its end."""
        if not self._running:
            return []
        self.seconds, _, candidate = heapq.heappop(self._running)
        reached, halfway = self._reached.pop(candidate.number, (0, ()))
        target = candidate.epochs or self._table.epochs
        self.epochs += target - reached
        training = self._training(candidate)
        evaluation = self._table.evaluation(training.scores[target - 1], self._problem.space.spec(candidate.genotype))
        seconds = target * training.seconds
        if candidate.epochs is None:
            return [(candidate, Outcome(evaluation, seconds, halfway=halfway))]
        halfway = (*halfway, Halfway(target, scores_of(evaluation)))
        self._reached[candidate.number] = (target, halfway)
        return [(candidate, Outcome(evaluation, seconds, epochs=target, halfway=halfway))]

    def close(self) -> None:
        """Forgets what was running."""
        self._running.clear()

    def _training(self, candidate: Candidate) -> TabulatedTraining:
        return self._table.training(candidate.genotype, draw_of(candidate.seed))


def draw_of(seed: int) -> float:
    """Which training of the table a candidate with `seed` meets."""
    return Random(derive_seed(seed, "replay")).random()


def replay(table: BenchTable, problem: Problem, settings: SearchSettings) -> Replay:
    """One search of `problem` with `settings` on `table`, in memory. Its chance comes from `settings.seed`.

    `settings.workers` candidates run at once, one where it is auto.
    """
    executor = VirtualTime(table, settings.workers if isinstance(settings.workers, int) else 1, problem)
    directions = [objective.direction for objective in problem.objectives]
    sampler = partial(make_sampler, settings, known=Foreknown(problem.space, problem.costs, problem.objectives))
    study = StudyFile(None, problem.space, directions, sampler)
    steps: list[Step] = []
    last: Progress | None = None

    def report(progress: Progress) -> None:
        nonlocal last
        last = progress
        if progress.latest is not None and is_trained(progress.latest):
            unseen = steps[-1].unseen if steps else 0.0
            if not steps or progress.hypervolume != steps[-1].hypervolume:
                unseen = unseen_hypervolume(table, problem, study.records())
            steps.append(Step(executor.epochs, executor.seconds, progress.hypervolume, unseen))

    run_search(problem, study, executor, settings, report)
    assert last is not None, "a search reports its beginning"
    return Replay(settings.seed, tuple(steps), last.trained, last.halted, last.reused)


def unseen_hypervolume(table: BenchTable, problem: Problem, records: Sequence[TrialRecord]) -> float:
    """Hypervolume of the genotypes on the front of `records` by the trainings of `table` that these did not draw.

    A mean over all trainings would contain the ones that the front was selected by, and a share of their luck.
    """
    front = front_of(records, problem.objectives).records
    found = [table.unseen(record.genotype, draw_of(record.seed)) for record in front]
    rescored = [
        replace(record, evaluation=table.evaluation(scores, problem.space.spec(record.genotype)))
        for record, scores in zip(front, found, strict=True)
    ]
    return hypervolume(rescored, problem.objectives, problem.reference_point)
