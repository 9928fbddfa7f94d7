"""One trial: its files, its failures, and that it is never trained twice."""

import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import nas.runs.trial
from nas.attacks import Pgd
from nas.attacks.threat import ThreatModel
from nas.base.errors import CheckpointError, Diverged, UsageError
from nas.base.records import Candidate, Evaluation, Fidelity, Outcome, from_json
from nas.base.seeding import make_generator
from nas.data.datasets import load_search_data
from nas.data.sources import DATASETS, Digits, SourceEntry
from nas.evaluation import EvaluationSettings
from nas.evaluation.evaluate import evaluate
from nas.evaluation.scores import load_scores
from nas.networks.build import new_network
from nas.networks.stored import load_weights
from nas.runs.trial import TrialPlan
from search_spaces.network import build_network
from tests.builders import TINY_TRAINING, generator, tiny_data, tiny_images, tiny_space

CANDIDATE = Candidate(3, tiny_space().largest(), 77)


@pytest.fixture
def plan(tmp_path: Path) -> TrialPlan:
    evaluation = EvaluationSettings(attack=Pgd(steps=2))
    return TrialPlan(tiny_space(), tiny_data(), ThreatModel(epsilon=0.05), TINY_TRAINING, evaluation, "cpu", tmp_path)


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def refuse(*_: object) -> None:
        raise AssertionError("trained again")

    return lambda: monkeypatch.setattr(nas.runs.trial, "train_epoch", refuse)


def test_a_trial_leaves_its_log_its_weights_and_its_evaluation(plan: TrialPlan) -> None:
    outcome = plan(CANDIDATE)
    assert outcome.error is None
    assert outcome.evaluation is not None
    assert outcome.evaluation.split == "validation"
    assert outcome.evaluation.num_images == len(plan.data.validation)
    folder = plan.folder / "00003"
    assert {path.name for path in folder.iterdir()} == {
        "log.jsonl",
        "model.safetensors",
        "images_attack.safetensors",
        "evaluation.json",
    }
    epochs = [json.loads(line)["epoch"] for line in (folder / "log.jsonl").read_text().splitlines()]
    assert epochs == [1, 2]
    assert 0 < outcome.scoring_seconds < outcome.seconds


def test_a_search_scores_on_the_first_max_images_of_the_validation_images(plan: TrialPlan) -> None:
    data = dataclasses.replace(plan.data, validation=tiny_images(30, seed=1))
    cut = dataclasses.replace(plan, data=data, evaluation=EvaluationSettings(attack=Pgd(steps=2), max_images=10))
    assert plan.data.validation.images.equal(data.validation.images[:10])
    ours, whole = cut(CANDIDATE).evaluation, plan(dataclasses.replace(CANDIDATE, number=4)).evaluation
    assert ours is not None
    assert ours.num_images == 10
    assert ours == whole


def test_a_candidate_climbs_the_ladder_without_another_training(
    plan: TrialPlan, no_training: Callable[[], None]
) -> None:
    def at(fidelity: Fidelity) -> Outcome:
        return plan(dataclasses.replace(CANDIDATE, fidelity=fidelity))

    screened = at("screen")
    no_training()
    outcomes = [screened, at("attack"), at("front")]
    found = [outcome.evaluation for outcome in outcomes if outcome.evaluation is not None]
    assert [evaluation.fidelity for evaluation in found] == ["screen", "attack", "front"]
    assert [len(evaluation.ladder) for evaluation in found] == [1, 2, 2 + len(plan.evaluation.ladder.front)]
    assert found[2].ladder[:2] == found[1].ladder
    robust = [evaluation.robust_accuracy for evaluation in found]
    assert robust == sorted(robust, reverse=True)
    assert found[1].attack == found[2].attack != found[0].attack
    assert found[1].instability == found[2].instability
    assert [o.seconds for o in outcomes] == sorted(o.seconds for o in outcomes)
    assert at("screen") == at("attack") == outcomes[2], "what is finished is returned, however low the rung asked for"
    images = load_scores(plan.folder / "00003" / "images_front.safetensors")
    assert images.robust.double().mean().item() == pytest.approx(robust[2])


def test_a_kill_on_the_way_up_leaves_the_rung_below_as_it_was(
    plan: TrialPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def climb(own: TrialPlan) -> Outcome:
        return own(dataclasses.replace(CANDIDATE, fidelity="front"))

    straight = dataclasses.replace(plan, folder=tmp_path / "straight")
    plan(CANDIDATE), straight(CANDIDATE)
    with monkeypatch.context() as patch:  # killed between the images of the new rung and its evaluation
        patch.setattr(nas.runs.trial, "write_json", _killed)
        with pytest.raises(KeyboardInterrupt):
            climb(plan)
    assert climb(plan).evaluation == climb(straight).evaluation


def test_a_training_in_parts_ends_as_one_in_one_go(plan: TrialPlan, tmp_path: Path) -> None:
    def to(own: TrialPlan, epochs: int | None) -> Outcome:
        return own(dataclasses.replace(CANDIDATE, epochs=epochs))

    whole = dataclasses.replace(plan, folder=tmp_path / "whole")
    first = to(plan, 1)
    assert first.epochs == 1
    assert [passed.epochs for passed in first.halfway] == [1]
    assert first.evaluation is not None
    assert first.halfway[0].scores["robust_accuracy"] == first.evaluation.robust_accuracy
    assert (plan.folder / "00003" / "state.safetensors").exists()
    assert to(plan, 1) == first, "what is finished is returned"
    last, straight = to(plan, None), to(whole, None)
    assert last.epochs is None
    assert last.evaluation == straight.evaluation
    assert last.halfway == first.halfway
    assert last.seconds > first.seconds
    assert not (plan.folder / "00003" / "state.safetensors").exists()
    weights = [(own.folder / "00003" / "model.safetensors").read_bytes() for own in (plan, whole)]
    assert weights[0] == weights[1]
    logs = [(own.folder / "00003" / "log.jsonl").read_text().splitlines() for own in (plan, whole)]
    assert [json.loads(line)["epoch"] for line in logs[0]] == [1, 2]
    assert to(plan, 1) == last, "a search that was killed hears what was reached"


def test_a_kill_before_the_result_of_a_rung_repeats_nothing_but_the_scoring(
    plan: TrialPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = dataclasses.replace(plan, folder=tmp_path / "straight")(CANDIDATE)
    plan(dataclasses.replace(CANDIDATE, epochs=1))
    with monkeypatch.context() as patch:
        patch.setattr(nas.runs.trial, "write_json", _killed)
        with pytest.raises(KeyboardInterrupt):
            plan(CANDIDATE)
    assert plan(CANDIDATE).evaluation == straight.evaluation


@pytest.mark.parametrize("reached", [None, 1], ids=["from the start", "from a rung"])
def test_epochs_that_a_kill_lost_are_not_in_the_log_twice(
    plan: TrialPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reached: int | None
) -> None:
    tracked = plan.training.model_copy(update={"track_every_epoch": True})
    plan = dataclasses.replace(plan, training=tracked)
    straight = dataclasses.replace(plan, folder=tmp_path / "straight")
    straight(CANDIDATE)
    if reached is not None:
        plan(dataclasses.replace(CANDIDATE, epochs=reached))
    with monkeypatch.context() as patch:  # killed when all epochs are in the log, and none of the last ones is kept
        patch.setattr(nas.runs.trial, "save_weights", _killed)
        with pytest.raises(KeyboardInterrupt):
            plan(CANDIDATE)
    plan(CANDIDATE)
    for name in ("log.jsonl", "curve.jsonl"):
        assert (plan.folder / "00003" / name).read_text() == (straight.folder / "00003" / name).read_text()


def test_a_kill_after_the_result_leaves_no_state_of_a_training_that_is_over(
    plan: TrialPlan, monkeypatch: pytest.MonkeyPatch, no_training: Callable[[], None]
) -> None:
    plan(dataclasses.replace(CANDIDATE, epochs=1))
    state = plan.folder / "00003" / "state.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", _killed)
        with pytest.raises(KeyboardInterrupt):
            plan(CANDIDATE)
    assert state.exists()
    no_training()
    assert plan(CANDIDATE).epochs is None
    assert not state.exists()


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_the_stored_weights_have_the_stored_scores(plan: TrialPlan) -> None:
    outcome = plan(CANDIDATE)
    network = build_network(plan.space.spec(CANDIDATE.genotype), generator(5))
    load_weights(plan.folder / "00003" / "model.safetensors", network)
    g = make_generator(77, "evaluation", "attack")
    found = evaluate(network.eval(), plan.data.validation, plan.threat, plan.evaluation, g, split_name="validation")
    assert found == outcome.evaluation


def test_a_tracked_trial_is_scored_after_every_epoch_and_trains_the_same(plan: TrialPlan, tmp_path: Path) -> None:
    tracked = plan.training.model_copy(update={"track_every_epoch": True})
    other = dataclasses.replace(plan, training=tracked, folder=tmp_path / "tracked")
    curve = other.folder / "00003" / "curve.jsonl"
    curve.parent.mkdir(parents=True)
    curve.write_text("left by a trial that was killed")
    assert other(CANDIDATE).evaluation == plan(CANDIDATE).evaluation
    lines = [json.loads(line) for line in curve.read_text().splitlines()]
    assert [line.pop("epoch") for line in lines] == [1, 2]
    scores = [from_json(Evaluation, line) for line in lines]
    assert scores[-1] == other(CANDIDATE).evaluation
    assert scores[0] != scores[-1]


def test_the_same_candidate_gives_the_same_outcome_and_another_seed_another(plan: TrialPlan, tmp_path: Path) -> None:
    elsewhere = dataclasses.replace(plan, folder=tmp_path / "elsewhere")
    first, again = plan(CANDIDATE), elsewhere(CANDIDATE)
    assert first.evaluation == again.evaluation
    weights = [(folder / "00003" / "model.safetensors").read_bytes() for folder in (plan.folder, elsewhere.folder)]
    assert weights[0] == weights[1]
    assert plan(dataclasses.replace(CANDIDATE, number=4, seed=78)).evaluation != first.evaluation


def test_a_repeat_has_a_folder_of_its_own_within_that_of_its_trial(
    plan: TrialPlan, no_training: Callable[[], None]
) -> None:
    first = plan(CANDIDATE)
    repeat = dataclasses.replace(CANDIDATE, seed=78, repeat=2)
    again = plan(repeat)
    assert again.evaluation != first.evaluation
    folder = plan.folder / "00003"
    assert {path.name for path in (folder / "seed_2").iterdir()} == {
        path.name for path in folder.iterdir() if path.is_file()
    }
    no_training()
    assert (plan(CANDIDATE), plan(repeat)) == (first, again)


def test_a_pickled_plan_does_the_same(plan: TrialPlan, tmp_path: Path) -> None:
    copied = pickle.loads(pickle.dumps(dataclasses.replace(plan, folder=tmp_path / "copy")))  # noqa: S301 - our own
    assert copied(CANDIDATE).evaluation == plan(CANDIDATE).evaluation


def test_a_finished_folder_is_not_trained_again(plan: TrialPlan, no_training: Callable[[], None]) -> None:
    first = plan(CANDIDATE)
    no_training()
    assert plan(CANDIDATE) == first


@pytest.mark.parametrize("change", [{"seed": 78}, {"genotype": tiny_space().smallest()}], ids=["seed", "genotype"])
def test_the_folder_of_another_candidate_is_trained_anew(plan: TrialPlan, change: dict[str, object]) -> None:
    first = plan(CANDIDATE)
    other = dataclasses.replace(CANDIDATE, **change)
    found = plan(other)
    assert found.evaluation != first.evaluation
    assert plan(other) == found, "and its own results are stored"


def test_a_damaged_evaluation_is_trained_anew(plan: TrialPlan) -> None:
    first = plan(CANDIDATE)
    path = plan.folder / "00003" / "evaluation.json"
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"[]", b"{}", b'{"candidate": 1}', b"\xff\xfe"):
        path.write_bytes(content)
        assert plan(CANDIDATE).evaluation == first.evaluation
    assert json.loads(path.read_text()).keys() == json.loads(whole).keys()


def test_a_trial_killed_while_training_is_trained_from_the_start(
    plan: TrialPlan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(nas.runs.trial, "save_weights", kill)
        with pytest.raises(KeyboardInterrupt):
            plan(CANDIDATE)
    assert not (plan.folder / "00003" / "evaluation.json").exists()
    whole = dataclasses.replace(plan, folder=tmp_path / "whole")(CANDIDATE)
    assert plan(CANDIDATE).evaluation == whole.evaluation
    assert len((plan.folder / "00003" / "log.jsonl").read_text().splitlines()) == 2


def test_a_diverging_training_is_a_failed_outcome_with_its_traceback(
    plan: TrialPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explosive(*arguments: object) -> torch.nn.Module:
        network = new_network(*arguments)  # type: ignore[arg-type]
        with torch.no_grad():
            network.classifier.weight.fill_(1e38)
        return network

    monkeypatch.setattr("nas.runs.begin.new_network", explosive)
    outcome = plan(CANDIDATE)
    assert outcome.evaluation is None
    assert outcome.error is not None
    assert "nas.base.errors.Diverged: the loss of epoch 1" in outcome.error
    folder = plan.folder / "00003"
    assert (folder / "error.txt").read_text() == outcome.error
    assert not (folder / "evaluation.json").exists()


@pytest.mark.parametrize(
    ("error", "cause"),
    [(ImportError("no package"), "environment"), (MemoryError(), "environment"),
     (torch.OutOfMemoryError("CUDA out of memory"), "environment"),
     (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "environment"),
     (CheckpointError("weights of its parent are gone"), "environment"),
     (UsageError("the attack needs a package"), "environment"),
     (Diverged("the loss is not finite"), "candidate"), (RuntimeError("shapes differ"), "candidate"),
     (ValueError(), "candidate")],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_the_cause_of_a_failure_is_recorded_by_its_type(
    plan: TrialPlan, monkeypatch: pytest.MonkeyPatch, error: Exception, cause: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(nas.runs.trial, "train_epoch", fail)
        outcome = plan(CANDIDATE)
    assert (outcome.evaluation, outcome.cause) == (None, cause)
    assert type(error).__name__ in (plan.folder / "00003" / "error.txt").read_text()


def test_an_attempt_that_succeeds_leaves_no_error_of_the_one_before(plan: TrialPlan) -> None:
    path = plan.folder / "00003" / "error.txt"
    path.parent.mkdir()
    path.write_text("of the attempt before")
    assert plan(CANDIDATE).evaluation is not None
    assert not path.exists()


def test_a_disk_error_is_no_outcome(plan: TrialPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nas.runs.trial, "save_weights", full)
    with pytest.raises(OSError, match="No space left"):
        plan(CANDIDATE)


def test_a_trial_on_real_digits_never_loads_the_test_part(plan: TrialPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = DATASETS["digits"]

    def guarded(settings: Digits, part: str) -> object:
        assert part == "train", "a trial loaded the test images"
        return entry.load(settings, part)

    monkeypatch.setitem(DATASETS, "digits", SourceEntry(entry.settings, guarded))  # type: ignore[arg-type]
    data = load_search_data(Digits(name="digits", limit=100))
    assert dataclasses.replace(plan, data=data)(CANDIDATE).evaluation is not None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_that_ends_with_broken_weights_is_a_failed_outcome(
    plan: TrialPlan, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    # The mean loss of the last epoch can be finite although the last step broke the weights.
    scored = nas.runs.trial.scored_network

    def breaking(*arguments: Any) -> Any:
        network = scored(*arguments)
        network.classifier.weight[0, 0] = value
        return network

    monkeypatch.setattr(nas.runs.trial, "scored_network", breaking)
    outcome = plan(CANDIDATE)
    assert outcome.evaluation is None
    assert "classifier.weight" in str(outcome.error)
    assert not (plan.folder / "00003" / "evaluation.json").exists()
