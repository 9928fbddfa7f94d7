"""Optuna's own samplers, each made so that a proposal is a function of its seed and the study alone."""

from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from nas.search.settings import SearchSettings


def nsga2(settings: SearchSettings, seed: int) -> BaseSampler:
    """NSGA-II (Deb 2002)."""
    return _OrderedNsga2(seed=seed, **_genetic(settings))


def nsga3(settings: SearchSettings, seed: int) -> BaseSampler:
    """NSGA-III (Deb & Jain 2014)."""
    return _OrderedNsga3(seed=seed, **_genetic(settings))


def random(settings: SearchSettings, seed: int) -> BaseSampler:
    """Uniform draws."""
    return RandomSampler(seed=seed)


def tpe(settings: SearchSettings, seed: int) -> BaseSampler:
    """Multi-objective tree-structured Parzen estimator (Ozaki 2022), every choice on its own."""
    return TPESampler(n_startup_trials=settings.population, multivariate=False, seed=seed)


def gp(settings: SearchSettings, seed: int) -> BaseSampler:
    """Gaussian processes (Ament 2023); time grows with the cube of the number of trials.

    One for each objective and constraint. The logarithm of the expected hypervolume improvement, times the probability
    that all constraints hold, is maximised.
    """
    return _Gp(n_startup_trials=settings.population, deterministic_objective=False, seed=seed)


def relative_space(study: Study) -> dict[str, BaseDistribution]:
    """Choices with several options, by name in sorted order; empty before the first trial is complete.

    All trials of a study have one space, so any of them tells it; Optuna compares those of all trials for every
    proposal, which at 1,000 trials takes 0.2 s.
    """
    trials = study.get_trials(deepcopy=False)
    found = next((trial.distributions for trial in trials if trial.state is TrialState.COMPLETE), {})
    return {name: found[name] for name in sorted(found) if not found[name].single()}


def _genetic(settings: SearchSettings) -> dict[str, Any]:
    # All choices are categorical, for which Optuna always crosses over uniformly.
    return {
        "population_size": settings.population,
        "crossover_prob": settings.crossover_probability,
        "swapping_prob": settings.swapping_probability,
        "mutation_prob": settings.mutation_probability,
    }


class _OrderedNsga2(NSGAIISampler):
    """NSGA-II whose parents come in one order, that of their numbers.

    Optuna's come by rank when a generation is new and by number when its parents are read back, so a search
    that is interrupted at the first trial of a generation would go on differently.
    """

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return relative_space(study)

    def select_parent(self, study: Study, generation: int) -> list[FrozenTrial]:
        return sorted(super().select_parent(study, generation), key=lambda trial: trial.number)


class _OrderedNsga3(NSGAIIISampler):
    """NSGA-III whose parents come in one order, and whose choice of them leaves the random stream where it was.

    Niches are filled at random, by the generator that also draws the child: read back, the parents cost no draws.
    """

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return relative_space(study)

    def select_parent(self, study: Study, generation: int) -> list[FrozenTrial]:
        before = self._rng.rng.get_state()
        parents = super().select_parent(study, generation)
        self._rng.rng.set_state(before)
        return sorted(parents, key=lambda trial: trial.number)


class _Gp(GPSampler):
    """Optuna's, which remembers nothing as it is made for one trial.

    What it proposes is stored with the trial at once, for other processes. A trial that was interrupted after that
    would count as running and change its own proposal, so the stored one is taken.
    """

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return relative_space(study)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        from optuna.samplers._gp.sampler import _get_params

        stored = _get_params(study.get_trials(deepcopy=False)[trial.number])
        if search_space and stored.keys() >= search_space.keys():
            return {name: stored[name] for name in search_space}
        return super().sample_relative(study, trial, search_space)
