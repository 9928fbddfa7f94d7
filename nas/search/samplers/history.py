"""What the trials of a study have proposed so far, read once: finished trials never change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

Genes = tuple[int, ...]
"""Option index of every choice, in the sorted order of their names."""
Choices = Mapping[str, CategoricalDistribution]


@dataclass
class Proposed:
    """Genotypes of the first trials of a study: all that are finished, up to the first that is not."""

    finished: int = 0
    genes: set[Genes] = field(default_factory=set)

    def read(self, trials: Sequence[FrozenTrial], choices: Choices) -> set[Genes]:
        """Takes up what has finished; returns the genotypes of the other `trials`."""
        while self.finished < len(trials) and trials[self.finished].state.is_finished():
            self.genes |= _complete(trials[self.finished], choices)
            self.finished += 1
        return set().union(*(_complete(trial, choices) for trial in trials[self.finished :]))


def proposed_in(study: Study) -> Proposed:
    """The memory of what `study` has proposed, kept as long as the study is open."""
    return _PROPOSED.setdefault(study, Proposed())


def categorical(space: Mapping[str, BaseDistribution]) -> Choices:
    """`space` with its type; all choices of a search are categorical."""
    return {name: choice for name, choice in space.items() if isinstance(choice, CategoricalDistribution)}


def genes_of(params: Mapping[str, object], choices: Choices) -> Genes:
    """Option index of every choice."""
    return tuple(choice.choices.index(params[name]) for name, choice in choices.items())


def losses_of(trial: FrozenTrial, directions: Sequence[StudyDirection]) -> tuple[float, ...]:
    """Values of a complete trial, turned so that less is better."""
    pairs = zip(trial.values, directions, strict=True)
    return tuple(-value if direction is StudyDirection.MAXIMIZE else value for value, direction in pairs)


def violation_of(trial: FrozenTrial) -> float:
    """Sum of the violations of all limits, 0 where none is broken."""
    return float(sum(value for value in trial.constraints.values() if value > 0))


def is_reused(trial: FrozenTrial) -> bool:
    """Whether the trial's result is that of an earlier trial of the same architecture."""
    record = trial.user_attrs.get("record")
    return record is not None and record["reused_from"] is not None


def _complete(trial: FrozenTrial, choices: Choices) -> set[Genes]:
    """Genotype of `trial`, nothing where it has not all its values yet."""
    return {genes_of(trial.params, choices)} if choices.keys() <= trial.params.keys() else set()


_PROPOSED: WeakKeyDictionary[Study, Proposed] = WeakKeyDictionary()
