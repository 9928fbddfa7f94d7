"""Retraining: killed and resumed it ends the same; finished it is only read."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import nas.runs.retrain
import nas.training.resumable
from nas.attacks import Pgd
from nas.attacks.threat import ThreatModel
from nas.base.errors import CheckpointError, RunLocked
from nas.base.files import exclusive
from nas.base.records import Costs, TrialRecord, TrialState, to_json
from nas.base.seeding import derive_seed
from nas.data.datasets import load_search_data
from nas.data.facts import check_same_data
from nas.data.sources import Digits
from nas.evaluation import EvaluationSettings
from nas.evaluation.course import AttackReport
from nas.pareto import Pick
from nas.runs import Run
from nas.runs.checkpoint import evaluate_checkpoint, load_checkpoint
from nas.runs.config import RunConfig
from nas.runs.retrain import CurvePoint, retrain
from nas.runs.retrain_settings import Retraining
from tests.builders import TINY_LADDER, TINY_SETTINGS, TINY_TRAINING, evaluation

EPOCHS = 4


def make_run(folder: Path, **changes: object) -> Run:
    fields = {**TINY_TRAINING.model_dump(), "epochs": EPOCHS, "validate_every": 2, "validation_attack": Pgd(steps=1)}
    config = RunConfig(
        name="tiny",
        data=Digits(name="digits", limit=60, test_limit=40),
        space=TINY_SETTINGS,
        threat=ThreatModel(epsilon=0.05),
        evaluation=EvaluationSettings(attack=Pgd(steps=2), batch_size=32, ladder=TINY_LADDER),
        retrain=Retraining(**{**fields, **changes}),
        device="cpu",
    )
    folder.mkdir(exist_ok=True)
    check_same_data(load_search_data(config.data), folder / "data.json")
    return Run(folder, config)


def picked(run: Run, number: int = 5) -> Pick:
    genotype = run.space.largest()
    record = TrialRecord(number, genotype, 7, TrialState.COMPLETE, Costs(1, 2, 3, 4), evaluation())
    return Pick(record, "because")


def quiet(point: CurvePoint, total: int) -> None:
    assert total == EPOCHS


def kill_after(epoch: int) -> Callable[[CurvePoint, int], None]:
    def report(point: CurvePoint, total: int) -> None:
        if point.epoch == epoch:
            raise KeyboardInterrupt

    return report


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted retraining, only read by the tests."""
    run = make_run(tmp_path_factory.mktemp("run") / "whole")
    folder, _ = retrain(run, picked(run), quiet)
    return folder


def results(folder: Path) -> dict[str, bytes]:
    names = ("model.safetensors", "genotype.json", "evaluation.json", "curve.csv")
    return {name: (folder / name).read_bytes() for name in names}


def test_a_retraining_leaves_the_network_its_description_and_its_curve(whole: Path) -> None:
    assert whole.name == "00005"
    files = {path.name for path in whole.iterdir()} - {".lock", "curve.jsonl"}
    assert files == {"model.safetensors", "genotype.json", "evaluation.json", "curve.csv", "curve.png"}
    assert (whole / "curve.png").read_bytes().startswith(b"\x89PNG")
    described = json.loads((whole / "genotype.json").read_text())
    assert described["picked"] == "because"
    assert described["selected_on"] == "validation"
    stored = json.loads((whole / "evaluation.json").read_text())
    assert (stored["split"], stored["num_images"]) == ("test", 40)


def test_the_stored_network_repeats_the_stored_evaluation_exactly(whole: Path) -> None:
    found = evaluate_checkpoint(load_checkpoint(whole), split_name="test", attack=None, device=torch.device("cpu"))
    assert to_json(found) == json.loads((whole / "evaluation.json").read_text())


def test_every_epoch_is_reported_and_validated_ones_have_scores(tmp_path: Path, whole: Path) -> None:
    run = make_run(tmp_path / "run", validate_every=3)
    points: list[CurvePoint] = []
    retrain(run, picked(run), lambda point, total: points.append(point))
    assert [point.epoch for point in points] == [1, 2, 3, 4]
    assert [point.robust_accuracy is not None for point in points] == [False, False, True, True]
    lines = (tmp_path / "run" / "retrained" / "00005" / "curve.csv").read_text().splitlines()
    assert len(lines) == 1 + EPOCHS


def test_the_best_validated_epoch_is_kept_and_named(whole: Path) -> None:
    import pandas as pd

    curve = pd.read_csv(whole / "curve.csv").dropna(subset=["robust_accuracy"])
    best = curve[curve.robust_accuracy == curve.robust_accuracy.max()].epoch.max()
    assert json.loads((whole / "genotype.json").read_text())["selected_epoch"] == best


@pytest.mark.parametrize("epoch", range(1, EPOCHS + 1))
def test_killed_after_any_epoch_and_resumed_it_ends_with_the_same_files(
    tmp_path: Path, whole: Path, epoch: int
) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        retrain(run, picked(run), kill_after(epoch))
    folder = tmp_path / "run" / "retrained" / "00005"
    assert not (folder / "evaluation.json").exists()
    seen: list[int] = []
    retrain(run, picked(run), lambda point, total: seen.append(point.epoch))
    assert seen == list(range(epoch + 1, EPOCHS + 1)), "it trained an epoch twice"
    assert results(folder) == results(whole)


@pytest.mark.parametrize(
    ("function", "call"),
    [("train_epoch", 3), ("save_training", 2), ("write_json", 2), ("save_weights", 1), ("save_checkpoint", 1),
     ("evaluate_checkpoint", 1)],
)  # fmt: skip
def test_killed_at_any_step_and_resumed_it_ends_with_the_same_files(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, function: str, call: int
) -> None:
    run = make_run(tmp_path / "run")
    module = nas.training.resumable if function == "save_training" else nas.runs.retrain
    really, calls = getattr(module, function), 0

    def killed(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt
        return really(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(module, function, killed)
        with pytest.raises(KeyboardInterrupt):
            retrain(run, picked(run), quiet)
    folder, _ = retrain(run, picked(run), quiet)
    assert results(folder) == results(whole)


def test_killed_after_any_attack_of_the_final_evaluation_it_repeats_none_and_ends_with_the_same_files(
    tmp_path: Path, whole: Path
) -> None:
    run, begun, folder = make_run(tmp_path / "run"), [], tmp_path / "run" / "retrained" / "00005"

    def report(found: AttackReport) -> None:
        if found.rung is None:
            begun.append(found.attack["name"])
        elif found.attack["name"] != "square":
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            retrain(run, picked(run), quiet, report_attack=report)
        assert not (folder / "evaluation.json").exists()
    retrain(run, picked(run), quiet, report_attack=report)
    assert begun == ["pgd", "apgd", "square"]
    assert results(folder) == results(whole)
    assert {path.name for path in folder.iterdir()} == {path.name for path in whole.iterdir()}


def test_what_is_to_come_is_foreseen_before_the_first_epoch(tmp_path: Path) -> None:
    run, seen = make_run(tmp_path / "run"), []
    with pytest.raises(KeyboardInterrupt):
        retrain(run, picked(run), kill_after(3), foresee=lambda data, epochs: seen.append((len(data.train), epochs)))
    with pytest.raises(KeyboardInterrupt):
        retrain(run, picked(run), kill_after(4), foresee=lambda data, epochs: seen.append((len(data.train), epochs)))
    assert seen == [(48, 4), (48, 1)]


def test_a_finished_retraining_is_only_read(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(nas.runs.retrain, "train_epoch", refuse)
    before = results(whole)
    run = make_run(whole.parent.parent)
    folder, found = retrain(run, picked(run), quiet)
    assert folder == whole
    assert to_json(found) == json.loads(before["evaluation.json"])
    assert results(whole) == before


def test_a_finished_retraining_with_other_settings_is_refused(whole: Path) -> None:
    run = make_run(whole.parent.parent, learning_rate=0.06)
    with pytest.raises(CheckpointError, match=r"other settings \(retrain.learning_rate was .*, is 0.06\); --name NAME"):
        retrain(run, picked(run), quiet)


def test_a_half_done_retraining_with_other_settings_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        retrain(run, picked(run), kill_after(1))
    other = make_run(tmp_path / "run", beta=1.0)
    with pytest.raises(CheckpointError, match=r"other settings \(retrain.beta was .*, is 1.0\); --name NAME"):
        retrain(other, picked(other), quiet)


def test_a_damaged_result_is_refused_with_what_to_do(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    folder = tmp_path / "run" / "retrained" / "00005"
    folder.mkdir(parents=True)
    (folder / "evaluation.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"damaged.*remove it"):
        retrain(run, picked(run), quiet)


def test_two_retrainings_of_one_trial_at_once_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    folder = tmp_path / "run" / "retrained" / "00005"
    folder.mkdir(parents=True)
    with exclusive(folder), pytest.raises(RunLocked):
        retrain(run, picked(run), quiet)


def test_two_trials_of_one_architecture_become_one_network(tmp_path: Path, whole: Path) -> None:
    # The seed belongs to the architecture: neither the trial's number nor its seed matters.
    run = make_run(tmp_path / "run")
    folder, _ = retrain(run, picked(run, number=9), quiet)
    assert folder.name == "00009"
    assert results(folder)["model.safetensors"] == results(whole)["model.safetensors"]


def test_the_test_images_are_loaded_only_after_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nas.data.sources import DATASETS, SourceEntry

    entry, order = DATASETS["digits"], []

    def noted(settings: Digits, part: str) -> object:
        order.append(part)
        return entry.load(settings, part)

    run = make_run(tmp_path / "run")
    monkeypatch.setitem(DATASETS, "digits", SourceEntry(entry.settings, noted))  # type: ignore[arg-type]
    retrain(run, picked(run), lambda point, total: order.append(point.epoch))
    assert order == ["train", 1, 2, 3, 4, "test"]


def test_losses_of_the_curve_are_finite(whole: Path) -> None:
    import pandas as pd

    assert all(math.isfinite(value) for value in pd.read_csv(whole / "curve.csv").loss)


def test_two_retrainings_of_a_trial_stand_side_by_side(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Begun(Exception):
        pass

    def begin(*_: object) -> None:
        raise Begun

    monkeypatch.setattr(nas.runs.retrain, "train_epoch", begin)
    run = make_run(whole.parent.parent, learning_rate=0.06)
    with pytest.raises(Begun):
        retrain(run, picked(run), quiet, name="slow")
    assert (whole.parent / f"{whole.name}-slow" / "settings.json").exists()
    assert not (whole / "settings.json").exists(), "a finished one is described by genotype.json"


def test_another_seed_is_another_training_and_the_first_keeps_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Begun(Exception):
        pass

    seeds: list[int] = []

    def begin(state: object, *_: object) -> None:
        seeds.append(state.generator.initial_seed())  # type: ignore[attr-defined]
        raise Begun

    monkeypatch.setattr(nas.runs.retrain, "train_epoch", begin)
    for seed in (0, 1, 1, 2):
        run = make_run(tmp_path / f"run-{len(seeds)}")
        settings = run.config.retrain.model_copy(update={"seed": seed})
        again = Run(run.folder, run.config.model_copy(update={"retrain": settings}))
        with pytest.raises(Begun):
            retrain(again, picked(again), quiet)
    assert seeds[1] == seeds[2]
    assert len(set(seeds)) == 3
    of_older_versions = derive_seed(run.config.search.seed, "retrain", picked(run).record.genotype.key)
    assert seeds[0] == derive_seed(of_older_versions, "training")
