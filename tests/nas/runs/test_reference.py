"""`nas check --explain` and docs/config.md: every field of a config, as its class has it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from nas.assets.manifold.settings import MANIFOLDS
from nas.attacks import ATTACKS
from nas.base.errors import UsageError
from nas.base.settings import Bytes, Ratio, Settings
from nas.data.datasets import DATASETS
from nas.networks.treatments import TREATMENTS
from nas.runs.config import load_config
from nas.runs.reference import CONFIG, SettingsPart, fields_at
from nas.runs.reference_text import config_page, explained, explanation, sections
from search_spaces import SPACES
from tests.conftest import ROOT
from tests.tiny_run import TINY, nas, write_config

PAGE = ROOT / "docs" / "config.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == config_page(), "run: python -m nas.runs.reference_text > docs/config.md"


def test_every_field_has_a_docstring_and_every_entry_of_a_registry_a_section() -> None:
    found = sections()
    silent = [f"{one.path}.{field.name}" for one in found for field in one.fields if len(field.meaning) < 3]
    assert not silent
    assert all(one.part.meaning for one in found)
    choices = {(one.part.of, one.part.choice) for one in found if one.part.choice}
    registries: dict[str, Any] = {
        "data set": DATASETS, "space": SPACES, "attack": ATTACKS, "treatment": TREATMENTS,
        "manifold": MANIFOLDS,
    }  # fmt: skip
    assert choices == {(of, name) for of, registry in registries.items() for name in registry}


def test_every_path_of_a_whole_config_can_be_explained(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path), ["evaluation.threats={near: {norm: l2, epsilon: 0.1}}"])
    for path, value in _leaves(config.model_dump(mode="json")):
        if path.rpartition(".")[2] != "name" or path == "name":  # of a choice: it is what explains the others
            found = fields_at(path)
            assert found, path
            assert isinstance(value, dict | list) or not found[0].field.parts or value is None, path


def _leaves(tree: Any, path: str = "") -> list[tuple[str, Any]]:
    """Paths of all values, elements of lists by their index."""
    if isinstance(tree, dict) and tree:
        return [leaf for key, value in tree.items() for leaf in _leaves(value, f"{path}.{key}".lstrip("."))]
    if isinstance(tree, list) and tree and isinstance(tree[0], dict):
        return [leaf for index, value in enumerate(tree) for leaf in _leaves(value, f"{path}.{index}")]
    return [(path, tree)]


def test_a_field_has_its_docstring_type_range_and_default() -> None:
    (one,) = explained("training.attack.steps")
    assert one == {
        "field": "training.attack.steps", "choices": [], "type": "whole number", "range": "1 to 1,000", "default": "1",
        "meaning": "Gradient steps K. What one of them is worth, by data set and start: docs/performance.md.",
        "fields": {},
    }  # fmt: skip
    assert explained("training.learning_rate")[0]["range"] == "above 0, at most 100"
    assert explained("budget.weight_bytes")[0]["type"] == "bytes, such as 65536, 64KB (64,000) or 64 KiB or null"
    assert explained("threat.epsilon")[0]["default"] == "required"
    assert explained("evaluation.threats.near.epsilon") == [
        explained("threat.epsilon")[0] | {"field": "evaluation.threats.near.epsilon"}
    ]
    assert explained("space.blocks.0.channels")[0]["field"] == "space.blocks.channels"


def test_a_choice_has_the_fields_of_each_entry() -> None:
    roots = {tuple(one["choices"]): one["default"] for one in explained("data.root")}
    assert roots == {("cifar10", "svhn"): "data", ("image_folder",): "required", ("speech_folder",): "required"}
    fractions = {tuple(one["choices"]): one["default"] for one in explained("data.validation_fraction")}
    assert fractions == {("digits",): "0.2", ("cifar10", "svhn", "image_folder", "simulated"): "0.1",
                         ("speech_folder",): "0.1"}  # fmt: skip
    assert {"pgd.steps", "square.queries"} <= explained("evaluation.attack")[0]["fields"].keys()
    assert explained("retrain.validation_attack")[0]["default"] == "{name: pgd, steps: 10}"


def test_retraining_takes_over_what_is_not_set() -> None:
    assert explained("retrain.attack.steps")[0]["default"] == "that of training.attack.steps"
    assert explained("retrain.validate_every")[0]["default"] == "5"


def test_a_default_is_that_of_the_place() -> None:
    class _Inner(Settings):
        count: int = Field(1, ge=0, lt=10)
        """How many."""
        ratio: Ratio | None = 8 / 255
        """Of two."""

    class _Outer(Settings):
        inner: _Inner = _Inner(count=3)
        """Inside."""
        limit: Bytes = 5
        """Outside."""

    inner, limit = SettingsPart(_Outer).fields()
    (part,) = inner.parts
    count, ratio = part.fields()
    assert (count.default, count.allowed, inner.default) == ("3", "0 or more, below 10", "")
    assert (ratio.default, ratio.kind) == ("8/255", "number or ratio such as 8/255 or null")
    assert (limit.default, limit.meaning) == ("5", "Outside.")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("trainin", "unknown 'trainin' (fields: name, plugin_folder"),
        ("training.stepz", "fields of training: method, beta"),
        ("training.epoch", "did you mean epochs?"),
        ("training.epochs.first", "training.epochs has no fields of its own; leave .first out"),
        ("data.roots", "did you mean root?"),
        ("", "unknown ''"),
    ],
)
def test_an_unknown_field_is_answered_with_those_there_are(path: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        fields_at(path)
    assert words in str(refused.value)


def test_check_explains_without_a_config(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = nas(capsys, "check", "--explain", "evaluation.attack.steps")
    assert (found.code, found.out, found.err) == (0, explanation("evaluation.attack.steps"), "")
    assert found.out.startswith("evaluation.attack.steps (name: pgd)\n  Gradient steps")
    as_json = nas(capsys, "check", "--explain", "training", "--format", "json")
    assert json.loads(as_json.out) == explained("training")
    neither = nas(capsys, "check")
    assert (neither.code, neither.out) == (2, "")
    assert "check needs a CONFIG" in neither.message
    wrong = nas(capsys, "check", write_config(tmp_path, TINY.replace("epochs: 1", "epochs: 0")), "--explain", "name")
    assert wrong.code == 2, "a config that is given is read, as its plugins may add choices"


def test_settings_of_spaces_say_what_every_field_is() -> None:
    for name, entry in SPACES.items():
        assert dataclasses.is_dataclass(entry.settings) or issubclass(entry.settings, BaseModel)
        assert all(field.meaning for field in SettingsPart(entry.settings, name).fields())
    assert CONFIG.fields()[0].name == "name"
