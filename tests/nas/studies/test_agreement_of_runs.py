"""The verb `nas study agreement`, and runs that met different attacks: what is compared, and what is refused."""

import csv
import io
import json
import shutil
from pathlib import Path
from statistics import fmean

import pytest

from nas.base.records import TrialState
from nas.evaluation.scores import load_scores
from nas.runs import open_run
from nas.runs.trial_files import images_path, trial_folder
from nas.search.halting import is_spared
from nas.studies.agreement import Verdict
from nas.studies.curves import tracked_evaluation
from tests.tiny_run import TINY, call, nas, write_config

RUN = "runs/swept"
Capture = pytest.CaptureFixture[str]
HALTED = TINY.replace("epochs: 1", "epochs: 3\n  track_every_epoch: true").replace("trials: 3", "trials: 8") + (
    "objectives: [robust_accuracy, natural_accuracy, params]\n"
)
WITH_HALTING = ("--set", "search.halting={epochs: [1, 2], keep: 0.5, spared: 0.5}")


@pytest.fixture(scope="module")
def _halted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a search that halts candidates, and one of the same networks that halts none."""
    folder = tmp_path_factory.mktemp("halted")
    config = write_config(folder, HALTED)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert call(["search", config, "--run", "whole", "--set", "search.sampler=random"]) == 0
        assert call(["search", config, "--run", "halted", "--set", "search.sampler=random", *WITH_HALTING]) == 0
    return folder


@pytest.fixture
def halted(_halted: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of both searches as current folder; to be read only."""
    monkeypatch.chdir(_halted)
    return _halted


def test_agreement_of_a_halted_search_tells_the_spared_from_the_survivors(halted: Path, capsys: Capture) -> None:
    found = json.loads(nas(capsys, "study", "agreement", "runs/halted", "--format", "json").out)
    records = open_run(Path("runs/halted")).records
    complete = [r for r in records if r.state is TrialState.COMPLETE and r.reused_from is None]
    counts = {"spared": sum(is_spared(r.seed, 0.5) for r in complete), "survivors": len(complete)}
    assert 0 < counts["spared"] < counts["survivors"] < 8
    assert {(row["sample"], row["pairs"]) for row in found["agreement"]} == set(counts.items())
    assert {row["epochs"] for row in found["agreement"]} == {1, 2}
    assert all(("biased" in row["words"]) == (row["sample"] == "survivors") for row in found["agreement"])
    assert [(one["epochs"], one["verdict"]) for one in found["verdicts"]] == [(1, "unknown"), (2, "unknown")]
    assert found["halting"] == {"epochs": [1, 2], "keep": 0.5, "spared": 0.5}
    lines = list(csv.DictReader(io.StringIO(nas(capsys, "study", "agreement", "runs/halted", "--format", "csv").out)))
    assert [line["metric"] for line in lines] == [row["metric"] for row in found["agreement"]]
    printed = nas(capsys, "study", "agreement", "runs/halted")
    assert "survivors (biased)" in printed.out
    assert f"note: whether halting at epoch 2 is safe cannot be told yet: {counts['spared']} of 10" in printed.out


@pytest.mark.usefixtures("halted")
def test_agreement_with_another_run_is_over_the_networks_in_common(capsys: Capture) -> None:
    found = json.loads(nas(capsys, "study", "agreement", "runs/whole", "--with", "runs/whole", "--format", "json").out)
    own = [row for row in found["agreement"] if row["compared"] == "run"]
    assert {(row["sample"], row["pairs"], round(row["tau"], 9)) for row in own} == {("all", 8, 1.0)}
    halted, whole = (
        {r.genotype.key for r in open_run(Path("runs", name)).records if r.state is TrialState.COMPLETE}
        for name in ("halted", "whole")
    )
    both = json.loads(nas(capsys, "study", "agreement", "runs/halted", "--with", "runs/whole", "--format", "json").out)
    wanted = ("run", "survivors", "robust_accuracy")
    (row,) = (r for r in both["agreement"] if (r["compared"], r["sample"], r["metric"]) == wanted)
    assert row["pairs"] == len(halted & whole) > 1
    # One seed for each architecture, and the stages of epochs change no training.
    assert row["tau"] == pytest.approx(1)
    missing = nas(capsys, "study", "agreement", "runs/whole", "--with", "runs/none")
    assert (missing.code, "no run in runs/none" in missing.message) == (2, True)


@pytest.mark.usefixtures("halted")
def test_a_table_of_a_search_is_under_the_attacks_that_all_met(capsys: Capture) -> None:
    ladders = {r.genotype.key: r.evaluation.ladder for r in open_run(Path("runs/whole")).records if r.evaluation}
    met = min(map(len, ladders.values()))
    assert met < max(map(len, ladders.values()))
    said = nas(capsys, "study", "table", "runs/whole", "--format", "json")
    expected = sorted(ladder[met - 1].robust_accuracy for ladder in ladders.values())
    assert sorted(row["robust_accuracy"] for row in json.loads(said.out)) == expected
    assert "compared under 40 validation images" in said.err
    assert "trials met further attacks, which do not count here" in said.err


@pytest.mark.usefixtures("halted")
def test_curves_name_the_attack_that_was_made_after_every_epoch() -> None:
    run = open_run(Path("runs/whole"))
    assert max(len(record.evaluation.ladder) for record in run.records if record.evaluation) > 1
    tracked = tracked_evaluation(run.records, run.trials_folder)
    assert [rung.attack["name"] for rung in tracked.ladder] == [run.config.evaluation.attack.name]
    assert tracked.attack["steps"] == 2


def test_agreement_is_drawn_where_there_are_rungs(halted: Path, tmp_path: Path, capsys: Capture) -> None:
    png = tmp_path / "new" / "a.png"
    assert nas(capsys, "study", "agreement", "runs/halted", "--png", png).code == 0
    assert png.read_bytes().startswith(b"\x89PNG")
    assert 20_000 < png.stat().st_size < 500_000


def test_agreement_of_a_sweep_counts_networks_and_not_trainings(swept: Path, capsys: Capture) -> None:
    found = json.loads(nas(capsys, "study", "agreement", RUN, "--format", "json").out)
    robust = [row for row in found["agreement"] if row["metric"] == "robust_accuracy"]
    assert [(row["epochs"], row["sample"], row["pairs"], row["networks"]) for row in robust] == [(1, "all", 6, 3)]
    assert robust[0]["low"] is None, "three networks, however often trained, bear no interval"
    assert "no interval: 3 networks" in robust[0]["words"]
    assert found["verdicts"] == []


def test_agreement_of_a_run_without_rungs_says_how_to_get_them(here: Path, tmp_path: Path, capsys: Capture) -> None:
    ended = nas(capsys, "study", "agreement", "runs/tiny")
    assert (ended.code, ended.out) == (2, "")
    for setting in ("search.halting.epochs", "training.track_every_epoch=true", "search.prescreen", "--with RUN"):
        assert setting in ended.message
    undrawn = nas(capsys, "study", "agreement", "runs/tiny", "--with", "runs/tiny", "--png", tmp_path / "a.png")
    assert (undrawn.code, "no stage of epochs to draw" in undrawn.message) == (2, True)


def test_a_search_warns_where_halting_is_not_safe(
    halted: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(halted, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    again = ("search", "tiny.yaml", "--run", "halted", "--set", "search.sampler=random", *WITH_HALTING)
    ended = nas(capsys, *again)
    assert ended.code == 0
    assert ended.err.count("note: whether halting at epoch 1 is safe cannot be told yet") == 1
    verdict = Verdict(1, "unsafe", "halting at epoch 1 is not safe here")
    monkeypatch.setattr("nas.studies.agreement.safety", lambda *_: [verdict, Verdict(2, "safe", "all is well")])
    ended = nas(capsys, *again, "--format", "json")
    assert "warning: halting at epoch 1 is not safe here" in ended.err
    assert "all is well" not in ended.err
    json.loads(ended.out)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path / "copy")
    alone = nas(
        capsys, "search", "tiny.yaml", "--set", "search.halting.epochs=[1,2]", "--set", "search.halting.keep=0.4",
        "--set", "search.trials=2",
    )  # fmt: skip
    assert alone.err.count("no candidate goes on by lot; set search.halting.spared") == 1, "once for both rungs"


def test_a_search_and_a_sweep_of_its_front_are_compared_under_one_attack(copy: Path, capsys: Capture) -> None:
    sweep = ("sweep", "tiny.yaml", "--run", "again", "--set", "sweep={front_of: runs/tiny, seeds: 1}")
    assert nas(capsys, *sweep).code == 0
    searched, swept = open_run(Path("runs/tiny")), open_run(Path("runs/again"))
    said = nas(capsys, "compare", "runs/again", "runs/tiny", "--format", "json")
    first, second = json.loads(said.out)
    assert first["networks"] == len(searched.front().records) == len(swept.records)
    assert first["robust_accuracy"] == fmean(r.evaluation.robust_accuracy for r in swept.records)  # type: ignore[union-attr]
    note = " ".join(said.err.split())
    assert "compared under 40 validation images, linf ε = 0.1, pgd (" in note
    assert f"{first['networks']} of {2 * first['networks']} trials met further attacks, which do not count" in note
    images = [load_scores(images_path(trial_folder(searched.trials_folder, r.number), "front"))
              for r in searched.front().records]  # fmt: skip
    alone = fmean(float((one.natural & ~one.fell).double().mean()) for one in images)
    assert second["robust_accuracy"] == pytest.approx(alone), "under PGD alone, not the worst case of the whole ladder"


def test_runs_on_other_images_are_not_compared(copy: Path, capsys: Capture) -> None:
    shutil.copytree("runs/tiny", "runs/other")
    facts = json.loads(Path("runs/other/data.json").read_text())
    changed = {**facts, "train": 159, "fingerprint": "0" * 16}
    Path("runs/other/data.json").write_text(json.dumps(changed))
    for verb in (("compare", "runs/tiny", "runs/other"), ("study", "agreement", "runs/tiny", "--with", "runs/other")):
        ended = nas(capsys, *verb)
        assert (ended.code, ended.out) == (2, "")
        for text in ("different images", "train 160 against 159", facts["fingerprint"], "0" * 16):
            assert text in " ".join(ended.message.split())
