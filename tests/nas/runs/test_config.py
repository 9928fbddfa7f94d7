"""What a config may say, and what a wrong one is told."""

from collections.abc import Callable
from pathlib import Path

import pytest

from nas.base.errors import ConfigError
from nas.budgets import COSTS
from nas.runs.config import differences, dump_config, load_config
from nas.runs.retrain_settings import Retraining
from tests.conftest import ROOT
from tests.tiny_run import TINY, write_config

MINIMAL = "name: small\ndata: {name: digits}\nspace: {name: mobilenet_tiny}\nthreat: {epsilon: 8/255}\n"

Refusal = Callable[..., str]


@pytest.fixture
def refusal(tmp_path: Path) -> Refusal:
    """The message for a config of this text and these overrides, the folder left out of it."""

    def refuse(text: str, *overrides: str) -> str:
        with pytest.raises(ConfigError) as caught:
            load_config(write_config(tmp_path, text), overrides)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return refuse


def test_four_fields_are_enough(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path, MINIMAL))
    assert [objective.name for objective in config.parsed_objectives] == [
        "robust_accuracy", "instability", "lipschitz_bound_log10", "params",
    ]  # fmt: skip
    assert config.search.sampler == "nsga2"


@pytest.mark.parametrize(("written", "value"), [("8/255", 8 / 255), ("0.1", 0.1), ("8 / 255", 8 / 255), ("1e-1", 0.1)])
def test_epsilon_may_be_a_ratio(tmp_path: Path, written: str, value: float) -> None:
    assert load_config(write_config(tmp_path, MINIMAL.replace("8/255", written))).threat.epsilon == value


@pytest.mark.parametrize("written", ["8/0", "eight", "-8/255", ".nan", ".inf", "true", "[8, 255]"])
def test_epsilon_must_be_a_positive_number(refusal: Refusal, written: str) -> None:
    message = refusal(MINIMAL.replace("8/255", written))
    assert message.startswith("tiny.yaml:4: threat.epsilon: ")
    assert len(message.splitlines()) == 1


def test_all_errors_come_at_once_each_with_its_line(refusal: Refusal) -> None:
    text = (
        "name: small\n"
        "data: {name: digits, limit: 3}\n"
        "space: {name: mobilenet_tiny}\n"
        "threat:\n"
        "  epsilon: eight\n"
        "training:\n"
        "  epochs: 1.5\n"
        "  bta: 6\n"
        "objectives: [robust_acuracy, params]\n"
        "budget: {params: 0}\n"
    )
    lines = refusal(text).splitlines()
    assert sorted(line.rsplit(" [got")[0].split(": ")[0] + " " + line.split(": ")[1] for line in lines) == [
        "tiny.yaml:10 budget.params",
        "tiny.yaml:2 data.limit",
        "tiny.yaml:5 threat.epsilon",
        "tiny.yaml:7 training.epochs",
        "tiny.yaml:8 training.bta",
        "tiny.yaml:9 objectives",
    ]
    assert all("[got " in line for line in lines)
    assert "did you mean beta?" in next(line for line in lines if "bta" in line)
    assert "did you mean robust_accuracy?" in next(line for line in lines if "objectives" in line)


@pytest.mark.parametrize(
    ("part", "wrong", "meant"),
    [
        ("search: {trails: 3}", "search.trails", "trials"),
        ("training: {attack: {step: 3}}", "training.attack.step", "steps"),
        ("evaluation: {attack: {name: pgd, step: 3}}", "evaluation.attack.step", "steps"),
        ("buget: {params: 3}", "buget", "budget"),
        ("retrain: {epoch: 3}", "retrain.epoch", "epochs"),
    ],
)
def test_an_unknown_field_is_told_its_nearest_name(refusal: Refusal, part: str, wrong: str, meant: str) -> None:
    message = refusal(MINIMAL + part + "\n")
    assert message.startswith(f"tiny.yaml:5: {wrong}: unknown field")
    assert message.endswith(f"; did you mean {meant}?)")


def test_an_unknown_field_of_a_row_is_found(refusal: Refusal) -> None:
    message = refusal(TINY.replace("{channels: 16, stride: 2}", "{chanels: 16, stride: 2}"))
    assert "tiny.yaml:8: space.blocks.1.chanels: unknown field" in message
    assert "did you mean channels?" in message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("search.trials", "true"), ("search.trials", "3.5"), ("search.trials", "'3'"), ("search.trials", "0"),
        ("search.anchors", "1"), ("search.anchors", "'yes'"), ("search.sampler", "nsga4"), ("search.seed", "-1"),
        ("training.beta", "'six'"), ("training.momentum", "1"), ("budget.params", "-5"), ("name", "../up"),
        ("name", "''"), ("device", "tpu"), ("evaluation.attack.name", "pdg"), ("objectives", "[]"),
        ("objectives", "[params, params]"), ("constraints", "[params <= 5]"), ("constraints", "[robust 5]"),
        ("data.name", "mnist"), ("training", "3"), ("data.validation_fraction", "1"),
    ],
)  # fmt: skip
def test_wrong_types_and_impossible_values_are_refused(refusal: Refusal, field: str, value: str) -> None:
    message = refusal(TINY, f"{field}={value}")
    assert message.startswith(f"--set {field}={value}: ")
    assert len(message.splitlines()) == 1, message


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("threat.epsilon", "8", "threat.epsilon: 8 is more than the largest distance of two images, 1"),
        ("training.attack.step_size", "2", "step_size of an attack: 2 is more than"),
        ("evaluation.attack.step_size", "2", "did you mean 2/255?"),
        ("constraints", "[natural_accuracy >= 90]", "did you mean 0.9?"),
        ("constraints", "[natural_accuracy >= 1e999]", "natural_accuracy cannot be inf (allowed: 0 to 1)"),
        ("search.reference_point", "{robust_accuracy: 60}", "did you mean 0.6?"),
    ],
)
def test_values_outside_a_quantitys_range_are_refused(refusal: Refusal, field: str, value: str, words: str) -> None:
    message = refusal(TINY, f"{field}={value}")
    assert words in message
    assert len(message.splitlines()) == 1, message


def test_a_missing_field_is_said_to_be_required(refusal: Refusal) -> None:
    message = refusal(MINIMAL.replace("threat: {epsilon: 8/255}", "threat: {norm: linf}"))
    assert message == "tiny.yaml:4: threat.epsilon: is required"


def test_an_override_is_named_as_the_place_of_its_error(refusal: Refusal) -> None:
    message = refusal(MINIMAL, "search.trials=12", "search.populaton=4", "threat.epsilon=-1")
    assert "--set search.populaton=4: search.populaton: unknown field [got 4]" in message
    assert "--set threat.epsilon=-1: threat.epsilon: " in message


@pytest.mark.parametrize("override", ["search.trials", "=3", "search..trials=3", "name.first=x", "search.trials=[3"])
def test_an_override_that_says_nothing_is_refused(refusal: Refusal, override: str) -> None:
    assert refusal(MINIMAL, override).startswith(f"--set {override}: ")


def test_overrides_change_fields_in_order(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path), ["search.trials=7", "budget.params=9000", "search.trials=8"])
    assert (config.search.trials, config.budget.params, config.search.population) == (8, 9000, 2)


@pytest.mark.parametrize(
    "text", ["", "- a\n- b\n", "just words\n", "name: [\n", "a: 1\na: 2\n", "name: !!python/x y\n"]
)
def test_a_file_that_is_no_config_is_refused(refusal: Refusal, text: str) -> None:
    assert refusal(text).startswith("tiny.yaml")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(ConfigError, match=r"binary\.yaml is not a text file"):
        load_config(tmp_path / "binary.yaml")


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "configs").glob("*.yaml")))
def test_a_dumped_config_is_read_back_equal(tmp_path: Path, name: str) -> None:
    config = load_config(ROOT / "configs" / name)
    again = load_config(write_config(tmp_path, dump_config(config)))
    assert again == config
    assert dump_config(again) == dump_config(config)


def test_a_dump_has_ratios_as_they_were_written_and_machines_get_numbers(tmp_path: Path) -> None:
    text = MINIMAL + "training: {attack: {steps: 10, step_size: 2/255}}\n"
    config = load_config(write_config(tmp_path, text))
    dumped = dump_config(config)
    assert "epsilon: 8/255" in dumped
    assert dumped.count("step_size: 2/255") == 3, "training's own, and what retrain and supernet take over"
    assert load_config(write_config(tmp_path, dumped)) == config
    assert config.threat.model_dump(mode="json")["epsilon"] == 8 / 255, "fingerprints do not change"
    tenth = dump_config(load_config(write_config(tmp_path, MINIMAL.replace("8/255", "0.1"))))
    assert "epsilon: 0.1" in tenth


def test_budgets_have_units_in_files_and_on_the_command_line(tmp_path: Path) -> None:
    path = write_config(tmp_path, MINIMAL + "budget: {params: 100k, macs: 8M, weight_bytes: 64 KiB}\n")
    config = load_config(path, ["budget.peak_activation_bytes=64KB", "budget.params=50k"])
    assert tuple(getattr(config.budget, cost) for cost in COSTS) == (50_000, 8_000_000, 65_536, 64_000)
    assert load_config(write_config(tmp_path, dump_config(config))) == config


def test_worst_values_of_costs_have_units_as_budgets_do(tmp_path: Path, refusal: Refusal) -> None:
    text = MINIMAL + "search: {reference_point: {params: 60k, weight_bytes: 64 KiB, robust_accuracy: 0.5}}\n"
    config = load_config(write_config(tmp_path, text), ["search.reference_point.macs=8M"])
    found = {"params": 60_000, "weight_bytes": 65_536, "robust_accuracy": 0.5, "macs": 8_000_000}
    assert config.search.reference_point == found
    assert load_config(write_config(tmp_path, dump_config(config))) == config
    assert "write a number, such as" in refusal(text.replace("60k", "60KB"))


def test_a_unit_of_something_else_is_refused_with_what_is_allowed(refusal: Refusal) -> None:
    message = refusal(MINIMAL + "budget: {params: 64KB}\n")
    assert message == 'tiny.yaml:5: budget.params: write a number, such as 100000, 100k, 8M [got "64KB"]'
    assert "64KB, 64 KiB" in refusal(MINIMAL + "budget: {weight_bytes: 64Kb}\n")


def test_steps_that_are_too_short_are_named_as_they_were_written(refusal: Refusal) -> None:
    message = refusal(MINIMAL + "training: {attack: {steps: 3, step_size: 2/255}}\n")
    assert "3 steps of 2/255 cannot reach the border of the ball, epsilon = 8/255" in message


def test_a_dump_keeps_turned_objectives_and_constraints(tmp_path: Path) -> None:
    text = MINIMAL + "objectives: [robust_accuracy, params]\nconstraints: [natural_accuracy >= 0.9]\n"
    config = load_config(write_config(tmp_path, text))
    assert config.parsed_objectives[1].direction == "minimize"
    assert load_config(write_config(tmp_path, dump_config(config))) == config


def test_retraining_takes_over_what_it_does_not_set(tmp_path: Path) -> None:
    text = MINIMAL + (
        "training: {epochs: 3, learning_rate: 0.3, attack: {steps: 4, step_size: 2/255}}\n"
        "retrain: {epochs: 50, attack: {steps: 9}}\n"
    )
    retrain = load_config(write_config(tmp_path, text)).retrain
    assert (retrain.epochs, retrain.learning_rate, retrain.attack.steps) == (50, 0.3, 9)
    assert retrain.attack.step_size == 2 / 255
    assert retrain.validate_every == Retraining().validate_every


def test_an_error_in_training_is_not_repeated_for_retraining(refusal: Refusal) -> None:
    assert len(refusal(MINIMAL + "training: {epochs: 0}\nretrain: {beta: 5}\n").splitlines()) == 1


def test_differences_name_the_fields() -> None:
    ours, theirs = {"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 1, "c": 3}, "d": [1], "e": None, "f": 0}
    assert differences(ours, theirs) == [("a.c", 2, 3), ("f", None, 0)]
    assert differences(ours, ours) == []


def test_further_threats_are_read_by_name_and_wrong_ones_are_named(tmp_path: Path, refusal: Refusal) -> None:
    text = MINIMAL + "evaluation:\n  threats:\n    l2: {norm: l2, epsilon: 0.5}\n"
    threats = load_config(write_config(tmp_path, text), ("evaluation.threats.far.epsilon=16/255",)).evaluation.threats
    assert {name: str(threat) for name, threat in threats.items()} == {"l2": "l2 ε = 0.5", "far": "linf ε = 16/255"}
    assert load_config(write_config(tmp_path, MINIMAL)).evaluation.threats == {}
    message = refusal(text.replace("epsilon: 0.5", "epsilon: 0.5, radius: 1"))
    assert message.startswith("tiny.yaml:7: evaluation.threats.l2.radius: unknown field [got 1]")
    assert message.endswith(" (allowed: acts_on, norm, epsilon)")
    assert "evaluation.threats.l2.epsilon: " in refusal(text.replace("epsilon: 0.5", "epsilon: -1"))
    assert "evaluation.threats.a b" in refusal(text.replace("l2:", "a b:"))


def test_a_config_with_further_threats_survives_its_own_dump(tmp_path: Path) -> None:
    text = MINIMAL + "evaluation: {threats: {l2: {norm: l2, epsilon: 1/2}}}\n"
    config = load_config(write_config(tmp_path, text))
    assert load_config(write_config(tmp_path, dump_config(config))) == config
