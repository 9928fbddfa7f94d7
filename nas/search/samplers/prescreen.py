"""Surrogate pre-screening: of several proposals, the one that a regression expects most of is trained.

One proposal is the sampler's. Of the others half are drawn uniformly, to look everywhere, half next to the front.

The regression (nas/search/samplers/surrogate.py) learns the objectives and the violation from what has been trained.
Proposals are ordered by the hypervolume that they would add to the front, averaged over its draws (the expected
hypervolume improvement of Emmerich 2006, by Monte Carlo), so what is uncertain may win. As brief trainings are noisy,
the front to be improved is that of the regression's means at what was trained, not the luckiest scores; costs are known
exactly. It is fitted after every `refit` trials, and later, where these are few beside those before, less often.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from math import nan
from random import Random
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.base.records import Costs
from nas.base.seeding import derive_seed
from nas.pareto import Measure, is_non_dominated
from nas.search.limits import TRUSTED
from nas.search.samplers.history import (
    Choices,
    Genes,
    categorical,
    genes_of,
    is_reused,
    losses_of,
    proposed_in,
    violation_of,
)
from nas.search.samplers.of_optuna import relative_space
from nas.search.samplers.open_box import OpenBox
from nas.search.samplers.surrogate import Surrogate, columns_of, fit_surrogate, with_costs
from nas.search.settings import SearchSettings
from search_spaces import Genotype, SearchSpace

Array = NDArray[np.float64]
PREDICTED = "predicted"
"""User attribute of a chosen trial: the predicted mean of each objective, as the study would be told it."""


@dataclass(frozen=True)
class Foreknown:
    """What is known of a genotype before training: its costs."""

    space: SearchSpace
    costs: Callable[[Genotype], Costs]
    objectives: tuple[Measure, ...]

    @cached_property
    def _of_values(self) -> Callable[[tuple[tuple[str, Any], ...]], dict[str, float]]:
        return lru_cache(4096)(lambda values: asdict(self.costs(self.space.genotype(dict(values)))))

    def costs_of(self, values: Mapping[str, Any]) -> Mapping[str, float]:
        """Costs by name of the genotype with these values."""
        return self._of_values(tuple(values.items()))

    def losses(self, values: Mapping[str, Any]) -> tuple[float, ...]:
        """Objectives that are costs; NaN for those that only training tells, (M,)."""
        known = self.costs_of(values)
        return tuple(objective.loss(known.get(objective.name, nan)) for objective in self.objectives)


@dataclass(frozen=True)
class _Posterior:
    """What a regression expects. Letters: T draws, K proposals, M objectives, S points, P trained."""

    objectives: Surrogate
    violation: Surrogate | None
    """None where nothing was ever violated."""
    scale_M: Array
    box: OpenBox
    """Around the front of the means."""
    parents: tuple[Genes, ...]
    """Genotypes of the front."""

    def losses(self, features: Array, known_KM: Array) -> Array:
        """Draws of the proposals' objectives, shape (T, K, M); what is known is exact."""
        return _exactly(self.objectives.draws(features) * self.scale_M, known_KM)

    def violations(self, features: Array) -> Array:
        """Draws of the proposals' violations, shape (T, K)."""
        if self.violation is None:
            return np.zeros((1, len(features)))
        return self.violation.draws(features)[..., 0]

    def improvement(self, losses_TKM: Array, violations_TK: Array) -> Array:
        """Share of the box that each proposal would add to the front if it were feasible, mean over draws, (K,)."""
        share_TK = self.box.share(losses_TKM)
        return np.asarray((share_TK * (violations_TK <= FEASIBLE)).mean(0), dtype=np.float64)

    def distance(self, losses_TKM: Array) -> Array:
        """How much each proposal lacks to be non-dominated, in scales, mean over draws, (K,)."""
        return np.asarray(self.box.distance(losses_TKM).mean(0), dtype=np.float64)


FEASIBLE = 0.01
"""Predicted violation that passes for none: a regression does not predict exact zeros."""


def _exactly(losses: Array, known_KM: Array) -> Array:
    return np.where(np.isnan(known_KM), losses, known_KM)


class Prescreened(BaseSampler):
    """Chooses a new one of `sampler`'s proposal and others; until there is a regression, the sampler decides alone."""

    def __init__(self, sampler: BaseSampler, settings: SearchSettings, seed: int, known: Foreknown | None) -> None:
        self._sampler = sampler
        self._settings = settings
        self._seed = seed
        self._known = known

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The choices with several options; nothing before a trial is complete."""
        return relative_space(study)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values of the chosen proposal; its prediction is stored with the trial."""
        choices, sampler = categorical(search_space), self._sampler
        values = sampler.sample_relative(study, trial, sampler.infer_relative_search_space(study, trial))
        if "fixed_params" in trial.system_attrs:
            return values
        trials = study.get_trials(deepcopy=False)
        expected = self._expected(study, trials[: trial.number], choices)
        if expected is None:
            return values
        for name, distribution in search_space.items():
            if name not in values:
                values[name] = sampler.sample_independent(study, trial, name, distribution)
        proposed = proposed_in(study)
        running = proposed.read(trials[: trial.number], choices)
        genes = dict.fromkeys([genes_of(values, choices), *self._others(choices, expected.parents)])
        new = [one for one in genes if one not in proposed.genes and one not in running] or list(genes)[:1]
        named = [{name: c.choices[index] for (name, c), index in zip(choices.items(), one, strict=True)} for one in new]
        features = self._features(new, named, choices)
        losses, violations = expected.losses(features, self._exact(named)), expected.violations(features)
        gain, lack, broken = expected.improvement(losses, violations), expected.distance(losses), violations.mean(0)
        best = min(range(len(new)), key=lambda index: (-gain[index], broken[index], lack[index]))
        signs = [-1.0 if direction is StudyDirection.MAXIMIZE else 1.0 for direction in study.directions]
        study._storage.set_trial_user_attr(trial._trial_id, PREDICTED, (losses[:, best].mean(0) * signs).tolist())
        return named[best]

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As the sampler draws it."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def _others(self, choices: Choices, parents: Sequence[Genes]) -> Iterator[Genes]:
        """Proposals beyond the sampler's: uniform ones and, every second one, a mutant of one of the `parents`."""
        rng, options = (
            Random(derive_seed(self._seed, "proposals")),
            [len(choice.choices) for choice in choices.values()],
        )
        for index in range(1, self._settings.proposals):
            genes = [rng.randrange(count) for count in options]
            if index % 2 == 0:
                parent, always = rng.choice(parents), rng.randrange(len(options))
                kept = [row != always and rng.random() >= 1 / len(options) for row in range(len(options))]
                genes = [old if keep else new for old, new, keep in zip(parent, genes, kept, strict=True)]
            yield tuple(genes)

    def _features(self, genes: Sequence[Genes], values: Sequence[Mapping[str, Any]], choices: Choices) -> Array:
        """Features of genotypes with these option indices and values; without costs where these are not known."""
        unordered = {c.name for c in self._known.space.choices if not c.is_ordered} if self._known else set()
        columns = columns_of(genes, [0 if name not in unordered else len(c.choices) for name, c in choices.items()])
        return with_costs(columns, [self._known.costs_of(one) if self._known else {} for one in values])

    def _exact(self, values: Sequence[Mapping[str, Any]]) -> Array:
        """Losses that are known before training, NaN for the others; (K, M) or, where nothing is known, (K, 1)."""
        return np.array([self._known.losses(one) if self._known else (nan,) for one in values])

    def _expected(self, study: Study, trials: Sequence[FrozenTrial], choices: Choices) -> _Posterior | None:
        """The latest regression of what is among `trials`; None before enough are evaluated."""
        settings = self._settings.prescreen
        count = _fitted_after(len(trials), settings.refit)
        finished = [t for t in trials[:count] if t.state is TrialState.COMPLETE]
        key = (self._settings.seed, count, len(finished))
        if _SURROGATES.get(study, (None, None))[0] != key:
            _SURROGATES[study] = (key, self._fit(finished, choices, study.directions, count, settings.window))
        return _SURROGATES[study][1]

    def _fit(
        self,
        finished: Sequence[FrozenTrial],
        choices: Choices,
        directions: Sequence[StudyDirection],
        count: int,
        window: int,
    ) -> _Posterior | None:
        evaluated = [trial for trial in finished if _is_evaluated(trial)]
        if len(evaluated) < self._settings.prescreen.refit:
            return None
        losses = np.array([losses_of(trial, directions) for trial in evaluated])
        usable = np.isfinite(losses).all(1)  # a bound that could not be proved is no number to learn
        evaluated, losses = [t for t, good in zip(evaluated, usable, strict=True) if good], losses[usable]
        if len(evaluated) < 2:
            return None
        scale = np.where(np.ptp(losses, axis=0) > 0, np.ptp(losses, axis=0), 1.0)
        seed = derive_seed(self._settings.seed, "surrogate", count // self._settings.prescreen.refit) % 2**32
        evaluated, losses, told = evaluated[-window:], losses[-window:], finished[-window:]
        broken = np.array([[violation_of(trial)] for trial in told])
        rows, draws = self._rows(evaluated, choices), self._settings.prescreen.trees
        regression = fit_surrogate(rows, losses / scale, draws, seed)
        expected = _exactly(regression.draws(rows).mean(0) * scale, self._exact([t.params for t in evaluated]))
        usable = np.array([violation_of(trial) == 0 for trial in evaluated])
        usable = usable if usable.any() else ~usable
        usable[usable] = is_non_dominated(expected[usable])
        front = np.unique(expected[usable], axis=0)
        parents = dict.fromkeys(genes_of(t.params, choices) for t, on in zip(evaluated, usable, strict=True) if on)
        low, high = front.min(0) - 0.05 * scale, front.max(0) + 0.05 * scale
        return _Posterior(
            regression,
            fit_surrogate(self._rows(told, choices), broken, draws, seed) if broken.any() else None,
            scale,
            OpenBox.of(front, scale, low, high, np.random.default_rng(seed)),
            tuple(parents),
        )

    def _rows(self, trials: Sequence[FrozenTrial], choices: Choices) -> Array:
        genes = [genes_of(trial.params, choices) for trial in trials]
        return self._features(genes, [trial.params for trial in trials], choices)


def _fitted_after(trials: int, refit: int) -> int:
    """Trials after which it was fitted last: multiples of `refit`, beyond 40 of them of twice `refit`, and so on."""
    while trials >= 40 * refit:
        refit *= 2
    return trials // refit * refit


_SURROGATES: WeakKeyDictionary[Study, tuple[object, _Posterior | None]] = WeakKeyDictionary()
"""The latest one of every open study: what can be fitted again at any time."""


def _is_evaluated(trial: FrozenTrial) -> bool:
    """Whether the trial's values were measured, and trusted: those of a rejected one stand at the reference point."""
    record = trial.user_attrs.get("record")
    if record is None:
        return True
    return record["state"] == "complete" and not is_reused(trial) and record["violations"].get(TRUSTED, 0) <= 0
