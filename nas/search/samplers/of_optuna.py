"""Optuna's own samplers, each made so that a proposal is a function of its seed and the study alone."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.samplers._ga import BaseGASampler
from optuna.trial import FrozenTrial, TrialState

from nas.search.samplers.history import is_reused
from nas.search.settings import SearchSettings


def nsga2(settings: SearchSettings, seed: int) -> BaseSampler:
    """NSGA-II (Deb 2002)."""
    return _OrderedNsga2(seed=seed, **_genetic(settings))


def nsga3(settings: SearchSettings, seed: int) -> BaseSampler:
    """NSGA-III (Deb & Jain 2014)."""
    with _without_notice():
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
    with _without_notice():
        return _Gp(n_startup_trials=settings.population, deterministic_objective=False, seed=seed)


def relative_space(study: Study) -> dict[str, BaseDistribution]:
    """Choices with several options, by name in sorted order; empty before the first trial is complete.

    All trials of a study have one space, so any of them tells it; Optuna compares those of all trials for every
    proposal, which at 1,000 trials of seven choices takes 0.03 s and grows with their number.
    """
    trials = study.get_trials(deepcopy=False)
    found = next((trial.distributions for trial in trials if trial.state is TrialState.COMPLETE), {})
    return {name: found[name] for name in sorted(found) if not found[name].single()}


@contextmanager
def _without_notice() -> Iterator[None]:
    """Without Optuna's notice that an interface may change, which would be shown for every trial."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def _genetic(settings: SearchSettings) -> dict[str, Any]:
    # All choices are categorical, for which Optuna always crosses over uniformly.
    return {
        "population_size": settings.population,
        "crossover_prob": settings.crossover_probability,
        "swapping_prob": settings.swapping_probability,
        "mutation_prob": settings.mutation_probability,
    }


class _Generations(BaseGASampler):
    """What both share: proposals look at the last trials, not at all of them; a generation is of different trainings.

    A reused trial repeats one that was counted when it was trained: Optuna's own NSGA-II lets such copies fill the
    generations and the parents of a space in which children repeat their parents.
    """

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return relative_space(study)

    def get_trial_generation(self, study: Study, trial: FrozenTrial) -> int:
        """Generation of `trial`: the latest of the complete trials that are not reused, or the next if that is full.

        Generations never decrease with the trials' numbers, so the search for the latest one ends early.
        """
        key = self._get_generation_key()
        if key in trial.system_attrs:
            return int(trial.system_attrs[key])
        latest, count = 0, 0
        for other in reversed(study.get_trials(deepcopy=False)):
            counts = other.state is TrialState.COMPLETE and not is_reused(other)
            generation = other.system_attrs.get(key, -1) if counts else -1
            if 0 <= generation < latest:
                break
            if generation > latest:
                latest, count = generation, 1
            elif generation == latest:
                count += 1
        assert self.population_size is not None, "set when the sampler is made"
        generation = latest if count < self.population_size else latest + 1
        study._storage.set_trial_system_attr(trial._trial_id, key, generation)
        return generation

    def get_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """Complete trials of `generation`, each architecture once."""
        return [trial for trial in super().get_population(study, generation) if not is_reused(trial)]


class _OrderedNsga2(_Generations, NSGAIISampler):
    """NSGA-II whose parents come in one order, that of their numbers.

    Optuna's come by rank when a generation is new and by number when its parents are read back, so a search
    that is interrupted at the first trial of a generation would go on differently.
    """

    def select_parent(self, study: Study, generation: int) -> list[FrozenTrial]:
        return sorted(super().select_parent(study, generation), key=lambda trial: trial.number)


class _OrderedNsga3(_Generations, NSGAIIISampler):
    """NSGA-III whose parents come in one order, and whose choice of them leaves the random stream where it was.

    Niches are filled at random, by the generator that also draws the child: read back, the parents cost no draws.
    """

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
