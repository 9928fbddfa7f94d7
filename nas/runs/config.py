"""A run's config: one complete YAML file, composed of the parts' own configs, with all errors at once."""

import json
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from nas.assets.manifold.settings import ManifoldSettings
from nas.assets.supernet.settings import SupernetTraining
from nas.attacks.threat import ThreatModel, out_of_box
from nas.base.errors import ConfigError, UsageError
from nas.base.machine import DEVICE_PATTERN
from nas.base.registry import ChosenFrom
from nas.base.settings import AS_WRITTEN, Settings, ratio_text
from nas.budgets import COSTS, Budget, Deployment
from nas.data import DataSettings
from nas.data.settings import check_augmentation
from nas.evaluation import EvaluationSettings
from nas.measures import Measure, check_measures, measure
from nas.networks.treatments import TreatmentSettings
from nas.pareto import Condition, parse_condition
from nas.runs.config_errors import describe, line_of
from nas.runs.manifolds import check_manifold
from nas.runs.parts import load_parts, with_parts
from nas.runs.pruned import check_pruned, sparse_measures
from nas.runs.quantized import check_quantized, deployed, twin_measures
from nas.runs.retrain_settings import Retraining
from nas.runs.supernet_config import check_supernet
from nas.search.settings import SearchSettings
from nas.training import Training
from search_spaces import SPACES, BitChoices, SparsityChoices
from search_spaces.mlperf_tiny import DsCnn, ResnetTiny
from search_spaces.mobilenet_tiny import MobileNetTiny
from search_spaces.tiny_blocks import TinyBlocks

if TYPE_CHECKING:
    from nas.data.datasets import SearchData

SpaceSettings = Annotated[
    MobileNetTiny | TinyBlocks | ResnetTiny | DsCnn, ChosenFrom(SPACES, "space", lambda entry: entry.settings)
]
"""Settings of any registered space, told apart by `name`."""


NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""What a run may be called."""


class Sweep(Settings):
    """A fixed set of networks instead of a search, each trained from several seeds.

    The whole grid of the space where nothing is named.
    """

    genotypes: tuple[dict[str, float | str], ...] = ()
    """Values of the choices, an entry for each network."""
    sample: int = Field(0, ge=0, le=100_000)
    """Networks within the budget, drawn at random by `search.seed`, after those."""
    spread: Literal["params", "macs"] | None = None
    """Cost by whose logarithm the sample is spread evenly, the cheapest networks to the dearest; null: drawn uniformly,
    which hardly ever draws small ones."""
    uniform: bool = False
    """Uniform networks within the budget (one width multiplier and one expand ratio for all layers), after
    those: what a search is compared with (`nas front --baseline`)."""
    front_of: Path | None = None
    """Folder of a run of the same space whose front's networks are taken, after those."""
    seeds: int = Field(3, ge=1, le=1000)
    """Trainings of every network."""


class RunConfig(Settings):
    """Everything that defines a run. Field names are part of the interface."""

    name: str = Field(pattern=NAME_PATTERN)
    """Name of the run folder, runs/NAME."""
    plugin_folder: Path | None = None
    """Folder that holds the modules of `plugins`; null: the first of the config's own and the current one that has a
    module of them, which the run then keeps here, so that its verbs find it from any folder."""
    plugins: tuple[str, ...] = ()
    """Python modules that add entries to the registries (docs/extending.md), or parts in them (`module:Name`, which
    may also stand where a space, measure, attack, method or treatment is named): installed, or in `plugin_folder`. They
    are imported before the fields below are read, and in every worker."""
    data: DataSettings
    """Data set."""
    space: SpaceSettings
    """Search space."""
    bits: BitChoices = BitChoices()
    """Bits of weights and activations as further choices, for a `quantize` treatment."""
    sparsity: SparsityChoices = SparsityChoices()
    """Shares of pruned weights as further choices, for a `prune` treatment."""
    threat: ThreatModel
    """What the adversary may do, in training and in scoring."""
    training: Training = Training()
    """Brief training of every candidate."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """Scoring of every candidate, and of the retrained network."""
    manifold: ManifoldSettings | None = None
    """Manifold near which the images lie, for training.on_manifold and for threats that act on it."""
    treatments: tuple[TreatmentSettings, ...] = ()
    """What is done to every network besides training its weights, in this order."""
    objectives: tuple[str, ...] = (
        "robust_accuracy", "instability", "lipschitz_bound_log10", "params",
    )  # fmt: skip
    """Metrics to optimise, each in its own direction."""
    constraints: tuple[str, ...] = ()
    """Conditions on metrics, such as natural_accuracy >= 0.9; those on costs belong in `budget`. Where instability or a
    Lipschitz constant is an objective and no condition is on natural accuracy, that it is above chance is added."""
    budget: Budget = Budget()
    """Limits on costs; a genotype beyond them is rejected untrained."""
    deployment: Deployment = Field(Deployment(), validate_default=True)
    """Number formats on the device."""
    search: SearchSettings = SearchSettings()
    """Sampler, amount of work, workers."""
    sweep: Sweep = Sweep()
    """What `nas sweep` trains."""
    retrain: Retraining = Retraining()
    """Long training of the picked network."""
    supernet: SupernetTraining = SupernetTraining()
    """Training of the weights that all candidates share, for `search.evaluator`; what is not set is taken from
    `training`."""
    device: str = Field("auto", pattern=rf"^({DEVICE_PATTERN})$")
    """auto (CUDA where there is one), cpu, cuda, cuda:N."""

    @field_validator("plugins")
    @classmethod
    def _imported(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        folder = info.data.get("plugin_folder")
        _as_value_error(lambda names: load_parts(names, folder), value)
        _as_value_error(lambda _: check_measures(), value)
        return value

    @field_validator("objectives")
    @classmethod
    def _known_objectives(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            _as_value_error(measure, name)
        if not value or len(set(value)) != len(value):
            raise ValueError("needs one or more different metrics")
        return value

    @field_validator("constraints")
    @classmethod
    def _known_constraints(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            condition = _as_value_error(parse_condition, text)
            if condition.metric.name in COSTS:
                raise ValueError(f"{text!r} limits a cost: write it as budget.{condition.metric.name}")
        return value

    @field_validator("evaluation")
    @classmethod
    def _known_measures(cls, value: EvaluationSettings) -> EvaluationSettings:
        for name in value.measures:
            if _as_value_error(measure, name).compute is None:
                raise ValueError(f"measures: {name} is not computed by itself: leave it out")
        return value

    @model_validator(mode="after")
    def _wanted_scores_are_measured(self) -> "RunConfig":
        wanted = {one.name for one in self.wanted}
        if "lipschitz_maximised" in wanted and not self.evaluation.lipschitz_steps:
            raise ValueError("lipschitz_maximised is wanted but not measured: set evaluation.lipschitz_steps (20, say)")
        return self

    @field_validator("deployment")
    @classmethod
    def _bits_of_the_treatment(cls, value: Deployment, info: ValidationInfo) -> Deployment:
        return deployed(value, info.data.get("treatments", ()))

    @field_validator("search")
    @classmethod
    def _possible_reference_point(cls, value: SearchSettings) -> SearchSettings:
        for name, worst in value.reference_point.items():
            try:
                measure(name).check(worst)
            except UsageError as error:
                raise ValueError(f"reference_point: {error}") from error
        return value

    @field_validator("threat")
    @classmethod
    def _acts_on_what_is_trained_on(cls, value: ThreatModel) -> ThreatModel:
        if value.acts_on != "inputs":
            raise ValueError("acts_on: networks are trained on features; put this threat under evaluation.threats")
        return value

    @model_validator(mode="after")
    def _steps_stay_in_the_box(self) -> "RunConfig":
        ladder = self.evaluation.ladder
        scoring = (self.evaluation.attack, ladder.screen, *ladder.front, *ladder.final, self.retrain.validation_attack)
        training = (self.training.attack, self.retrain.attack, self.supernet.attack)
        for attack in (*training, *scoring):
            step_size = getattr(attack, "step_size", None) or 0.0
            if self.threat.norm == "linf" and step_size > self.threat.high - self.threat.low:
                raise ValueError(f"step_size of an attack: {out_of_box(step_size)}")
        return self

    @model_validator(mode="after")
    def _augmentation_suits_the_data(self) -> "RunConfig":
        for name in ("training", "retrain", "supernet"):
            check_augmentation(self.data, getattr(self, name).augmentation, name)
        return self

    @model_validator(mode="after")
    def _inner_attacks_reach_the_border(self) -> "RunConfig":
        for name, training in (("training", self.training), ("retrain", self.retrain), ("supernet", self.supernet)):
            attack = training.attack
            step_size = attack.length(self.threat.epsilon)
            if training.method != "natural" and attack.steps * step_size < self.threat.epsilon * (1 - 1e-9):
                raise ValueError(
                    f"{name}.attack: {attack.steps} steps of {ratio_text(step_size)} cannot reach the border of the "
                    f"ball, epsilon = {ratio_text(self.threat.epsilon)}; raise steps or step_size"
                )
        return self

    @model_validator(mode="after")
    def _parts_go_together(self) -> "RunConfig":
        for check in (check_quantized, check_pruned, check_manifold, check_supernet):
            check(self)
        return self

    @model_validator(mode="after")
    def _halting_comes_before_the_end(self) -> "RunConfig":
        rungs, epochs = self.search.halting.epochs, self.training.epochs
        if rungs and rungs[-1] >= epochs:
            raise ValueError(
                f"search.halting.epochs: {rungs[-1]} is not before the end of training, training.epochs = {epochs}"
            )
        return self

    def above_chance(self, data: "SearchData") -> "RunConfig":
        """Config with the constraint that keeps untrained networks off the front (nas/evaluation/learned.py)."""
        from nas.evaluation.learned import above_chance

        labels = data.validation.labels[: self.evaluation.max_images]
        return self.model_copy(update={"constraints": above_chance(self.constraints, self.parsed_objectives, labels)})

    def continuing(self, begun: "RunConfig") -> "RunConfig":
        """Config with the constraint that `begun`, the same but for it, got by `above_chance`."""
        from nas.evaluation.learned import as_begun

        return self.model_copy(
            update={"constraints": as_begun(self.constraints, self.parsed_objectives, begun.constraints)}
        )

    @property
    def wanted(self) -> tuple[Measure, ...]:
        """Measures of objectives and constraints, each once."""
        constrained = (condition.metric for condition in self.parsed_constraints)
        return tuple(dict.fromkeys((*self.parsed_objectives, *constrained)))

    @property
    def scoring(self) -> EvaluationSettings:
        """`evaluation` with all measures that are to be computed."""
        computed = (one.name for one in self.wanted if one.compute is not None)
        treated = (*twin_measures(self.treatments), *sparse_measures(self.treatments))
        measures = tuple(dict.fromkeys((*self.evaluation.measures, *computed, *treated)))
        return self.evaluation.model_copy(update={"measures": measures})

    @property
    def parsed_objectives(self) -> tuple[Measure, ...]:
        """Objectives in the order of the config."""
        return tuple(map(measure, self.objectives))

    @property
    def parsed_constraints(self) -> tuple[Condition, ...]:
        """Constraints in the order of the config."""
        return tuple(map(parse_condition, self.constraints))


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Config of the YAML file at `path`, after `overrides` of the form part.field=value.

    Raises ConfigError that lists every error as `file:line: field: what is wrong [got …] (allowed: …)`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read config {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file in UTF-8 ({error.reason}); save it as UTF-8") from error
    try:
        tree = YAML(typ="rt").load(text)
    except YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, CommentedMap):
        raise ConfigError(f"{path} must hold `field: value` lines, got {type(tree).__name__}")
    data = json.loads(json.dumps(tree, default=str))
    origins: dict[str, str] = {}
    for override in overrides:
        _apply(data, override, origins)

    def where(loc: Sequence[str | int]) -> str:
        return origins.get(".".join(map(str, loc))) or f"{path}:{line_of(tree, loc)}"

    return _validate(with_parts(data, (path.resolve().parent, Path.cwd()), where), where)


def dump_config(config: RunConfig) -> str:
    """YAML text that `load_config` reads back as an equal config, every default written out."""
    yaml, stream = YAML(), StringIO()
    yaml.default_flow_style = None
    yaml.dump(config.model_dump(mode="json", context=AS_WRITTEN), stream)
    return stream.getvalue()


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Fields in which two dumped configs differ, as (field, our value, their value)."""
    found: list[tuple[str, Any, Any]] = []
    for key in dict.fromkeys([*ours, *theirs]):
        a, b = ours.get(key), theirs.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append((prefix + key, a, b))
    return found


def _validate(data: dict[str, Any], where: Any) -> RunConfig:
    training, inheriting = data.get("training", {}), {name: data.get(name, {}) for name in ("retrain", "supernet")}
    for name, own in inheriting.items():
        if isinstance(training, dict) and isinstance(own, dict):
            data = {**data, name: _merged(training, own)}
    try:
        # JSON mode is strict about types (true is no integer) and lenient about what JSON cannot say.
        return RunConfig.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        lines = dict.fromkeys(
            describe(detail, data, where, RunConfig) for detail in error.errors() if _is_own(detail["loc"], inheriting)
        )
        raise ConfigError("\n".join(lines)) from error


def _is_own(loc: Sequence[str | int], inheriting: Mapping[str, Any]) -> bool:
    """False for an error in a field that `retrain` or `supernet` took over from `training`, where it is reported."""
    own = inheriting.get(str(loc[0])) if loc else None
    return len(loc) < 2 or not isinstance(own, dict) or loc[1] in own


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        key for key in base.keys() & changes.keys() if isinstance(base[key], dict) and isinstance(changes[key], dict)
    }
    return {**base, **changes, **{key: _merged(base[key], changes[key]) for key in both}}


def _apply(data: dict[str, Any], override: str, origins: dict[str, str]) -> None:
    field, equals, text = override.partition("=")
    keys = field.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {override}: write part.field=value, e.g. search.trials=64")
    node = data
    for key in keys[:-1]:
        node = node.setdefault(key, {})
        if not isinstance(node, dict):
            raise ConfigError(f"--set {override}: {key} is a value, not a part")
    try:
        node[keys[-1]] = YAML(typ="safe").load(text)
    except YAMLError as error:
        raise ConfigError(f"--set {override}: the value is not valid YAML ({' '.join(str(error).split())})") from error
    for depth in range(1, len(keys) + 1):
        origins[".".join(keys[:depth])] = f"--set {override}"


def _as_value_error(parse: Any, value: Any) -> Any:
    try:
        return parse(value)
    except UsageError as error:
        raise ValueError(str(error)) from error


__all__ = [
    "NAME_PATTERN",
    "Retraining",
    "RunConfig",
    "differences",
    "dump_config",
    "load_config",
]
