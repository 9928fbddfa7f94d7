"""Trials that start from another trial's weights: on one machine, on nodes, in whole searches."""

import dataclasses
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

import nas.runs.trial
from nas.attacks import Pgd
from nas.attacks.threat import ThreatModel
from nas.base.errors import UsageError
from nas.base.records import Candidate, Outcome
from nas.base.seeding import make_generator
from nas.evaluation import EvaluationSettings
from nas.networks.inheritance import inherit
from nas.runs import Run, open_run
from nas.runs.config import load_config
from nas.runs.remote import PARENT, RemotePlan
from nas.runs.trial import TrialPlan
from nas.runs.trial_files import stored_outcome
from nas.runs.work import search, sweep
from nas.training.loop import start_training
from search_spaces.network import Network, build_network
from tests.builders import TINY_TRAINING, tiny_data, tiny_space
from tests.tiny_run import nas as run_nas
from tests.tiny_run import write_config

PARENT_TRIAL = Candidate(1, tiny_space().smallest(), 11)
HEIR = Candidate(3, tiny_space().largest(), 77, inherits=1)


@pytest.fixture
def plan(tmp_path: Path) -> TrialPlan:
    """A plan whose parent trial is trained."""
    evaluation = EvaluationSettings(attack=Pgd(steps=2))
    found = TrialPlan(
        tiny_space(), tiny_data(), ThreatModel(epsilon=0.05), TINY_TRAINING, evaluation, "cpu", tmp_path / "trials"
    )
    assert found(PARENT_TRIAL).evaluation is not None
    return found


def _log(plan: TrialPlan, number: int) -> list[dict[str, float]]:
    return [json.loads(line) for line in (plan.folder / f"{number:05d}" / "log.jsonl").read_text().splitlines()]


def _weights(plan: TrialPlan, number: int) -> bytes:
    return (plan.folder / f"{number:05d}" / "model.safetensors").read_bytes()


def _apart(plan: TrialPlan, folder: Path) -> TrialPlan:
    """The same plan in another folder, with the parent trial."""
    elsewhere = dataclasses.replace(plan, folder=folder)
    elsewhere(PARENT_TRIAL)
    return elsewhere


def test_training_starts_from_the_slices_of_the_parents_scored_network(
    plan: TrialPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[dict[str, torch.Tensor]] = []

    def watch(network: Network, *others: object) -> object:
        started.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        return start_training(network, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(nas.runs.trial, "start_training", watch)
    assert plan(HEIR).error is None
    data = plan.data
    wanted = build_network(plan.space.spec(HEIR.genotype), make_generator(77, "weights"), data.mean, data.std)
    share = inherit(wanted, safetensors.torch.load_file(plan.folder / "00001" / "model.safetensors"))
    assert all(torch.equal(started[0][name], tensor) for name, tensor in wanted.state_dict().items())
    assert _log(plan, 3)[0] == {"inherits": 1, "share": share}
    assert 0 < share < 1
    assert [line["epoch"] for line in _log(plan, 3)[1:]] == [1, 2]
    assert _log(plan, 1)[0]["epoch"] == 1, "who starts from scratch does not speak of it"


def test_the_same_parent_gives_the_same_outcome_and_another_another(plan: TrialPlan, tmp_path: Path) -> None:
    again = _apart(plan, tmp_path / "again")
    first = plan(HEIR)
    assert again(HEIR).evaluation == first.evaluation
    assert _weights(again, 3) == _weights(plan, 3)
    scratch = plan(dataclasses.replace(HEIR, number=4, inherits=None))
    other = Candidate(5, tiny_space().decode((1, 0, 1, 0, 1)), 13)
    plan(other)
    from_other = plan(dataclasses.replace(HEIR, number=6, inherits=5))
    assert len({str(o.evaluation) for o in (first, scratch, from_other)}) == 3


def test_a_result_belongs_to_its_parent_and_one_without_a_word_on_parents_has_none(plan: TrialPlan) -> None:
    outcome = plan(HEIR)
    assert stored_outcome(plan.folder, HEIR) == outcome
    assert stored_outcome(plan.folder, dataclasses.replace(HEIR, inherits=None)) is None
    assert stored_outcome(plan.folder, dataclasses.replace(HEIR, inherits=2)) is None
    path = plan.folder / "00001" / "evaluation.json"
    stored = json.loads(path.read_text())
    del stored["candidate"]["inherits"]
    path.write_text(json.dumps(stored))
    assert stored_outcome(plan.folder, PARENT_TRIAL) is not None, "as written before there was inheritance"


def test_a_training_in_parts_inherits_at_its_start_only(
    plan: TrialPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _apart(plan, tmp_path / "whole")
    straight = whole(HEIR)
    assert plan(dataclasses.replace(HEIR, epochs=1)).epochs == 1

    def refuse(*_: object) -> None:
        raise AssertionError("inherited again")

    with monkeypatch.context() as patch:
        patch.setattr("nas.runs.begin.inherit", refuse)
        (plan.folder / "00001" / "model.safetensors").unlink()
        found = plan(HEIR)
    assert found.evaluation == straight.evaluation
    assert _weights(plan, 3) == _weights(whole, 3)
    losses = [line for line in _log(plan, 3) if "loss" in line]
    assert losses == [line for line in _log(whole, 3) if "loss" in line]
    assert len([line for line in _log(plan, 3) if "share" in line]) == 1


def test_a_state_that_was_saved_before_there_was_inheritance_is_taken_up(plan: TrialPlan) -> None:
    candidate = dataclasses.replace(HEIR, inherits=None)
    old = {"number": 3, "genotype": {"space": HEIR.genotype.space, "values": dict(HEIR.genotype.values),
           "key": HEIR.genotype.key}, "seed": 77, "fidelity": "attack", "repeat": 0, "epochs": None}  # fmt: skip
    plan(dataclasses.replace(candidate, epochs=1))
    with safetensors.safe_open(plan.folder / "00003" / "state.safetensors", "pt") as file:
        assert file.metadata()["fingerprint"] == json.dumps(old)


def test_a_climb_needs_no_parent(plan: TrialPlan) -> None:
    plan(dataclasses.replace(HEIR, fidelity="screen"))
    (plan.folder / "00001" / "model.safetensors").unlink()
    climbed = plan(dataclasses.replace(HEIR, fidelity="attack"))
    assert climbed.error is None
    assert climbed.evaluation is not None
    assert climbed.evaluation.fidelity == "attack"


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_without_the_parents_weights_a_candidate_fails_and_says_so(plan: TrialPlan, damage: str) -> None:
    path = plan.folder / "00001" / "model.safetensors"
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:100])
    outcome = plan(HEIR)
    assert outcome.evaluation is None
    last = str(outcome.error).strip().splitlines()[-1]
    assert "trial 3 inherits the weights of trial 1, and these cannot be had" in last
    assert str(path) in last
    assert "--run NAME" in last
    assert not (plan.folder / "00003" / "evaluation.json").exists()


def _remotely(plan: TrialPlan, candidate: Candidate) -> tuple[Outcome, set[str], set[str]]:
    """Outcome, and the names of the files that went out and came back."""
    node = RemotePlan(dataclasses.replace(plan, folder=Path("/no/such/folder")))
    sent = RemotePlan(plan).pack(candidate)
    outcome, files = node.run(candidate, sent)
    RemotePlan(plan).unpack(candidate, files)
    return outcome, set(sent), set(files)


@pytest.mark.parametrize("repeat", [0, 2])
def test_the_parents_weights_travel_with_the_first_task_alone(plan: TrialPlan, tmp_path: Path, repeat: int) -> None:
    near = _apart(plan, tmp_path / "near")
    heir = dataclasses.replace(HEIR, repeat=repeat)
    for rung in ("screen", "attack"):
        candidate = dataclasses.replace(heir, fidelity=rung)
        here = near(candidate)
        there, sent, back = _remotely(plan, candidate)
        assert there.evaluation == here.evaluation
        assert (PARENT in sent) == (rung == "screen")
        assert PARENT not in back
    own = {path.relative_to(plan.folder): path for path in plan.folder.rglob("*") if path.is_file()}
    assert {path.relative_to(near.folder) for path in near.folder.rglob("*") if path.is_file()} == own.keys()
    for name, path in own.items():
        if name.name != "evaluation.json":  # has times
            assert path.read_bytes() == (near.folder / name).read_bytes(), name


def test_a_part_that_goes_on_elsewhere_is_sent_its_state_and_not_its_parent(plan: TrialPlan) -> None:
    _, first, back = _remotely(plan, dataclasses.replace(HEIR, epochs=1))
    assert first == {PARENT}
    assert "state.safetensors" in back
    outcome, sent, _ = _remotely(plan, HEIR)
    assert outcome.error is None
    assert PARENT not in sent
    assert "state.safetensors" in sent


def test_what_another_candidate_left_in_the_folder_does_not_keep_the_parent_home(plan: TrialPlan) -> None:
    plan(dataclasses.replace(HEIR, seed=78))
    outcome, sent, _ = _remotely(plan, HEIR)
    assert PARENT in sent
    assert outcome.error is None


def test_a_parent_that_is_missing_on_the_driver_is_a_failed_candidate(plan: TrialPlan) -> None:
    (plan.folder / "00001" / "model.safetensors").unlink()
    outcome, sent, back = _remotely(plan, HEIR)
    assert sent == set()
    assert "trial 3 inherits the weights of trial 1" in str(outcome.error)
    assert back >= {"error.txt"}


def _searched(folder: Path, *overrides: str) -> Run:
    folder.mkdir()
    config = load_config(write_config(folder), ["search.inherit=true", "search.trials=4", *overrides])
    search(config, folder / "run", lambda _: None)
    return open_run(folder / "run")


def test_a_search_with_inheritance_is_reproduced_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, again = (_searched(tmp_path / name, "evaluation.seeds=2") for name in ("first", "again"))
    heirs = [record for record in first.records if record.inherits is not None]
    assert heirs
    assert first.records[0].inherits is None
    for a, b in zip(first.records, again.records, strict=True):
        assert (a.genotype, a.inherits, a.evaluation) == (b.genotype, b.inherits, b.evaluation)
    found = sorted(path.relative_to(first.folder) for path in first.trials_folder.rglob("model.safetensors"))
    assert any("seed_1" in str(path) for path in found)
    for path in found:
        assert (first.folder / path).read_bytes() == (again.folder / path).read_bytes(), path
    number, parent = heirs[0].number, heirs[0].inherits
    shown = json.loads(run_nas(capsys, "show", first.folder, str(number), "--format", "json").out)
    assert shown["inherits"] == parent
    assert f"trained from the weights of trial {parent}" in run_nas(capsys, "show", first.folder, str(number)).out
    assert "from the weights" not in run_nas(capsys, "show", first.folder, "0").out


def test_a_sweep_inherits_nothing_and_says_so(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path), ["search.inherit=true"])
    with pytest.raises(UsageError, match=r"search\.inherit: .*from scratch \[got true\]"):
        sweep(config, tmp_path / "run", lambda _: None)
    assert not (tmp_path / "run").exists()
