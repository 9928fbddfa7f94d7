"""Every metric reads its own number."""

import dataclasses

import pytest

from nas.base.errors import UsageError
from nas.base.records import Costs, Evaluation, TrialState
from nas.measures import MEASURES, Setting, measure
from nas.measures.float_twin import NAMES
from tests.builders import tiny_space, trial

NOT_SCORES = {
    "split", "num_images", "natural_interval", "robust_interval", "attack", "threat", "warnings", "fidelity", "ladder",
    "checks", "chance", "balanced_natural_accuracy", "balanced_robust_accuracy", "scores",
    "by_threat",
}  # fmt: skip

MAXIMISED = ("corruption_accuracy", "on_manifold_accuracy", "reconstruction_accuracy", *NAMES)
COMPUTED = (*MAXIMISED, "sparse_weight_bytes")
"""Those that are computed, or derived, where they are asked for."""

UNKNOWN = ("lipschitz_maximised", "lipschitz_certified_log10", "lipschitz_empirical", "lipschitz_empirical_scaled")
"""Those without a worst value that is known before training."""


def test_every_cost_and_every_score_is_a_metric() -> None:
    costs = {field.name for field in dataclasses.fields(Costs)}
    scores = {field.name for field in dataclasses.fields(Evaluation)} - NOT_SCORES
    assert set(MEASURES) == costs | scores | set(COMPUTED)


@pytest.mark.parametrize("name", [name for name in MEASURES if name not in COMPUTED])
def test_a_metric_reads_the_field_of_its_name(name: str) -> None:
    record = trial(3)
    source = record.costs if hasattr(record.costs, name) else record.evaluation
    found = MEASURES[name].read(record)
    assert found == getattr(source, name)
    assert isinstance(found, float)
    assert MEASURES[name].name == name


@pytest.mark.parametrize("name", MEASURES)
def test_a_worst_value_is_possible_and_worse_than_the_best(name: str) -> None:
    space = tiny_space()
    largest = space.spec(space.largest())
    limits = {field.name: 1000.0 for field in dataclasses.fields(Costs)}
    entry = MEASURES[name]
    worst = entry.worst_in(Setting(space.num_classes, 0.1, largest, limits))
    assert (worst is None) == (name in UNKNOWN)
    if worst is not None:
        entry.check(worst)
        assert entry.loss(worst) > entry.loss(entry.best)


def test_accuracies_are_better_when_higher_and_everything_else_when_lower() -> None:
    higher = {name for name, entry in MEASURES.items() if entry.direction == "maximize"}
    assert higher == {"robust_accuracy", "natural_accuracy", *MAXIMISED}
    assert {MEASURES[name].best for name in higher} == {1.0}
    assert {MEASURES[name].best for name in MEASURES.keys() - higher} == {0.0}


@pytest.mark.parametrize("state", [TrialState.FAILED, TrialState.REJECTED])
def test_scores_of_untrained_trials_are_refused_and_their_costs_are_not(state: TrialState) -> None:
    record = trial(8, state=state)
    with pytest.raises(ValueError, match=f"trial 8 is {state}"):
        MEASURES["instability"].read(record)
    assert MEASURES["params"].read(record) == 1000


@pytest.mark.parametrize("value", [None, float("nan")])
def test_what_was_not_measured_is_absent_and_a_loss_worse_than_every_number(value: float | None) -> None:
    unproved = trial(3, lipschitz_certified_log10=value)  # type: ignore[arg-type]
    assert MEASURES["lipschitz_certified_log10"].read(unproved) is None
    assert MEASURES["lipschitz_certified_log10"].loss_of(unproved) == float("inf")


def test_an_unknown_metric_is_refused_with_the_nearest_name_and_all_names() -> None:
    with pytest.raises(UsageError, match="did you mean robust_accuracy") as refused:
        measure("robust_acuracy")
    assert all(name in str(refused.value) for name in MEASURES)
    with pytest.raises(UsageError, match="unknown metric 'zzz' "):
        measure("zzz")


def test_a_loss_is_always_better_when_lower() -> None:
    assert MEASURES["robust_accuracy"].loss(0.9) < MEASURES["robust_accuracy"].loss(0.1)
    assert MEASURES["params"].loss(10) < MEASURES["params"].loss(20)
