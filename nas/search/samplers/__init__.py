"""Samplers behind one door: made anew for every trial, so that a proposal depends on nothing hidden."""

from collections.abc import Callable

from optuna.samplers import BaseSampler

from nas.base.seeding import derive_seed
from nas.search.samplers.of_optuna import gp, nsga2, nsga3, random, tpe
from nas.search.samplers.of_pymoo import evolutionary
from nas.search.samplers.prescreen import Foreknown, Prescreened
from nas.search.settings import SearchSettings


def make_sampler(settings: SearchSettings, number: int, known: Foreknown | None = None) -> BaseSampler:
    """Sampler that proposes trial `number`: a function of the settings' seed and that number.

    `known` gives the pre-screening what is known of a genotype before training, its costs.
    """
    seed = derive_seed(settings.seed, "proposal", number) % 2**32
    first = SAMPLERS[settings.sampler](settings, seed)
    if settings.proposals == 1:
        return first
    return Prescreened(first, settings, seed, known)


SAMPLERS: dict[str, Callable[[SearchSettings, int], BaseSampler]] = {
    "nsga2": nsga2,
    "nsga3": nsga3,
    "random": random,
    "tpe": tpe,
    "gp": gp,
    "pymoo_nsga2": evolutionary,
    "pymoo_nsga3": evolutionary,
    "pymoo_agemoea": evolutionary,
    "pymoo_smsemoa": evolutionary,
}
