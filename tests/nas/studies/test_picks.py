"""Picks by what a regression expects of networks: with noise better networks, without noise the best one."""

from dataclasses import replace
from math import log2
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from nas.base.errors import UsageError
from nas.base.records import TrialRecord, TrialState
from nas.pareto import ParetoFront, front_of, measure
from nas.studies.picks import all_picked_from, expected_in, picked, picked_from
from search_spaces.mobilenet_tiny import MobileNetTiny, Row, mobilenet_tiny
from tests.nas.studies.records import record_of

SPACE = mobilenet_tiny(
    MobileNetTiny(
        blocks=(Row(8, expand_ratio=1), Row(16, stride=2), Row(16)), stem_channels=8, head_channels=16, tie="none",
        divisor=1, width_multipliers=(0.25, 0.5, 1.0), expand_ratios=(1, 2, 4),
    ), (1, 8, 8), 10,
)  # fmt: skip
ROBUST = measure("robust_accuracy")
OBJECTIVES = (ROBUST, measure("params"))


def truth(record: TrialRecord) -> float:
    """Robust accuracy of a network over many trainings: that of wide first layers."""
    values = record.genotype.values
    return 0.5 + 0.04 * log2(float(values["width_1"])) + 0.01 * log2(float(values["expand_3"]))


def run_of(seed: int, noise: float, count: int = 24) -> Any:
    """What picks read of a run: so many random networks, each trained once."""
    rng, records = Random(seed), []
    for number in range(count):
        record = record_of(SPACE, SPACE.sample(rng), number)
        assert record.evaluation is not None
        scored = replace(record.evaluation, robust_accuracy=truth(record) + rng.gauss(0, noise))
        records.append(replace(record, evaluation=scored))
    trials = tuple(records)

    def front(records: tuple[TrialRecord, ...] = trials) -> ParetoFront:
        return front_of(records, OBJECTIVES)

    config = SimpleNamespace(search=SimpleNamespace(seed=0), parsed_objectives=OBJECTIVES)
    return SimpleNamespace(
        records=trials, trials_folder=Path("none"), space=SPACE, config=config, front=front,
        reference_point=lambda goals: [0.0 for _ in goals],
    )  # fmt: skip


def test_a_network_is_picked_for_what_those_like_it_scored() -> None:
    by_luck, by_expectation = [], []
    for seed in range(12):
        run = run_of(seed, noise=0.05)
        by_luck.append(truth(picked_from(run, "best:robust_accuracy", None).record))
        by_expectation.append(truth(picked_from(run, "expected:robust_accuracy", None).record))
    assert sum(by_expectation) / 12 > sum(by_luck) / 12 + 0.01


def test_without_noise_it_is_nearly_the_best_network_and_expectations_are_the_scores() -> None:
    run = run_of(1, noise=0.0, count=60)
    found = picked_from(run, "expected:robust_accuracy", None)
    assert truth(found.record) == max(truth(record) for record in run.records)
    expected = expected_in(run, ROBUST)
    assert max(abs(expected[record.number] - truth(record)) for record in run.records) < 0.01
    assert found.reason.startswith("best robust_accuracy expected by a regression over 60 trials: 0.5")


def test_it_is_of_the_feasible_trials_that_hold_the_conditions() -> None:
    run = run_of(2, noise=0.02)
    smaller = sorted(record.costs.params for record in run.records)[12]
    found = picked_from(run, "expected:robust_accuracy", [f"params<={smaller}"])
    assert found.record.costs.params <= smaller
    (same,) = all_picked_from(run, "expected:robust_accuracy", [f"params<={smaller}"])
    assert same == found
    within = tuple(record for record in run.records if record.costs.params <= smaller)
    assert picked(run, "expected:robust_accuracy", run.front(within), within) == found
    with pytest.raises(UsageError, match="no trained trial is within every limit"):
        picked_from(run, "expected:robust_accuracy", ["params<=1"])
    broken = tuple(replace(record, violations={"natural_accuracy >= 0.9": 0.4}) for record in run.records)
    run.records = broken
    with pytest.raises(UsageError, match="no trained trial is within every limit"):
        picked_from(run, "expected:robust_accuracy", None)


def test_without_a_metric_it_is_of_all_objectives_that_training_tells() -> None:
    """Two networks are equally robust; the other objective decides, and costs do not."""
    run = run_of(4, noise=0.0, count=60)
    assert picked_from(run, "expected", None).record == picked_from(run, "expected:robust_accuracy", None).record
    run.records = tuple(_with_natural(record) for record in run.records)
    run.config.parsed_objectives = (ROBUST, measure("natural_accuracy"), measure("params"))
    found = picked_from(run, "expected", None)
    best = max(run.records, key=lambda one: one.evaluation.robust_accuracy * one.evaluation.natural_accuracy)
    assert _product(found.record) == pytest.approx(_product(best), rel=0.01)
    assert found.record != picked_from(run, "expected:robust_accuracy", None).record
    assert found.reason.startswith("best robust_accuracy and natural_accuracy expected by a regression over 60 trials")
    run.config.parsed_objectives = (measure("params"), measure("macs"))
    with pytest.raises(UsageError, match="every objective of this run is known before training"):
        picked_from(run, "expected", None)


def _with_natural(record: TrialRecord) -> TrialRecord:
    assert record.evaluation is not None
    natural = 0.6 - 0.1 * log2(float(record.genotype.values["width_1"]))
    return replace(record, evaluation=replace(record.evaluation, natural_accuracy=natural))


def _product(record: TrialRecord) -> float:
    assert record.evaluation is not None
    return record.evaluation.robust_accuracy * record.evaluation.natural_accuracy


def test_rejected_and_reused_trials_teach_it_nothing() -> None:
    run = run_of(3, noise=0.02)
    expected = expected_in(run, ROBUST)
    rejected = replace(run.records[0], number=24, state=TrialState.REJECTED, evaluation=None)
    reused = replace(run.records[5], number=25, reused_from=5)
    run.records = (*run.records, rejected, reused)
    assert expected_in(run, ROBUST) == expected


@pytest.mark.parametrize(
    ("rule", "count", "words"),
    [
        ("expected:params", 24, "it is known before training; pick by best:params"),
        ("expected:lipschitz_bound_log10", 24, "known before training"),
        ("expected:robust_accuracy", 15, "needs 16 trained networks with robust_accuracy, there are 15"),
        ("expected:robustness", 24, "robustness"),
        ("expected:", 24, "unknown metric ''"),
        ("expect", 24, "unknown pick 'expect'"),
    ],
)
def test_what_cannot_be_expected_is_refused(rule: str, count: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        picked_from(run_of(0, 0.01, count), rule, None)


def test_what_no_check_trusts_is_neither_learned_from_nor_picked() -> None:
    run = run_of(5, noise=0.0, count=60)
    plain, small = expected_in(run, ROBUST), {one.number for one in sorted(run.records, key=truth)[:10]}
    run.records = tuple(_masked(one) if one.number in small else one for one in run.records)
    found = expected_in(run, ROBUST)
    assert found.keys() == plain.keys() - small
    assert max(abs(found[number] - plain[number]) for number in found) < 0.02
    assert picked_from(run, "expected:robust_accuracy", None).record.number not in small


def _masked(record: TrialRecord) -> TrialRecord:
    assert record.evaluation is not None
    scored = replace(record.evaluation, robust_accuracy=0.95)
    return replace(record, evaluation=scored, violations={"trusted": 1.0})


def test_a_reference_point_that_nothing_beats_is_said() -> None:
    run = run_of(4, noise=0.0, count=30)
    run.records = tuple(_with_natural(record) for record in run.records)
    run.config.parsed_objectives = (ROBUST, measure("natural_accuracy"), measure("params"))
    run.reference_point = lambda goals: [0.99 for _ in goals]
    with pytest.raises(UsageError, match=r"better than the reference point.*search\.reference_point"):
        picked_from(run, "expected", None)
