"""The type of a registry entry, what its computation is handed, and what its worst value depends on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, isfinite, isnan
from typing import TYPE_CHECKING, Literal

from nas.base.errors import UsageError
from nas.base.records import TrialRecord
from search_spaces import NetworkSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from nas.attacks.result import Attack
    from nas.attacks.threat import ThreatModel
    from nas.evaluation import EvaluationSettings
    from nas.networks.view import View

Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Attacked:
    """Images of K classes and what the attack behind instability made of them: all that a measure is computed from.

    N images: a batch or, for a measure that is not taken image by image, all of them. All tensors are on one device.
    """

    network: nn.Module
    """In eval mode and float32; must be left as it is."""
    view: View
    """The same network for fast passes: `logits(x)`, `gradient(x, derivative)`."""
    images: Tensor
    """Clean images in [0, 1], (N, C, H, W)."""
    labels: Tensor
    """(N,)."""
    logits: Tensor
    """Of the clean images, (N, K)."""
    adversarial: Tensor
    """Last iterates of the attack, (N, C, H, W)."""
    adversarial_logits: Tensor
    """(N, K)."""
    threat: ThreatModel
    settings: EvaluationSettings
    generator: torch.Generator
    """The measure's own source of chance: nothing else draws from it, and the measure draws from no other."""
    attack: Attack
    """What made the adversarial images."""


@dataclass(frozen=True)
class Setting:
    """What is known of all networks of a run before one is trained: worst values depend on it."""

    num_classes: int
    epsilon: float
    """Radius of the threat model."""
    largest: NetworkSpec
    """Largest network of the space."""
    cost_limits: Mapping[str, float]
    """The budget's limit on every cost by its name, where it has none 1.1 times the largest network's cost."""


@dataclass(frozen=True)
class Measure:
    """A number of a finished trial, and all that the program knows about it.

    It is computed in scoring (`compute`), derived from the record (`derive`), or, where it has neither, a cost or one
    of the scores that nas/evaluation/evaluate.py computes together.
    """

    name: str
    direction: Direction
    unit: str
    title: str
    best: float
    """Ideal value, finite; hypervolumes are shares of the box between it and the reference point."""
    compute: Callable[[Attacked], Tensor | float] | None = None
    """One value for each image (N,) or, where it is not `per_image`, one number. Must import torch only when called:
    what reads a run loads the registry without it."""
    derive: Callable[[TrialRecord], float | None] | None = None
    """Value from a record's costs and scores; None where it has none. Raises ValueError for a trial without an
    evaluation, where one is needed."""
    worst: float | Callable[[Setting], float] | None = None
    """Reference point of the hypervolume; None: `search.reference_point` must have it."""
    per_image: bool = True
    """Whether `compute` gives one value for each image: then their mean is the score, and it has an interval."""
    low: float = 0.0
    """Least value that it can have."""
    high: float = inf
    """Largest value that it can have."""
    short: str = ""
    """Heading of its column; empty: the title."""
    note: str = ""
    """How it is defined, in a few words; empty: the unit."""
    absent: str = ""
    """Why it may not be known."""
    images: str = ""
    """Field of ImageScores that it is the mean of, for scores that evaluate.py computes."""
    interval: str = ""
    """Field of Evaluation that holds its 95 % interval."""
    is_static: bool = False
    """Whether it depends on the architecture alone, not on the trained weights."""
    is_sensitivity: bool = False
    """Whether it says how far outputs move with the image: least of all in a network that has learned nothing."""
    is_relative: bool = False
    """Whether it has no natural scale: its spread between trainings is pooled in shares of the trial's mean."""
    is_rescaled: bool = False
    """Whether it is another measure on another scale: studies leave it out unless it is an objective."""

    @property
    def is_derived(self) -> bool:
        """Whether it is stored nowhere but computed from a record."""
        return self.derive is not None

    def read(self, record: TrialRecord) -> float | None:
        """Number of `record`; None where it was not measured or could not be.

        Raises ValueError for a trial without an evaluation, where one is needed.
        """
        if self.derive is not None:
            return self.derive(record)
        if hasattr(record.costs, self.name):
            return float(getattr(record.costs, self.name))
        if record.evaluation is None:
            raise ValueError(f"trial {record.number} is {record.state} and has no evaluation")
        return record.evaluation.score(self.name)

    def worst_in(self, setting: Setting) -> float | None:
        """Worst value in `setting`; None where none is known before training."""
        return self.worst(setting) if callable(self.worst) else self.worst

    def loss(self, value: float) -> float:
        """`value` turned so that less is better."""
        return value if self.direction == "minimize" else -value

    def loss_of(self, record: TrialRecord) -> float:
        """Value of `record` turned so that less is better; infinite, worse than every number, where it has none."""
        value = self.read(record)
        return inf if value is None or isnan(value) else self.loss(value)

    def check(self, value: float) -> None:
        """Raises UsageError where `value` is none that this measure can have."""
        if isfinite(value) and self.low <= value <= self.high:
            return
        bounds = f"{self.low:g} to {self.high:g}" if isfinite(self.high) else f"{self.low:g} or more"
        allowed = bounds if isfinite(self.low) else "any finite number"
        is_percent = self.unit == "fraction" and self.high < value <= 100
        hint = f"; did you mean {value / 100:g}?" if is_percent else ""
        raise UsageError(f"{self.name} cannot be {value:g} (allowed: {allowed}{hint})")
