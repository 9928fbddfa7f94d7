"""The comparison of recipes and the time to robustness: what they compute from what was measured."""

import json
import math
from argparse import Namespace
from pathlib import Path

import pytest

from nas.training import Training
from tests.benchmarks.equal_accuracy import digits_config
from tests.benchmarks.few_steps import RECIPES, settings_of, table, work
from tests.benchmarks.to_robust import seconds_to, smoothed, summary
from tests.conftest import ROOT


def test_every_recipe_is_a_training_of_the_config_but_for_what_it_names() -> None:
    config = digits_config()
    for recipe in RECIPES.values():
        found = settings_of(config, recipe)
        assert isinstance(found, Training)
        rest = {"method", "attack", "consistency", "beta", "label_smoothing"}
        assert found.model_dump(exclude=rest) == config.training.model_dump(exclude=rest)


def test_a_training_is_measured_once_and_tabled(tmp_path: Path) -> None:
    arguments = Namespace(
        config=ROOT / "configs/digits.yaml", out=tmp_path / "found.jsonl", first=0, seeds=1, networks=["small"],
        recipes=["madry-1-noise"], steps=5, queries=5, set=["training.epochs=1", "data.limit=300"],
    )  # fmt: skip
    (found,) = work(arguments)
    assert 0 <= found["robust"] <= found["natural"] <= 1
    assert 0 <= found["gap"] <= 1, "of other weights than the scored ones: no bound on either side"
    assert 0 <= found["under_own_attack"] <= 1
    arguments.out.write_text(json.dumps(found) + "\n")
    assert list(work(arguments)) == []
    plain = {**found, "recipe": "trades-10", "robust": found["robust"] - 0.01}
    head, _, reference, own = table([found, plain], "trades-10").splitlines()
    assert head.split("|")[2].strip() == f"{found['params']:,} parameters"
    assert reference.split("|")[2].strip().startswith(f"{100 * found['robust'] - 1:.1f}")
    assert own.split("|")[2].strip().startswith("+1.0")
    assert own.split("|")[3].strip() == f"{100 * found['natural']:.1f}"


def test_time_to_robustness_is_that_of_the_smoothed_accuracy() -> None:
    plain = [(float(epoch), 0.1 * epoch) for epoch in range(1, 7)]
    assert smoothed(plain) == pytest.approx([0.1, 0.15, 0.2, 0.3, 0.4, 0.5])
    assert seconds_to(plain, 0.5) == 6
    engine = [(0.25 * epoch, 0.2 * epoch) for epoch in range(1, 5)]
    assert seconds_to(engine, 0.5) == 1.0
    assert seconds_to(engine, 0.9) == math.inf
    found = summary([
        {"side": "plain", "seed": 3, "curve": plain, "robust": 0.5, "natural": 0.9},
        {"side": "engine", "seed": 3, "curve": engine, "robust": 0.49, "natural": 0.95},
    ])  # fmt: skip
    assert (found["ratio"][0], found["whole_trainings"][0]) == (6, 6)
    assert found["robust_engine_minus_plain"][0] == pytest.approx(-0.01)
