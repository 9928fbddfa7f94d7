"""A search problem without any training: scores are a pure function of the genotype, in microseconds."""

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from nas.base.records import Candidate, Costs, Evaluation, Interval, Outcome, TrialRecord
from nas.budgets import Budget
from nas.pareto import MEASURES, Direction, parse_condition
from nas.search.engine import run_search
from nas.search.problem import Problem, Progress
from nas.search.samplers import make_sampler
from nas.search.samplers.prescreen import Foreknown
from nas.search.settings import SearchSettings
from nas.search.study import Place, StudyFile
from nas.workers.local import Executor, InProcess
from search_spaces import BlockSpec, Choice, Genotype, NetworkSpec, SearchSpace

OPTIONS = (1, 2, 3, 4)
WANTED = (4, 1, 3, 1, 4, 2, 1, 3)
"""Sizes that help; every other channel is wasted."""
OBJECTIVES = ("robust_accuracy", "params")


def toy_spec(values: Mapping[str, int], *, shared: int = 1) -> NetworkSpec:
    """A chain of convolutions of these sizes; sizes equal after rounding up to `shared` are one architecture."""
    sizes = [-(-int(value) // shared) for value in values.values()]
    blocks = [BlockSpec("conv", row, c, n, n, 1, 1) for row, (c, n) in enumerate(zip([1, *sizes], sizes, strict=False))]
    return NetworkSpec((1, 8, 8), 2, tuple(blocks))


def toy_space(choices: int = 4, options: Sequence[int] = OPTIONS, shared: int = 1) -> SearchSpace:
    names = [f"size_{index}" for index in range(choices)]
    wanted = tuple(Choice(name, tuple(options)) for name in names)
    return SearchSpace("toy", wanted, (1, 8, 8), 2, partial(toy_spec, shared=shared))


def toy_costs(genotype: Genotype) -> Costs:
    total = 100 * sum(int(value) for value in genotype.values.values())
    return Costs(params=total, macs=8 * total, weight_bytes=4 * total, peak_activation_bytes=64)


def toy_evaluation(genotype: Genotype) -> Evaluation:
    """The accuracies grow with the sizes up to WANTED, each with a weight of its own."""
    sizes = [int(value) for value in genotype.values.values()]
    gains = [min(size, wanted) * (1 + 0.1 * row) for row, (size, wanted) in enumerate(zip(sizes, WANTED, strict=False))]
    best = sum(wanted * (1 + 0.1 * row) for row, wanted in enumerate(WANTED[: len(sizes)]))
    robust = 0.9 * sum(gains) / best
    bar = Interval(max(0.0, robust - 0.05), min(1.0, robust + 0.05))
    return Evaluation(
        split="validation", num_images=100, natural_accuracy=robust + 0.05, natural_interval=bar,
        robust_accuracy=robust, robust_interval=bar, instability=1 - robust, instability_scaled=10 * (1 - robust),
        lipschitz_bound_log10=sum(sizes) / 10, lipschitz_certified_log10=sum(sizes) / 5,
        lipschitz_empirical=1.0, lipschitz_empirical_scaled=1.0,
        attack={"name": "pgd"}, threat={"norm": "linf", "epsilon": 0.1},
    )  # fmt: skip


@dataclass
class ToyEvaluate:
    """Picklable `evaluate`; `calls` lists what was trained in this process. All others go by trial number."""

    fails: frozenset[int] = frozenset()
    missing: frozenset[int] = frozenset()
    """These fail for a cause outside them."""
    acts: Mapping[int, str] = field(default_factory=dict)
    folder: Path | None = None
    calls: list[Candidate] = field(default_factory=list)

    def __call__(self, candidate: Candidate) -> Outcome:
        self.calls.append(candidate)
        action = self.acts.get(candidate.number, "")
        if action == "disk full":
            raise OSError(28, "No space left on device", "weights")
        if action == "exit":
            os._exit(3)
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
        if action == "hang":
            time.sleep(1000)
        if action == "pid":
            assert self.folder is not None
            (self.folder / f"{candidate.number}.pid").write_text(f"{os.getpid()}\n")
            time.sleep(1000)
        if candidate.number in self.fails:
            return Outcome(None, 0.0, f"Traceback …\nValueError: trial {candidate.number} is cursed")
        if candidate.number in self.missing:
            return Outcome(None, 0.0, "Traceback …\nImportError: cannot import", cause="environment")
        return Outcome(toy_evaluation(candidate.genotype), 0.0)


def toy_problem(
    space: SearchSpace | None = None,
    *,
    objectives: Sequence[str] = OBJECTIVES,
    constraints: Sequence[str] = (),
    **limits: int,
) -> Problem:
    chosen = tuple(MEASURES[name] for name in objectives)
    worst = {"robust_accuracy": 0.0, "natural_accuracy": 0.0, "instability": 1.0, "lipschitz_bound_log10": 4.0}
    reference = tuple(worst.get(objective.name, 3500.0) for objective in chosen)
    return Problem(
        space or toy_space(), toy_costs, Budget(**limits), chosen, tuple(map(parse_condition, constraints)), reference
    )


def settings(trials: int = 12, *, sampler: str = "nsga2", population: int = 4, **others: object) -> SearchSettings:
    alone = {"prescreen": {"proposals": 1}, **others}  # the sampler decides
    return SearchSettings(sampler=sampler, trials=trials, population=population, **alone)  # type: ignore[arg-type]


def directions(problem: Problem) -> list[Direction]:
    return [objective.direction for objective in problem.objectives]


def open_study(path: Place, problem: Problem, chosen: SearchSettings) -> StudyFile:
    sampler = partial(make_sampler, chosen, known=Foreknown(problem.space, problem.costs, problem.objectives))
    return StudyFile(path, problem.space, directions(problem), sampler)


@dataclass
class Result:
    """What a search left behind."""

    reason: str
    records: list[TrialRecord]
    trained: list[Candidate]
    reports: list[Progress]

    @property
    def fresh(self) -> list[TrialRecord]:
        """Records of trials that cost a training."""
        return [r for r in self.records if r.state.value in ("complete", "failed") and r.reused_from is None]


def search(
    path: Place,
    problem: Problem | None = None,
    chosen: SearchSettings | None = None,
    evaluate: ToyEvaluate | None = None,
    executor: Executor | None = None,
    report: Callable[[Progress], None] | None = None,
) -> Result:
    """Runs or resumes a toy search in the study at `path`."""
    problem, chosen, evaluate = problem or toy_problem(), chosen or settings(), evaluate or ToyEvaluate()
    reports: list[Progress] = []

    def receive(progress: Progress) -> None:
        reports.append(progress)
        if report:
            report(progress)

    study = open_study(path, problem, chosen)
    reason = run_search(problem, study, executor or InProcess(evaluate), chosen, receive)
    return Result(reason, study.records(), evaluate.calls, reports)


class Batched:
    """Executor of several candidates at once in this process; it finishes the last one submitted first."""

    def __init__(self, evaluate: Callable[[Candidate], Outcome], capacity: int = 3) -> None:
        self.capacity = capacity
        self._evaluate = evaluate
        self._queue: list[Candidate] = []

    def submit(self, candidate: Candidate) -> None:
        self._queue.append(candidate)
        assert len(self._queue) <= self.capacity, "the engine submits more than the capacity"

    def collect(self, seconds: float) -> list[tuple[Candidate, Outcome]]:
        candidate = self._queue.pop()
        return [(candidate, self._evaluate(candidate))]

    def close(self) -> None:
        self._queue.clear()
