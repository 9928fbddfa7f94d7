"""A finished network on disk: exact, repeatable, or refused."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from nas.attacks import Fgsm, Pgd
from nas.attacks.threat import ThreatModel
from nas.base.errors import CheckpointError, UsageError
from nas.data.sources import DATASETS, Digits, SourceEntry
from nas.evaluation import EvaluationSettings
from nas.runs.checkpoint import Checkpoint, evaluate_checkpoint, load_checkpoint, other_attack, save_checkpoint
from tests.builders import TINY_LADDER, generator, tiny_network

CPU = torch.device("cpu")


@pytest.fixture
def checkpoint() -> Checkpoint:
    network = tiny_network()
    network(torch.rand(8, 1, 8, 8, generator=generator(1)))
    data = Digits(name="digits", limit=60, test_limit=40)
    evaluation = EvaluationSettings(attack=Pgd(steps=2, step_size=0.01), batch_size=16, ladder=TINY_LADDER)
    names = tuple(map(str, range(10)))
    threat = ThreatModel(norm="l2", epsilon=1 / 3)
    network.requires_grad_(False).eval()
    return Checkpoint(network, {"width": 0.35, "expand": 6}, names, data, threat, evaluation, 2**62 + 1)


@pytest.fixture
def folder(tmp_path: Path, checkpoint: Checkpoint) -> Path:
    save_checkpoint(tmp_path, checkpoint, {"picked": "knee"})
    return tmp_path


def test_a_checkpoint_survives_bit_for_bit(folder: Path, checkpoint: Checkpoint) -> None:
    again = load_checkpoint(folder)
    for field in dataclasses.fields(Checkpoint):
        if field.name != "network":
            assert getattr(again, field.name) == getattr(checkpoint, field.name), field.name
    assert again.network.spec == checkpoint.network.spec
    for name, tensor in checkpoint.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], tensor), name
    x = torch.rand(5, 1, 8, 8, generator=generator(2))
    assert torch.equal(again.network(x), checkpoint.network(x))


def test_a_loaded_network_is_frozen_and_in_eval_mode(folder: Path) -> None:
    network = load_checkpoint(folder).network
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_additional_facts_are_in_the_description(folder: Path) -> None:
    described = json.loads((folder / "genotype.json").read_text())
    assert described["picked"] == "knee"
    assert described["schema"] == 1
    assert described["key"] == tiny_network().spec.key


@pytest.mark.parametrize("split_name", ["test", "validation"])
def test_an_evaluation_repeats_its_numbers_exactly(folder: Path, checkpoint: Checkpoint, split_name: str) -> None:
    first = evaluate_checkpoint(checkpoint, split_name=split_name, attack=None, device=CPU)
    again = evaluate_checkpoint(load_checkpoint(folder), split_name=split_name, attack=None, device=CPU)
    assert first == again
    assert first.split == split_name
    assert first.num_images == {"test": 40, "validation": 12}[split_name]
    assert first.attack["steps"] == 2


def limited(checkpoint: Checkpoint, test_limit: int | None = None, **limits: int) -> Checkpoint:
    evaluation = checkpoint.evaluation.model_copy(update={"attack": Fgsm(), **limits})
    data = checkpoint.data.model_copy(update={"test_limit": test_limit})
    return dataclasses.replace(checkpoint, data=data, evaluation=evaluation)


@pytest.mark.parametrize("attack", [None, Fgsm()])
def test_max_images_of_the_search_does_not_cut_the_test_set(checkpoint: Checkpoint, attack: Fgsm | None) -> None:
    found = evaluate_checkpoint(limited(checkpoint, max_images=10), split_name="test", attack=attack, device=CPU)
    assert found.num_images == 359
    assert not any("test images" in warning or "test set" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("test_limit", "limits", "count", "words"),
    [
        (None, {"final_images": 30}, 30, ["only 30 of 359 test images were scored (evaluation.final_images)"]),
        (None, {"final_images": 1000}, 359, []),
        (40, {}, 40, ["not the whole test set: data.test_limit keeps only 40 test images"]),
        (5000, {}, 359, []),
        (40, {"final_images": 10}, 10, [
            "not the whole test set: data.test_limit keeps only 40 test images",
            "only 10 of 40 test images were scored (evaluation.final_images)",
        ]),
    ],
)  # fmt: skip
def test_a_cut_test_set_is_a_warning(
    checkpoint: Checkpoint, test_limit: int | None, limits: dict[str, int], count: int, words: list[str]
) -> None:
    found = evaluate_checkpoint(
        limited(checkpoint, test_limit, **limits), split_name="test", attack=Fgsm(), device=CPU
    )  # fmt: skip
    assert found.num_images == count
    assert [warning for warning in found.warnings if "test " in warning] == words


def test_another_attack_replaces_the_checkpoints_own(checkpoint: Checkpoint) -> None:
    own = evaluate_checkpoint(checkpoint, split_name="test", attack=None, device=CPU)
    other = evaluate_checkpoint(checkpoint, split_name="test", attack=Pgd(steps=30), device=CPU)
    assert other.attack["steps"] == 30
    assert other.robust_accuracy <= own.robust_accuracy
    assert other.natural_accuracy == own.natural_accuracy


def test_validation_never_loads_the_test_part(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = DATASETS["digits"]

    def guarded(settings: Digits, part: str) -> object:
        assert part == "train", "the test images were loaded"
        return entry.load(settings, part)

    monkeypatch.setitem(DATASETS, "digits", SourceEntry(entry.settings, guarded))  # type: ignore[arg-type]
    evaluate_checkpoint(checkpoint, split_name="validation", attack=None, device=CPU)
    with pytest.raises(AssertionError, match="test images"):
        evaluate_checkpoint(checkpoint, split_name="test", attack=None, device=CPU)


@pytest.mark.parametrize("missing", ["model.safetensors", "genotype.json"])
def test_a_missing_file_is_refused(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(CheckpointError):
        load_checkpoint(folder)


def test_a_missing_folder_is_refused_with_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nas retrain RUN"):
        load_checkpoint(tmp_path / "nowhere")


def test_a_description_cut_anywhere_is_refused(folder: Path) -> None:
    path = folder / "genotype.json"
    whole = path.read_bytes().rstrip()
    for length in [*range(0, len(whole), 101), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"genotype\.json"):
            load_checkpoint(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schema", 2),
        ("spec", {}),
        ("spec", {"input_shape": [1, 8], "num_classes": 10, "blocks": []}),
        ("data", {"name": "imagenet"}),
        ("threat", {"epsilon": -1}),
        ("evaluation", {"attack": {"name": "magic"}}),
        ("seed", "many"),
        ("class_names", None),
    ],
)
def test_a_description_of_something_else_is_refused(folder: Path, field: str, value: object) -> None:
    path = folder / "genotype.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(CheckpointError, match=r"genotype\.json does not describe"):
        load_checkpoint(folder)


@pytest.mark.parametrize("content", ["[]", "3", "null", '"text"', "\udcff"])
def test_json_of_another_kind_is_refused(folder: Path, content: str) -> None:
    (folder / "genotype.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match="does not describe"):
        load_checkpoint(folder)


def test_weights_of_another_network_are_refused(folder: Path, checkpoint: Checkpoint, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    save_checkpoint(other, dataclasses.replace(checkpoint, network=tiny_network(num_classes=7)), {})
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="holds another network"):
        load_checkpoint(folder)


def test_changes_apply_to_the_own_attack_or_to_the_named_one() -> None:
    own = Pgd(steps=20, step_size=0.01, restarts=2)
    assert other_attack(own, "", {"steps": 50}) == Pgd(steps=50, step_size=0.01, restarts=2)
    assert other_attack(own, "pgd", {"steps": 50}) == Pgd(steps=50, step_size=0.01, restarts=2)
    assert other_attack(own, "fgsm", {}) == Fgsm()
    assert other_attack(Fgsm(), "pgd", {"restarts": 3}) == Pgd(restarts=3)
    assert other_attack(own, "", {}) is None
    assert other_attack(own, "pgd", {}) == own, "an attack that is named is made alone"


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("magic", {}, "unknown attack 'magic'.*pgd, fgsm"),
        ("fgsm", {"steps": 5}, "fgsm.*steps"),
        ("", {"steps": 0}, "pgd.*steps.*0"),
        ("pgd", {"step_size": -1.0}, "pgd.*step_size.*-1"),
    ],
)
def test_impossible_attacks_are_refused_by_name_and_value(name: str, changes: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        other_attack(Pgd(), name, changes)
