"""The search as a plan of nas/search/loop.py: propose, check the budget, tell the study. One writer."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from time import monotonic

import optuna

from nas.base.errors import SearchStopped
from nas.base.records import Candidate, Costs, Fidelity, Outcome, TrialRecord, TrialState
from nas.base.seeding import derive_seed
from nas.pareto import front_of, hypervolume
from nas.search.draws import MAX_DRAWS, draws
from nas.search.exploit import most_expected
from nas.search.finished import is_trained
from nas.search.halting import Stage, is_spared, violation_of
from nas.search.limits import HALTED, constrained, regardless_of_trust
from nas.search.loop import failure_of, run, seconds_left
from nas.search.parents import parent_of
from nas.search.problem import Problem, Progress
from nas.search.settings import SearchSettings
from nas.search.start import first_genotypes
from nas.search.study import StudyFile
from nas.workers.local import Executor
from search_spaces import Genotype

MAX_BARREN = 20
"""Proposals in a row that train nothing before a fresh genotype is drawn instead."""


def run_search(
    problem: Problem,
    study: StudyFile,
    executor: Executor,
    settings: SearchSettings,
    report: Callable[[Progress], None],
) -> str:
    """Trains candidates until the epochs of `settings.trials` full trainings are spent; returns in words why it ended.

    Finished trials of `study` count, unfinished ones come first. `report` is called after every finished
    trial and about once a second. A candidate that fails for a cause outside it is set aside, for the next search to
    try again, and counts as spent in this one. Raises SearchStopped after `max_failures` failures in a row, and at the
    end where no candidate ever succeeded. The executor is left to the caller to close.
    """
    return run(Search(problem, study, settings, report), executor, settings.max_failures)


@dataclass
class Search:
    """A search under way: what is known, and the steps that move it on."""

    problem: Problem
    study: StudyFile
    settings: SearchSettings
    report: Callable[[Progress], None]
    counts: Counter[str] = field(default_factory=Counter)
    """Finished trials: trained, rejected, reused, failed, halted."""
    front: tuple[TrialRecord, ...] = ()
    best_robust_accuracy: float | None = None
    by_key: dict[str, TrialRecord] = field(default_factory=dict)
    """First trained trial of every architecture."""
    pending: list[optuna.Trial] = field(default_factory=list)
    live: dict[int, tuple[optuna.Trial, Genotype]] = field(default_factory=dict)
    """Trials in the executor, by number."""
    waiting: dict[str, list[tuple[optuna.Trial, Genotype]]] = field(default_factory=dict)
    """Trials whose architecture is in the executor right now, by key."""
    stages: dict[int, Stage] = field(default_factory=dict)
    """Candidates that have reached each stage of epochs."""
    passed: set[tuple[int, int]] = field(default_factory=set)
    """Trials, and stages of epochs, that are in `stages` already."""
    barren: int = 0
    set_aside: dict[int, str] = field(default_factory=dict)
    """Architectures of the trials that failed now for a cause outside them, by number."""
    last_error: str = ""
    """What the last trial that failed said."""
    epochs: int = 0
    """Epochs trained so far, those of halted candidates included."""
    hypervolume: float = 0.0
    began: float = field(default_factory=monotonic)
    spent_before: float = 0.0
    """Trainings spent when this process began."""

    @property
    def last_failure(self) -> str:
        """What the last trial that failed said, and what is tried again."""
        return self.last_error + self._tried_again()

    @property
    def trained(self) -> int:
        """Candidates that cost a training, halted ones included."""
        return self.counts["trained"]

    @property
    def spent(self) -> float:
        """Full trainings whose epochs are spent."""
        return self.epochs / self.problem.epochs

    @property
    def may_start(self) -> bool:
        """Whether there is a full training left for one more candidate, if all that run are trained to their end."""
        return self.spent + len(self.live) < self.settings.trials

    @property
    def exploits(self) -> bool:
        """Whether the next training is one of the last, for the networks of which most is expected."""
        return self.spent + len(self.live) >= self.settings.trials - self.settings.exploit

    @cached_property
    def first(self) -> tuple[Genotype, ...]:
        """Genotypes of the first trials, by number."""
        return first_genotypes(self.problem, self.settings.anchors)

    def resume(self) -> None:
        """Takes up the finished and the unfinished trials of the study."""
        self.stages = {epochs: Stage(self.problem.objectives) for epochs in self.settings.halting.epochs}
        for trial, record in self.study.half_finished():
            self.study.tell(trial, record, self._values(record))
        for record in self.study.records():
            self._remember(record)
            self._pass_stages(record)
            self.barren = 0 if is_trained(record) else self.barren + 1
        self.spent_before = self.spent
        self.pending = self.study.pending()

    def start_next(self) -> Candidate | None:
        """The next candidate; None where no training is left for it, or nothing new exists.

        Trials before it that are over the budget or of a known architecture move straight to their end.
        """
        while self.may_start and (trial := self._next_trial()) is not None:
            genotype = self.study.genotype(trial)
            costs = self.problem.costs(genotype)
            if not self.problem.budget.allows(costs):
                self._tell(trial, self._record(trial, genotype, TrialState.REJECTED, costs))
            elif genotype.key in self.by_key:
                self._reuse(trial, genotype)
            elif genotype.key in self.waiting:
                self.waiting[genotype.key].append((trial, genotype))
            else:
                return self._started(trial, genotype)
            self.barren += 1
        return None

    def finish(self, candidate: Candidate, outcome: Outcome) -> Candidate | None:
        """Tells the study the outcome of `candidate`, and of the trials that waited for the same architecture.

        Or returns how it goes on: to more epochs, where it is among the best of its rung, or up the attack ladder,
        where it would join the front. A candidate that is dominated although its attack was weak would be dominated
        under a stronger one, so it is told with the number it has. Whatever is on the front has met every rung.
        """
        trial, genotype = self.live[candidate.number]
        state = TrialState.FAILED if outcome.evaluation is None else TrialState.COMPLETE
        costs = self.problem.costs(genotype)
        record = self._record(trial, genotype, state, costs, outcome, seed=candidate.seed)
        among_best = self._pass_stages(record)
        if outcome.epochs is not None and state is TrialState.COMPLETE:
            if among_best or is_spared(candidate.seed, self.settings.halting.spared):
                self.study.pass_stage(trial, outcome.epochs)
                return replace(candidate, epochs=self._epochs_after(outcome.epochs))
            state = TrialState.HALTED
            record = self._record(trial, genotype, state, costs, outcome, seed=candidate.seed)
        rung = None if state is TrialState.HALTED else self._next_rung(record)
        if rung is not None:
            return replace(candidate, fidelity=rung)
        del self.live[candidate.number]
        waiting = self.waiting.pop(genotype.key, [])
        if state is TrialState.FAILED and outcome.cause == "environment":
            self._set_aside(trial, record)  # those that wait for it stay unfinished, too
        else:
            self._tell(trial, record)
            for other, same in waiting:
                self._reuse(other, same)
        return None

    def ended(self) -> str:
        """Why it ended, and what is to be tried again. Raises SearchStopped where no candidate ever succeeded."""
        reason = self._exhausted() if self.may_start else f"{self.trained} candidates are done"
        if not self.counts["complete"] + self.counts["halted"]:
            last = f" (the last one, {self.last_error})" if self.last_error else ""
            raise SearchStopped(
                f"{reason}, and none succeeded: {self.counts['failed']} failed{last}, {self.counts['rejected']} were "
                f"over the budget{self._tried_again()}"
            )
        return reason + self._tried_again()

    def _set_aside(self, trial: optuna.Trial, record: TrialRecord) -> None:
        """Leaves `trial`, which failed for a cause outside it, to the next search; it counts as spent in this one."""
        self.study.set_aside(trial, record.error or "")
        self.set_aside[trial.number] = record.genotype.key
        self.epochs += self.problem.epochs
        self.counts["failed"] += 1
        self.last_error = failure_of(record)
        self.tick(record)

    def _tried_again(self) -> str:
        numbers = ", ".join(map(str, sorted(self.set_aside)))
        return f"; what failed for a cause outside it is tried again by the same command (trial {numbers})" * bool(
            numbers
        )

    def _next_trial(self) -> optuna.Trial | None:
        if self.pending:
            return self.pending.pop(0)
        return self.study.ask() if self._enqueue_next() else None

    def _started(self, trial: optuna.Trial, genotype: Genotype) -> Candidate:
        self.barren = 0
        self.live[trial.number] = trial, genotype
        self.waiting[genotype.key] = []
        first = self._epochs_after(self.study.passed_stage(trial))  # not judged again at a stage that it has left
        parent = self._parent(trial, genotype)
        return Candidate(
            trial.number, genotype, self._seed(genotype), self.problem.rungs[0], epochs=first, inherits=parent
        )

    def _epochs_after(self, epochs: int) -> int | None:
        """Next stage of epochs; None after the last one: to the end."""
        return next((stage for stage in self.settings.halting.epochs if stage > epochs), None)

    def _pass_stages(self, record: TrialRecord) -> bool:
        """Puts `record` on the stages of epochs that it has newly reached; whether it is among the best of the last."""
        among_best = True
        for passed in record.halfway if record.evaluation is not None and record.reused_from is None else ():
            stage, place = self.stages.get(passed.epochs), (record.number, passed.epochs)
            if stage is not None and place not in self.passed:
                self.passed.add(place)
                assert record.evaluation is not None
                reached = replace(record, evaluation=record.evaluation.with_scores(passed.scores), violations={})
                there = constrained(reached, self.problem)
                among_best = stage.add(regardless_of_trust(there), self.settings.halting.keep)
        return among_best

    def _next_rung(self, record: TrialRecord) -> Fidelity | None:
        """Next attack rung for a candidate that would join the front, else None."""
        # A check that fails down here may pass where the attacks are stronger.
        record = regardless_of_trust(record)
        if record.evaluation is None or not record.is_feasible or record.evaluation.fidelity not in self.problem.rungs:
            return None
        above = self.problem.rungs[self.problem.rungs.index(record.evaluation.fidelity) + 1 :]
        joins = above and record in front_of([*self.front, record], self.problem.objectives).records
        return above[0] if joins else None

    def tick(self, latest: TrialRecord | None = None) -> None:
        """Reports the progress."""
        left = max(0.0, self.settings.trials - self.spent)
        self.report(
            Progress(
                target=self.settings.trials, trained=self.trained, spent=self.spent,
                **{name: self.counts[name] for name in ("rejected", "reused", "failed", "halted")},
                running=len(self.live), hypervolume=self.hypervolume, front_size=len(self.front),
                best_robust_accuracy=self.best_robust_accuracy,
                seconds_left=seconds_left(self.began, self.spent - self.spent_before, left),
                latest=latest,
                in_work=tuple((number, 0) for number in self.live),
            )
        )  # fmt: skip

    def _seed(self, genotype: Genotype) -> int:
        """One seed per architecture: its result depends on when it is proposed by nothing but its parent."""
        return derive_seed(self.settings.seed, "trial", genotype.key)

    def _parent(self, trial: optuna.Trial, genotype: Genotype) -> int | None:
        if not self.settings.inherit:
            return None
        return self.study.parent(trial, lambda: parent_of(genotype, self.by_key.values(), self.problem.space))

    def _reuse(self, trial: optuna.Trial, genotype: Genotype) -> None:
        earlier = self.by_key[genotype.key]
        outcome = Outcome(earlier.evaluation, 0.0, earlier.error, epochs=earlier.epochs, halfway=earlier.halfway)
        record = self._record(trial, genotype, earlier.state, earlier.costs, outcome, reused_from=earlier.number)
        self._tell(trial, record)

    def _record(
        self,
        trial: optuna.Trial,
        genotype: Genotype,
        state: TrialState,
        costs: Costs,
        outcome: Outcome | None = None,
        reused_from: int | None = None,
        seed: int | None = None,
    ) -> TrialRecord:
        record = TrialRecord(
            number=trial.number,
            genotype=genotype,
            seed=self._seed(genotype) if seed is None else seed,
            state=state,
            costs=costs,
            evaluation=outcome.evaluation if outcome else None,
            violations={f"budget.{name}": value for name, value in self.problem.budget.overrun(costs).items()},
            seconds=outcome.seconds if outcome else 0.0,
            scoring_seconds=outcome.scoring_seconds if outcome else 0.0,
            error=outcome.error if outcome else None,
            epochs=outcome.epochs if outcome and state is TrialState.HALTED else None,
            halfway=outcome.halfway if outcome else (),
            reused_from=reused_from,
            inherits=trial.user_attrs.get("inherits"),
        )
        record = constrained(record, self.problem)
        if state is TrialState.HALTED and record.epochs is not None:
            grade = {HALTED: violation_of(record.epochs, self.settings.halting.epochs)}
            return replace(record, violations={**record.violations, **grade})
        return record

    def _tell(self, trial: optuna.Trial, record: TrialRecord) -> None:
        self.study.tell(trial, record, self._values(record))
        self._remember(record)
        self.tick(record)

    def _values(self, record: TrialRecord) -> Sequence[float] | None:
        """What samplers learn from `record`; None where it has nothing to teach."""
        if record.evaluation is not None:  # a halted trial's own values, ranked behind by its violation
            return [o.loss(o.loss_of(record)) for o in self.problem.objectives]  # infinitely bad where not measured
        if record.state is TrialState.REJECTED:  # placeholders: an infeasible trial is ranked by violation
            return self.problem.reference_point
        return None

    def _remember(self, record: TrialRecord) -> None:
        self.counts["reused" if record.reused_from is not None else record.state.value] += 1
        self.last_error = failure_of(record) if record.error else self.last_error
        if is_trained(record):
            self.counts["trained"] += 1
            self.epochs += self.problem.epochs if record.epochs is None else record.epochs
            self.by_key.setdefault(record.genotype.key, record)
        if not record.is_feasible or record.evaluation is None or record.reused_from is not None:
            return
        robust = record.evaluation.robust_accuracy
        self.best_robust_accuracy = max(robust, self.best_robust_accuracy or 0.0)
        self.front = front_of([*self.front, record], self.problem.objectives).records
        self.hypervolume = hypervolume(self.front, self.problem.objectives, self.problem.reference_point)

    def _enqueue_next(self) -> bool:
        """Decides the next proposal where the sampler shall not: the first, the last, and after barren proposals.

        False where nothing new is left.
        """
        if self.study.has_queued:
            return True
        if self.study.num_trials < len(self.first):
            self.study.enqueue(self.first[self.study.num_trials])
        elif self.exploits and (expected := self._most_expected()) is not None:
            self.study.enqueue(expected)
        elif self.barren >= MAX_BARREN:
            return self._enqueue_fresh()
        return True

    def _most_expected(self) -> Genotype | None:
        trained = [record for record in self.by_key.values() if record.state is TrialState.COMPLETE]
        in_work = [genotype for _, genotype in self.live.values()]
        refused = {*self.by_key, *self.set_aside.values()}  # what failed or was halted as well
        seed = derive_seed(self.settings.seed, "exploit", len(trained))
        return most_expected(self.problem, trained, in_work, seed, refused)

    def _enqueue_fresh(self) -> bool:
        """Makes a random architecture that is new and within the budget the next proposal, if one is found."""
        known = self.by_key.keys() | self.waiting.keys()
        seed = derive_seed(self.settings.seed, "fresh", sum(self.counts.values()))
        for genotype in draws(self.problem.space, seed, [record.genotype for record in self.by_key.values()]):
            if genotype.key not in known and self.problem.budget.allows(self.problem.costs(genotype)):
                self.study.enqueue(genotype)
                self.barren = 0
                return True
        return False

    def _exhausted(self) -> str:
        """Why nothing new is proposed, in words."""
        if self.problem.space.size <= MAX_DRAWS:
            return f"the space is exhausted: all its architectures within the budget are done ({self.trained} trained)"
        return (
            f"no new architecture within the budget was found in {MAX_DRAWS:,} random genotypes and the neighbours "
            f"of those known; {self.spent:.0f} of {self.settings.trials} trainings are spent"
        )
