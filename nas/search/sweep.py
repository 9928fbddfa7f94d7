"""A fixed plan of trainings by the search's own engine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nas.base.records import Candidate
from nas.search.engine import Search, run
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
    return run(_Sweep(problem, study, executor, settings, report, plan=plan))


@dataclass
class _Sweep(Search):
    """Trains what is planned: nothing is proposed, rejected or reused."""

    plan: Sequence[tuple[Genotype, int]] = ()

    def start_next(self) -> bool:
        """Moves the next planned trial into the executor."""
        if self.pending:
            trial = self.pending.pop(0)
        else:
            if not self.study.has_queued:  # as after a kill between the two
                self.study.enqueue(self.plan[self.study.num_trials][0])
            trial = self.study.ask()
        genotype, seed = self.plan[trial.number]
        self.study.genotype(trial)  # stores its values with the trial
        self.live[trial.number] = trial
        self.executor.submit(Candidate(trial.number, genotype, seed, self.problem.rungs[0]))
        return True
