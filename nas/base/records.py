"""What a search leaves behind: candidates, costs, evaluations, trials. Frozen, with an exact JSON round trip."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from math import isnan
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import ConfigDict, Field, TypeAdapter

from search_spaces import Genotype

EXACT = ConfigDict(extra="forbid")
"""Of every record: a field of another version is refused, never left out (a warning that had another name, say)."""


@dataclass(frozen=True)
class Costs:
    """Deployment costs of a network for one image, known before training."""

    __pydantic_config__ = EXACT

    params: int
    """Learnable parameters as trained, batch-norm included."""
    macs: int
    """Multiply-accumulates of convolutions and the classifier (1 MAC = 2 FLOPs)."""
    weight_bytes: int
    """Bytes of the deployed weights, batch-norm folded."""
    peak_activation_bytes: int
    """Largest working set of activations at batch 1 (execution model: nas/budgets/costs.py)."""


Fidelity = Literal["screen", "attack", "front", "final"]
"""How hard a network was attacked: the rungs of the attack ladder (nas/evaluation/ladder.py), weakest first."""


@dataclass(frozen=True)
class Candidate:
    """A genotype to be trained as trial `number`; `seed` decides all chance in its training and scoring."""

    __pydantic_config__ = EXACT

    number: int
    genotype: Genotype
    seed: int
    fidelity: Fidelity = "attack"
    """Rung of the ladder to be climbed now."""
    repeat: int = 0
    """0 for the search's own training; 1, 2, … train the same genotype again from other seeds."""
    epochs: int | None = None
    """Epochs to be trained now, from where the candidate stands; None: all of them."""
    inherits: int | None = None
    """Number of the trial whose weights its training starts from; None: from random ones."""


@dataclass(frozen=True)
class Interval:
    """Two-sided 95 % interval."""

    __pydantic_config__ = EXACT

    low: float
    high: float


@dataclass(frozen=True)
class Rung:
    """One attack of the ladder, made on the images that still stood."""

    __pydantic_config__ = EXACT

    attack: Mapping[str, Any]
    """Full description of the attack as it was run."""
    num_images: int
    """Images attacked; all others were misclassified before."""
    broken: int
    """Of these, images that it misclassified."""
    robust_accuracy: float
    """Share of all images that stand after this attack and all before it."""
    robust_interval: Interval


@dataclass(frozen=True)
class Check:
    """Verdict of one question to a robustness number: may it be believed (nas/evaluation/trust)."""

    __pydantic_config__ = EXACT

    name: str
    passed: bool
    words: str
    """What was found."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What the verdict rests on."""


@dataclass(frozen=True)
class ThreatScore:
    """Robust accuracy of an evaluation's network, on the same images, under another threat than the evaluation's."""

    __pydantic_config__ = EXACT

    threat: Mapping[str, Any]
    num_images: int
    robust_accuracy: float
    """Share of images that are classified correctly at every iterate of every attack of `ladder`."""
    robust_interval: Interval
    ladder: tuple[Rung, ...]
    """Every attack that was made under this threat, in order."""
    warnings: tuple[str, ...] = ()
    """Reasons to doubt the number, failed checks among them."""
    natural_accuracy: Annotated[float | None, Field(exclude_if=lambda value: value is None)] = None
    """Before any attack, where the threat acts on something else than the images: of a manifold, that on reconstructed
    images, which no attack is to be blamed for."""
    failed_checks: Annotated[tuple[str, ...], Field(exclude_if=lambda names: not names)] = ()
    """Names of the checks of trust that did not pass; `warnings` has their words."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of one trained network. Accuracies are fractions in [0, 1].

    A number here means nothing without `attack`, `threat`, `num_images`, `ladder` and `warnings`.
    """

    __pydantic_config__ = EXACT

    split: str
    """Images used: "validation" (held out of the training set) or "test"."""
    num_images: int
    natural_accuracy: float
    natural_interval: Interval
    robust_accuracy: float
    """Share of images that are classified correctly at every iterate of every attack of `ladder` (eq. 2)."""
    robust_interval: Interval
    instability: float
    """Mean KL(f(x) ‖ f(x̂)) in nats, x̂ the attack's last iterate (Mousavi 2023, eq. 3)."""
    instability_scaled: float
    """Mean of KL / ‖x − x̂‖_inf: the scale of the paper's tables, as far as it could be inferred."""
    lipschitz_bound_log10: float | None
    """log10 of the closed form of eq. 5, product over blocks: of the architecture, not of the weights; None for a
    network that is not built of a NetworkSpec."""
    lipschitz_empirical: float
    """Mean of ‖f(x) − f(x̂)‖₂ / ‖x − x̂‖₂ (eq. 6): a lower bound."""
    lipschitz_empirical_scaled: float
    """Mean of ‖f(x) − f(x̂)‖₁ / ‖x − x̂‖_inf: the scale of the paper's tables, as far as inferred."""
    attack: Mapping[str, Any]
    """The attack that x̂ comes from; robust accuracy is the worst case over all attacks of `ladder`."""
    threat: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    """Reasons to doubt the numbers, failed checks among them."""
    lipschitz_maximised: float | None = None
    """Mean of the largest ratio of eq. 6 that an ascent of the ratio itself found; None where it was not asked for."""
    lipschitz_certified_log10: float | None = None
    """log10 of a proved upper bound of ‖f(x) − f(x')‖₂ / ‖x − x'‖₂ for all pairs of images, of the trained weights
    (nas/evaluation/certified.py); None where the network has layers whose norms are not known."""
    fidelity: Fidelity = "attack"
    """Highest rung of the attack ladder behind robust accuracy."""
    ladder: tuple[Rung, ...] = ()
    """Every attack that was made, in order."""
    chance: float | None = None
    """Accuracy of always answering with the most frequent class of these images; None in records of older versions."""
    balanced_natural_accuracy: float | None = None
    """Mean over the classes of each one's natural accuracy; None where all classes have about as many images."""
    balanced_robust_accuracy: float | None = None
    """Mean over the classes of each one's robust accuracy; None likewise."""
    checks: tuple[Check, ...] = ()
    """Verdicts on whether the robust accuracy may be believed; a stronger rung asks more questions."""
    by_threat: Annotated[Mapping[str, ThreatScore], Field(exclude_if=lambda scores: not scores)] = field(
        default_factory=dict
    )
    """Scores under the further threats of `evaluation.threats`, by name; no other field knows of them."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """By name, all finite, the measures that have no field here: those with `compute` in nas/measures/registry.py."""

    def score(self, name: str) -> float | None:
        """Score of the measure `name`, wherever it is stored; None where it was not measured or could not be."""
        value = self.scores.get(name, getattr(self, name, None))
        return None if value is None or isnan(value) else float(value)

    def with_scores(self, scores: Mapping[str, float]) -> "Evaluation":
        """Copy with other values of the measures in `scores`."""
        own: dict[str, Any] = {name: scores[name] for name in scores.keys() & {f.name for f in fields(self)}}
        others = {name: value for name, value in scores.items() if name not in own}
        return replace(self, **own, scores={**self.scores, **others})

    @property
    def failed_checks(self) -> tuple[Check, ...]:
        """Checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def is_trusted(self) -> bool:
        """Whether checks of trust were made and none failed, under no threat."""
        further = any(score.failed_checks for score in self.by_threat.values())
        return bool(self.checks) and not self.failed_checks and not further

    @property
    def all_warnings(self) -> tuple[str, ...]:
        """Those of the evaluation, then those of each further threat, by its name."""
        further = (f"{name}: {text}" for name, score in self.by_threat.items() for text in score.warnings)
        return (*self.warnings, *further)


@dataclass(frozen=True)
class Halfway:
    """What a candidate had reached at a stage of epochs."""

    __pydantic_config__ = EXACT

    epochs: int
    scores: Mapping[str, float]
    """Metrics of its evaluation there, by name."""


class TrialState(StrEnum):
    """How a trial ended. Only complete ones can be on a front."""

    COMPLETE = "complete"
    REJECTED = "rejected"
    """Over budget, never trained."""
    HALTED = "halted"
    """Stopped early because others were better."""
    FAILED = "failed"


Cause = Literal["candidate", "environment"]
"""Why a candidate has no evaluation: it failed itself (it diverged, say), or what it ran on did (a missing package or
file, no memory, a worker that was killed), which says nothing about it."""


@dataclass(frozen=True)
class Outcome:
    """What training and scoring a candidate gave: an evaluation, or the error that ended it."""

    __pydantic_config__ = EXACT

    evaluation: Evaluation | None
    seconds: float
    """Wall time of training and of all scoring so far."""
    error: str | None = None
    scoring_seconds: float = 0.0
    """Share of `seconds` that went into scoring."""
    epochs: int | None = None
    """Epochs trained so far, where that is not all of them."""
    cause: Cause = "candidate"
    """Of the error, where there is one."""
    halfway: tuple[Halfway, ...] = ()
    """Scores at the stages of epochs below."""


@dataclass(frozen=True)
class TrialRecord:
    """A finished trial."""

    __pydantic_config__ = EXACT

    number: int
    genotype: Genotype
    seed: int
    state: TrialState
    costs: Costs
    evaluation: Evaluation | None = None
    violations: Mapping[str, float] = field(default_factory=dict)
    """Relative violation of every limit by name; feasible where all are <= 0."""
    seconds: float = 0.0
    """Wall time of training and scoring."""
    scoring_seconds: float = 0.0
    """Share of `seconds` that went into scoring."""
    error: str | None = None
    epochs: int | None = None
    """Epochs trained, where it was halted before all of them."""
    halfway: tuple[Halfway, ...] = ()
    """Scores at the stages of epochs that it passed."""
    reused_from: int | None = None
    """Number of the earlier trial of the same architecture whose result this is."""
    inherits: int | None = None
    """Number of the trial whose weights its training started from; None: from random ones."""

    @property
    def is_feasible(self) -> bool:
        """Whether the trial is complete and within every limit."""
        return self.state is TrialState.COMPLETE and all(value <= 0 for value in self.violations.values())


T = TypeVar("T")


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def by_network(records: Iterable[TrialRecord]) -> dict[str, list[TrialRecord]]:
    """Trials by the key of their architecture, in the order of the first ones: trainings of one network together."""
    found: dict[str, list[TrialRecord]] = {}
    for record in records:
        found.setdefault(record.genotype.key, []).append(record)
    return found


def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Adapter of a record type; made once, as that takes milliseconds."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def to_json(record: object) -> dict[str, Any]:
    """JSON-ready dictionary of a record of this module."""
    return cast(dict[str, Any], _adapter(record.__class__).dump_python(record, mode="json"))


def from_json(kind: type[T], data: Any) -> T:
    """Inverse of `to_json`. Raises ValueError where `data` is not such a record."""
    return cast(T, _adapter(kind).validate_python(data))
