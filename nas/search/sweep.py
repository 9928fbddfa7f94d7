"""A fixed set of trainings: a search with a list in place of a sampler."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nas.base.records import Candidate
from nas.search.engine import Search
from nas.search.loop import run
from nas.search.problem import Problem, Progress
from nas.search.settings import SearchSettings
from nas.search.study import StudyFile
from nas.workers.local import Executor
from search_spaces import Genotype


def run_sweep(
    problem: Problem,
    study: StudyFile,
    executor: Executor,
    settings: SearchSettings,
    report: Callable[[Progress], None],
    plan: Sequence[tuple[Genotype, int]],
) -> str:
    """Trains the genotypes of `plan`, each with its seed; trial n is entry n. Otherwise as `run_search`."""
    settings = settings.model_copy(update={"trials": len(plan)})
    return run(_Sweep(problem, study, settings, report, plan=plan), executor, settings.max_failures)


@dataclass
class _Sweep(Search):
    """Trains what is planned: nothing is proposed, rejected or reused."""

    plan: Sequence[tuple[Genotype, int]] = ()

    def start_next(self) -> Candidate | None:
        """The next planned candidate; None where all have started."""
        if not self.may_start:
            return None
        if not self.pending and not self.study.has_queued:  # it is queued after a kill between the two
            self.study.enqueue(self.plan[self.study.num_trials][0])
        trial = self.pending.pop(0) if self.pending else self.study.ask()
        genotype, seed = self.plan[trial.number]
        self.study.genotype(trial)  # stores its values with the trial
        self.live[trial.number] = trial, genotype
        return Candidate(trial.number, genotype, seed, self.problem.rungs[0])
