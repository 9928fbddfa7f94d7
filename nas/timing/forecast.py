"""Which trainings a search would make, before any is made: its own engine, on made-up scores.

What a search takes depends on what it proposes: a network beyond the budget costs nothing, one that halts early a part
of a training, and one that belongs to the front climbs the attack ladder. The engine and its samplers decide all this;
made up is only that accuracy grows with the logarithm of the MACs, with some noise, and that no condition on a score is
broken.
"""

import math
from dataclasses import dataclass, field, fields, replace
from functools import partial
from random import Random

from nas.base.records import Candidate, Costs, Evaluation, Fidelity, Halfway, Interval, Outcome
from nas.base.seeding import derive_seed
from nas.measures.closed_form import lipschitz_bound_log10
from nas.pareto import front_of, scores_of
from nas.search.engine import run_search
from nas.search.problem import Problem
from nas.search.samplers import make_sampler
from nas.search.samplers.prescreen import Foreknown
from nas.search.settings import SearchSettings
from nas.search.study import StudyFile
from nas.workers.local import InProcess
from search_spaces import Genotype

REHEARSALS = 4
"""Made-up searches that an estimate is the mean of: what one proposes, and so the size of its networks, is chance."""
MOST = 64
"""Trainings that are forecast; those after them are like the later half of these."""


@dataclass
class ForecastTrial:
    """A candidate that is trained."""

    genotype: Genotype
    epochs: int = 0
    rungs: list[Fidelity] = field(default_factory=list)
    """Rung of the attack ladder of each time it is scored."""
    halfway: list[Halfway] = field(default_factory=list)
    robust: float = 1.0
    """Made-up robust accuracy: the share of the images that meet the attacks after the first."""
    is_on_front: bool = False
    """At the end."""
    weight: float = 1.0
    """Candidates that it stands for."""


def forecast(problem: Problem, settings: SearchSettings, rehearsal: int = 0) -> list[ForecastTrial]:
    """Candidates that a search of `problem` with `settings` would train, by number. Takes a second or two.

    Scores are made up anew for every `rehearsal`. Of Gaussian processes, which think for long, NSGA-II takes the place.
    Raises SearchStopped where nothing fits.
    """
    trials, sampler = min(settings.trials, MOST), "nsga2" if settings.sampler == "gp" else settings.sampler
    wanted = settings.model_copy(update={"trials": trials, "sampler": sampler, "inherit": False})
    problem = replace(problem, constraints=(), reject_untrusted=False)
    rehearsed = _Rehearsal(problem, rehearsal)
    directions = [objective.direction for objective in problem.objectives]
    known = Foreknown(problem.space, problem.costs, problem.objectives)
    study = StudyFile(None, problem.space, directions, partial(make_sampler, wanted, known=known))
    run_search(problem, study, InProcess(rehearsed), wanted, lambda _: None)
    for record in front_of(study.records(), problem.objectives).records:
        rehearsed.courses[record.number].is_on_front = True
    courses = list(rehearsed.courses.values())
    later = courses[len(courses) // 2 :]
    for course in later:
        course.weight += (settings.trials / trials - 1) * len(courses) / len(later)
    return courses


class _Rehearsal:
    """Trains nothing: notes what is asked for, and makes up scores."""

    def __init__(self, problem: Problem, index: int) -> None:
        self.courses: dict[int, ForecastTrial] = {}
        self._index = index
        self._problem = problem
        ends = (problem.space.smallest(), problem.space.largest())
        self._low, self._high = (math.log(max(1, problem.costs(genotype).macs)) for genotype in ends)

    def __call__(self, candidate: Candidate) -> Outcome:
        course = self.courses.setdefault(candidate.number, ForecastTrial(candidate.genotype))
        if candidate.fidelity == self._problem.rungs[0]:
            course.epochs = candidate.epochs or self._problem.epochs
        course.rungs.append(candidate.fidelity)
        evaluation = self._scores(candidate)
        course.robust = evaluation.robust_accuracy
        if candidate.epochs is not None:
            course.halfway.append(Halfway(candidate.epochs, scores_of(evaluation)))
        return Outcome(evaluation, 0.0, epochs=candidate.epochs, halfway=tuple(course.halfway))

    def _scores(self, candidate: Candidate) -> Evaluation:
        rng = Random(derive_seed(candidate.seed, "forecast", self._index))
        size = math.log(max(1, self._problem.costs(candidate.genotype).macs)) - self._low
        size = min(1.0, max(0.0, size / max(self._high - self._low, 1e-9)))
        # As in runs/reference/digits_bench.csv, 1,152 trainings: a correlation of 0.8, two thirds of the rest chance.
        # Natural accuracy rises more steeply, as after brief trainings on 32×32 images (docs/cifar10.md).
        natural = 0.5 + 0.25 * size + rng.gauss(0, 0.012)
        robust = 0.4 + 0.12 * size + rng.gauss(0, 0.018)
        instability, slope = 0.06 + 0.05 * robust + rng.gauss(0, 0.007), 3 + rng.gauss(0, 0.5)
        return Evaluation(
            split="validation", num_images=0, natural_accuracy=natural, natural_interval=Interval(0, 1),
            robust_accuracy=robust, robust_interval=Interval(0, 1), instability=instability,
            instability_scaled=10 * instability, lipschitz_empirical=slope, lipschitz_empirical_scaled=10 * slope,
            lipschitz_maximised=2 * slope, lipschitz_certified_log10=5 + rng.gauss(0, 0.5),
            lipschitz_bound_log10=lipschitz_bound_log10(self._problem.space.spec(candidate.genotype)),
            attack={}, threat={}, fidelity=candidate.fidelity, scores=self._computed(rng),
        )  # fmt: skip

    def _computed(self, rng: Random) -> dict[str, float]:
        """Anything between the best and the worst value of every objective that has no field of its own."""
        pairs = zip(self._problem.objectives, self._problem.reference_point, strict=True)
        own = {field.name for kind in (Evaluation, Costs) for field in fields(kind)}
        return {o.name: o.best + rng.random() * (worst - o.best) for o, worst in pairs
                if o.name not in own and not o.is_derived}  # fmt: skip
