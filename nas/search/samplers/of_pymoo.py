"""pymoo's multi-objective evolutionary algorithms as samplers that replay the study.

Generation g is made of the trials with numbers g·P to (g + 1)·P − 1. Its parents are what the algorithm's own survival
keeps of the parents of generation g − 1 and its finished trials; each of its trials is one child of two parents, chosen
by the algorithm's own tournament. Nothing is stored: parents are a function of the seed and the finished trials, and a
child of these, its number and the genotypes proposed before it.
"""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from math import comb
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.base.packages import check_installed
from nas.base.seeding import derive_seed
from nas.search.samplers.history import Choices, Genes, categorical, genes_of, losses_of, proposed_in, violation_of
from nas.search.samplers.of_optuna import relative_space
from nas.search.settings import SearchSettings

Array = NDArray[np.float64]
MAX_MUTATIONS = 50
"""Further mutations of a child that was proposed before, until it is new."""


@dataclass(frozen=True)
class Individual:
    """A finished trial as the algorithms see it."""

    genes: Genes
    losses: tuple[float, ...]
    violation: float
    """Sum of the constraints' violations, 0 where the trial is feasible."""
    rank: int | None = None
    """Of its front among those that survived with it, where the algorithm gives one."""
    crowding: float | None = None


@dataclass
class _Line:
    """Generations of a study whose trials are all finished, so that a proposal looks at later ones only."""

    generations: int = 0
    parents: tuple[Individual, ...] = ()
    """Of the generation after these."""


class EvolutionarySampler(BaseSampler):
    """Proposes trial `number` of `study` by the pymoo algorithm that `make` makes for P parents and M objectives."""

    def __init__(self, make: Callable[[int, int], Any], settings: SearchSettings, seed: int) -> None:
        self._make = make
        self._settings = settings
        self._random = RandomSampler(seed=seed)
        self._rng = np.random.default_rng(seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The choices with several options; nothing before a trial is complete."""
        return relative_space(study)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A child of the parents of the trial's generation; nothing in the first one, which is random."""
        choices = categorical(search_space)
        trials = study.get_trials(deepcopy=False)[: trial.number]
        proposed = proposed_in(study)
        running = proposed.read(trials, choices)
        parents = self._parents(study, trials, choices, proposed.finished)
        if len(parents) < 2:
            return {}
        child = self._child(parents, [len(choice.choices) for choice in choices.values()], (proposed.genes, running))
        return {name: choice.choices[gene] for (name, choice), gene in zip(choices.items(), child, strict=True)}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A uniform draw."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        """Takes new seeds from the system."""
        self._random.reseed_rng()
        self._rng = np.random.default_rng()

    def _parents(
        self, study: Study, trials: Sequence[FrozenTrial], choices: Choices, finished: int
    ) -> tuple[Individual, ...]:
        """Parents of the generation that follows `trials`, the first `finished` of which have ended."""
        size = self._settings.population
        line = _LINES.setdefault(study, {}).setdefault((self._settings.sampler, self._settings.seed, size), _Line())
        parents = line.parents
        for generation in range(line.generations, len(trials) // size):
            block = trials[generation * size : (generation + 1) * size]
            born = [_individual(t, choices, study.directions) for t in block if t.state is TrialState.COMPLETE]
            parents = self._survivors(parents, born, generation)
            if (generation + 1) * size <= finished:
                line.generations, line.parents = generation + 1, parents
        return parents

    def _survivors(
        self, parents: Sequence[Individual], born: Sequence[Individual], generation: int
    ) -> tuple[Individual, ...]:
        """At most P of both, each genotype once."""
        merged = list({one.genes: one for one in (*born, *parents)}.values())
        if len(merged) < 2:
            return tuple(merged)
        seed = derive_seed(self._settings.seed, "survival", generation) % 2**32
        losses = _finite([one.losses for one in merged])
        earlier = {one.genes for one in parents}
        old = losses[[one.genes in earlier for one in merged]] if parents else losses
        algorithm, population = self._population(merged, losses, np.random.RandomState(seed))
        # The box of the parents is what SMS-EMOA's own loop hands over; the other algorithms ignore it.
        kept = algorithm.survival.do(
            algorithm.problem, population, n_survive=self._settings.population, random_state=algorithm.random_state,
            ideal=old.min(axis=0), nadir=old.max(axis=0) + 1e-32,
        )  # fmt: skip
        survivors = [
            replace(merged[int(one.X[0])], rank=one.data.get("rank"), crowding=one.data.get("crowding")) for one in kept
        ]
        return tuple(sorted(survivors, key=lambda one: one.genes))

    def _child(self, parents: Sequence[Individual], options: Sequence[int], proposed: Sequence[Set[Genes]]) -> Genes:
        """Uniform crossover of two parents, then random resets, until the child is none of `proposed`."""
        settings, rng = self._settings, self._rng
        algorithm, population = self._population(
            parents, _finite([one.losses for one in parents]), self._random._rng.rng
        )
        pair = algorithm.mating.selection.do(
            algorithm.problem, population, n_select=1, n_parents=2, to_pop=False,
            algorithm=algorithm, random_state=algorithm.random_state,
        )  # fmt: skip
        first, second = (np.array(parents[index].genes) for index in pair[0])
        mixes = rng.random() < settings.crossover_probability
        swapped = mixes & (rng.random(len(options)) < settings.swapping_probability)
        child = np.where(swapped, second, first)
        probability = settings.mutation_probability
        probability = 1 / len(options) if probability is None else probability
        for _ in range(MAX_MUTATIONS):
            reset = rng.random(len(options)) < probability
            child = np.where(reset, rng.integers(options), child)
            genes = tuple(child.tolist())
            if not any(genes in known for known in proposed):
                break
        return genes

    def _population(
        self, individuals: Sequence[Individual], losses: Array, random_state: np.random.RandomState
    ) -> tuple[Any, Any]:
        """The algorithm, ready to select, and pymoo's population; X is the place among `individuals`."""
        from pymoo.core.population import Population
        from pymoo.core.problem import Problem

        algorithm = self._make(self._settings.population, losses.shape[1])
        algorithm.problem = Problem(n_var=1, n_obj=losses.shape[1], n_ieq_constr=1)
        algorithm.random_state = random_state
        count = len(individuals)
        population = Population.new(
            X=np.arange(count)[:, None], F=losses, G=np.array([[one.violation] for one in individuals]),
            H=np.zeros((count, 0)),
        )  # fmt: skip
        population.set("rank", [one.rank for one in individuals])
        population.set("crowding", [one.crowding for one in individuals])
        return algorithm, population


_LINES: WeakKeyDictionary[Study, dict[tuple[str, int, int], _Line]] = WeakKeyDictionary()
"""A memory of what can be read from the study at any time, kept as long as it is open."""


def _individual(trial: FrozenTrial, choices: Choices, directions: Sequence[StudyDirection]) -> Individual:
    return Individual(genes_of(trial.params, choices), losses_of(trial, directions), violation_of(trial))


def _finite(losses: Sequence[Sequence[float]]) -> Array:
    """Losses (P, M) with what is infinite (a bound that could not be proved) replaced by a value worse than all.

    A single objective is there twice, which changes no dominance: contributions to a hypervolume need two.
    """
    matrix = np.array(losses, dtype=np.float64)
    for column in matrix.T:
        known = column[np.isfinite(column)]
        low, high = (known.min(), known.max()) if len(known) else (0.0, 0.0)
        column[~np.isfinite(column)] = high + (high - low) + 1.0
    return np.repeat(matrix, 2, axis=1) if matrix.shape[1] == 1 else matrix


def _nsga2(population: int, objectives: int) -> Any:
    from pymoo.algorithms.moo.nsga2 import NSGA2

    return NSGA2(pop_size=population)


def _nsga3(population: int, objectives: int) -> Any:
    from pymoo.algorithms.moo.nsga3 import NSGA3
    from pymoo.operators.selection.tournament import TournamentSelection
    from pymoo.util.ref_dirs import get_reference_directions

    partitions = 1  # as many directions as parents, or the next number below that a simplex lattice can have
    while comb(partitions + objectives, objectives - 1) <= population:
        partitions += 1
    directions = get_reference_directions("das-dennis", objectives, n_partitions=partitions)
    selection = TournamentSelection(func_comp=_smaller_violation)
    return NSGA3(directions, pop_size=max(population, len(directions)), selection=selection)


def _agemoea(population: int, objectives: int) -> Any:
    check_installed("pymoo_agemoea")
    from pymoo.algorithms.moo.age import AGEMOEA

    return AGEMOEA(pop_size=population)


def _smsemoa(population: int, objectives: int) -> Any:
    from pymoo.algorithms.moo.sms import SMSEMOA

    return SMSEMOA(pop_size=population)


def _smaller_violation(pop: Any, P: Any, random_state: np.random.RandomState, **_: Any) -> Any:
    """NSGA-III's tournament: the smaller violation, else either. pymoo's breaks ties outside the given stream."""
    violations = pop.get("CV")[:, 0]
    either = random_state.random(len(P)) < 0.5
    first, second = violations[P[:, 0]], violations[P[:, 1]]
    takes_first = (first < second) | ((first == second) & either)
    return np.where(takes_first, P[:, 0], P[:, 1])[:, None]


_ALGORITHMS: dict[str, Callable[[int, int], Any]] = {
    "pymoo_nsga2": _nsga2,
    "pymoo_nsga3": _nsga3,
    "pymoo_agemoea": _agemoea,
    "pymoo_smsemoa": _smsemoa,
}


def evolutionary(settings: SearchSettings, seed: int) -> BaseSampler:
    """NSGA-II (Deb 2002), NSGA-III (Deb & Jain 2014), AGE-MOEA (Panichella 2019) or SMS-EMOA (Beume 2007) of pymoo.

    Raises UsageError for AGE-MOEA where the package numba is missing.
    """
    make = _ALGORITHMS[settings.sampler]
    make(settings.population, 2)  # what is missing is said before anything is trained
    return EvolutionarySampler(make, settings, seed)
