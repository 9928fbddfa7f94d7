"""What is searched, and how far a search has come."""

from collections.abc import Callable
from dataclasses import dataclass

from nas.base.records import Costs, Fidelity, TrialRecord
from nas.budgets import Budget
from nas.pareto import Condition, Measure
from search_spaces import Genotype, SearchSpace


@dataclass(frozen=True)
class Problem:
    """What is searched, and what is wanted of it."""

    space: SearchSpace
    costs: Callable[[Genotype], Costs]
    budget: Budget
    objectives: tuple[Measure, ...]
    constraints: tuple[Condition, ...]
    reference_point: tuple[float, ...]
    """Worst value of each objective, in its own direction."""
    epochs: int = 1
    """Epochs of a full training."""
    rungs: tuple[Fidelity, ...] = ("attack",)
    """Rungs of the attack ladder: all candidates meet the first, those that belong to the front climb on."""
    reject_untrusted: bool = False
    """Whether a failed check of trust is a violated constraint."""
    first: tuple[Genotype, ...] = ()
    """Proposed before the sampler proposes anything, after the anchors."""


@dataclass(frozen=True)
class Progress:
    """State of a running search."""

    target: int
    """Full trainings to spend."""
    trained: int
    """Candidates trained, halted ones included."""
    spent: float
    """Full trainings whose epochs are spent: a halted candidate counts for its share."""
    rejected: int
    reused: int
    failed: int
    halted: int
    running: int
    hypervolume: float
    front_size: int
    best_robust_accuracy: float | None
    """Among the feasible trials."""
    seconds_left: float | None
    latest: TrialRecord | None
    """The trial that has just finished."""
    repeat: int | None = None
    """While the front's members are trained again (nas/search/repeats.py): which training of `latest` has finished, 0
    where none has. The counts are then of these trainings. None in the search itself."""
    in_work: tuple[tuple[int, int], ...] = ()
    """Candidates in the executor: number of the trial, and which of its trainings (0: the search's own)."""
