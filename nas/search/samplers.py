"""Samplers behind one door: made anew for every trial, so that a proposal depends on nothing hidden."""

from collections.abc import Callable

from optuna import Study
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from nas.search.settings import SearchSettings
from nas.seeding import derive_seed


def make_sampler(settings: SearchSettings, number: int) -> BaseSampler:
    """Sampler that proposes trial `number`: a function of the settings' seed and that number."""
    return SAMPLERS[settings.sampler](settings, derive_seed(settings.seed, "proposal", number) % 2**32)


class _OrderedNsga2(NSGAIISampler):
    """NSGA-II whose parents come in one order, that of their numbers.

    Optuna's come by rank when a generation is new and by number when its parents are read back, so a search
    that is interrupted at the first trial of a generation would go on differently.
    """

    def select_parent(self, study: Study, generation: int) -> list[FrozenTrial]:
        return sorted(super().select_parent(study, generation), key=lambda trial: trial.number)


def _nsga2(settings: SearchSettings, seed: int) -> BaseSampler:
    # All choices are categorical, for which Optuna always crosses over uniformly.
    return _OrderedNsga2(
        population_size=settings.population,
        crossover_prob=settings.crossover_probability,
        swapping_prob=settings.swapping_probability,
        mutation_prob=settings.mutation_probability,
        seed=seed,
    )


def _random(settings: SearchSettings, seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


def _tpe(settings: SearchSettings, seed: int) -> BaseSampler:
    return TPESampler(n_startup_trials=settings.population, seed=seed)


SAMPLERS: dict[str, Callable[[SearchSettings, int], BaseSampler]] = {
    "nsga2": _nsga2,
    "random": _random,
    "tpe": _tpe,
}
