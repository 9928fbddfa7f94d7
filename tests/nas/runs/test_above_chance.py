"""A network that has learned nothing is on no front: the constraint that a config gets, and what a tied front says."""

import dataclasses
from pathlib import Path

import pytest

from nas.base.errors import RunMismatch
from nas.base.records import Interval
from nas.pareto import MEASURES, ParetoFront, parse_condition
from nas.report.tables import tie_notes
from nas.runs import open_run
from nas.runs.config import RunConfig, load_config
from nas.runs.work import search
from tests.builders import evaluation, tiny_data, tiny_images, trial
from tests.test_configs import CONFIGS
from tests.tiny_run import nas, write_config

SENSITIVITIES = ("instability", "instability_scaled", "lipschitz_bound_log10", "lipschitz_maximised",
                 "lipschitz_certified_log10", "lipschitz_empirical", "lipschitz_empirical_scaled")  # fmt: skip


def config_of(folder: Path, *overrides: str) -> RunConfig:
    return load_config(write_config(folder), ("evaluation.lipschitz_steps=1", *overrides))


def constraints_of(config: RunConfig, *counts: int) -> tuple[str, ...]:
    """Constraints that `config` gets for validation images with so many of each class."""
    images = tiny_images(sum(counts))
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    split = dataclasses.replace(images, labels=images.labels.new_tensor(labels))
    return config.above_chance(dataclasses.replace(tiny_data(), validation=split)).constraints


@pytest.mark.parametrize("name", SENSITIVITIES)
def test_natural_accuracy_is_above_chance_where_a_sensitivity_is_an_objective(tmp_path: Path, name: str) -> None:
    config = config_of(tmp_path, f"objectives=[robust_accuracy, {name}]", "constraints=[robust_accuracy >= 0.2]")
    assert constraints_of(config, *[40] * 10) == ("robust_accuracy >= 0.2", "natural_accuracy >= 0.1429")
    assert MEASURES[name].is_sensitivity


@pytest.mark.parametrize(
    ("counts", "limit"),
    [((200, 200), 0.6), ((20,) * 100, 0.01493), ((4,) * 10, 0.2), ((75, 1), 0.9934), ((5, 5), 0.75)],
)
def test_the_limit_is_the_share_of_the_largest_class_at_higher_odds_and_beyond_luck(
    tmp_path: Path, counts: tuple[int, ...], limit: float
) -> None:
    (text,) = constraints_of(config_of(tmp_path, "constraints=[]"), *counts)
    assert parse_condition(text).limit == limit > max(counts) / sum(counts)


@pytest.mark.parametrize(
    "override", ["constraints=[natural_accuracy >= 0]", "objectives=[robust_accuracy, natural_accuracy, params]"]
)
def test_a_constraint_of_ones_own_replaces_it_and_other_objectives_need_none(tmp_path: Path, override: str) -> None:
    config = config_of(tmp_path, "constraints=[]", override)
    assert constraints_of(config, 5, 5) == config.constraints


def test_every_config_whose_front_an_untrained_network_could_join_has_a_limit() -> None:
    for path in CONFIGS:
        config = load_config(path)
        limits = [parse_condition(text) for text in constraints_of(config, *[3] * 10)]
        if any(objective.is_sensitivity for objective in config.parsed_objectives):
            assert any(c.metric.name == "natural_accuracy" and c.limit > 0.1 for c in limits), path


def test_the_run_and_its_records_show_the_limit_and_an_untrained_network_is_not_on_the_front(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    untrained = ("constraints=[]", "training.learning_rate=1.0e-12", "search.trials=1", "search.anchors=false")
    config, folder = config_of(tmp_path, *untrained), Path("runs", "tiny")
    search(config, folder, lambda progress: None)
    run = open_run(folder)
    (limit,) = run.config.constraints
    assert limit.startswith("natural_accuracy >= 0.")
    (record,) = run.records
    assert record.violations[str(parse_condition(limit))] > 0
    assert run.front().records == ()
    shown = " ".join(nas(capsys, "front", folder).out.split())
    assert f"within every limit, {limit}" in shown
    assert "nothing learned yet: raise training.epochs or data.limit" in shown
    search(config, folder, lambda progress: None)
    assert open_run(folder).records == run.records, "the same config goes on with the limit that the run has"
    other = config.model_copy(update={"constraints": ("natural_accuracy >= 0.3",)})
    with pytest.raises(RunMismatch, match="constraints: the run has"):
        search(other, folder, lambda progress: None)


def test_a_run_that_began_without_the_limit_goes_on_without_it(tmp_path: Path) -> None:
    config = config_of(tmp_path, "constraints=[]")
    begun = config.above_chance(tiny_data())
    assert config.continuing(begun) == begun != config
    assert config.continuing(config) == config
    other = config.model_copy(update={"constraints": ("robust_accuracy >= 0.3",)})
    assert config.continuing(other) == config


def test_check_shows_the_limit(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = nas(capsys, "check", "tiny.yaml", "--no-time", "--set", "constraints=[]").out
    assert "natural_accuracy >= 0." in shown


def front_of_robust(*intervals: tuple[float, float], objective: str = "robust_accuracy") -> ParetoFront:
    records = [
        dataclasses.replace(trial(number), evaluation=evaluation(robust_interval=Interval(*interval)))
        for number, interval in enumerate(intervals)
    ]
    return ParetoFront(tuple(records), (MEASURES[objective], MEASURES["params"]))


def test_a_front_whose_members_all_tie_says_so() -> None:
    (note,) = tie_notes(front_of_robust((0.05, 0.2), (0.1, 0.3), (0.19, 0.4)))
    assert note.startswith("all 3 members tie in robust accuracy")
    assert note.endswith("(nas show RUN A B) may differ all the same; for more, raise training.epochs or data.limit")
    assert tie_notes(front_of_robust((0.05, 0.2), (0.1, 0.3), (0.21, 0.4))) == []
    assert tie_notes(front_of_robust((0.05, 0.2))) == []
    assert tie_notes(front_of_robust((0.05, 0.2), (0.1, 0.3), objective="natural_accuracy")) == []
