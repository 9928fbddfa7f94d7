"""Samplers behind one door: made anew for every trial, so that a proposal depends on nothing hidden."""

from collections.abc import Callable

from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler

from nas.search.settings import SearchSettings
from nas.seeding import derive_seed


def make_sampler(settings: SearchSettings, number: int) -> BaseSampler:
    """Sampler that proposes trial `number`: a function of the settings' seed and that number."""
    return SAMPLERS[settings.sampler](settings, derive_seed(settings.seed, "proposal", number) % 2**32)


def _nsga2(settings: SearchSettings, seed: int) -> BaseSampler:
    # All choices are categorical, for which Optuna always crosses over uniformly.
    return NSGAIISampler(
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
