"""A sweep of a config, and the verbs that study it: from two networks and two seeds to tables and pictures."""

import csv
import io
import json
import re
import shutil
from importlib import import_module
from pathlib import Path
from statistics import fmean

import pytest

from nas.base.errors import RunMismatch
from nas.base.records import TrialState
from nas.evaluation.scores import load_scores
from nas.runs import open_run
from nas.runs.config import load_config
from nas.runs.trial import TrialPlan
from nas.runs.trial_files import images_path, trial_folder
from nas.runs.work import sweep
from nas.search.finished import read_records
from nas.search.halting import is_spared
from nas.studies.agreement import Verdict
from nas.studies.curves import CURVES, tracked_evaluation
from nas.studies.paper import COLUMNS
from search_spaces.mobilenet_tiny import preset
from tests.conftest import ROOT
from tests.tiny_run import SWEEP, TINY, call, nas, plan_of, sweep_config, write_config

TRACKED = SWEEP.replace("epochs: 1", "epochs: 2\n  track_every_epoch: true")
RUN = "runs/swept"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def _swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("swept")
    config = write_config(folder, TRACKED)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert call(["sweep", config]) == 0
    return folder


@pytest.fixture
def swept(_swept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with tiny.yaml and a finished sweep, as current folder; to be read only."""
    monkeypatch.chdir(_swept)
    return _swept


@pytest.fixture
def swept_copy(_swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(_swept, folder)
    monkeypatch.chdir(folder)
    return folder


def _ignore(_: object) -> None:
    pass


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_that_holds_a_search_is_refused_unchanged(copy: Path) -> None:
    config = load_config(copy / "tiny.yaml")
    before = _contents(copy / "runs")
    with pytest.raises(RunMismatch, match="--run NAME"):
        sweep(config, copy / "runs" / "tiny", _ignore)
    assert _contents(copy / "runs") == before


def test_a_sweep_is_resumed_and_prolonged(swept_copy: Path) -> None:
    folder = swept_copy / RUN
    before, files = read_records(folder / "study.journal"), _contents(folder / "trials")
    config = sweep_config(swept_copy, "sweep.seeds=3", text=TRACKED)
    assert sweep(config, folder, _ignore) == "9 candidates are done"
    after = read_records(folder / "study.journal")
    assert after[:6] == before
    assert [(r.genotype, r.seed) for r in after] == plan_of(config)
    assert {name: content for name, content in _contents(folder / "trials").items() if name in files} == files


@pytest.mark.parametrize("kept", [0, 10, 0.3, 0.7])
def test_a_sweep_killed_while_it_wrote_takes_its_results_from_the_folders(swept_copy: Path, kept: float) -> None:
    journal = swept_copy / RUN / "study.journal"
    before, content = read_records(journal), journal.read_bytes()
    journal.write_bytes(content[: int(kept if kept >= 1 else kept * len(content))])
    weights = {path: path.stat().st_mtime_ns for path in swept_copy.rglob("model.safetensors")}
    sweep(load_config(swept_copy / "tiny.yaml"), swept_copy / RUN, _ignore)
    assert read_records(journal) == before
    assert {path: path.stat().st_mtime_ns for path in swept_copy.rglob("model.safetensors")} == weights


def test_the_verb_trains_theplan_of(swept: Path, capsys: Capture) -> None:
    run = open_run(Path(RUN))
    assert [(record.genotype, record.seed) for record in run.records] == plan_of(run.config)
    ended = nas(capsys, "sweep", "tiny.yaml", "--format", "json")
    assert (ended.code, len(json.loads(ended.out))) == (0, 6)
    again = nas(capsys, "sweep", "tiny.yaml")
    assert (again.code, "6 candidates are done; look closer with nas study table runs/swept" in again.out) == (0, True)
    assert run.records == open_run(Path(RUN)).records


def test_the_table_in_every_format(swept: Path, capsys: Capture) -> None:
    rows = json.loads(nas(capsys, "study", "table", RUN, "--format", "json").out)
    assert [(row["network"], row["seeds"]) for row in rows] == [
        ("W = 0.5, E = 2", 2), ("W = 1, E = 2", 2), ("W = 0.5, E = 4", 2)
    ]  # fmt: skip
    assert rows[0].keys() == {"network", "seeds", *COLUMNS, *(f"{name}_sd" for name in COLUMNS)}
    lines = list(csv.DictReader(io.StringIO(nas(capsys, "study", "table", RUN, "--format", "csv").out)))
    for line, row in zip(lines, rows, strict=True):
        assert line["network"] == row["network"]
        assert all(float(line[name]) == pytest.approx(row[name]) for name in COLUMNS)
    markdown = nas(capsys, "study", "table", RUN, "--format", "markdown").out.splitlines()
    assert {line.count("|") for line in markdown} == {len(COLUMNS) + 3}
    assert len(markdown) == 2 + 3
    printed = nas(capsys, "study", "table", RUN)
    assert (printed.code, "instability is KL / l_inf" in " ".join(printed.out.split())) == (0, True)
    for row in rows:
        assert row["network"] in printed.out
        assert f"{row['params']:,.0f}" in printed.out
        assert f"{row['robust_accuracy']:.3f}" in printed.out


def test_curves_as_rows(swept: Path, capsys: Capture) -> None:
    rows = json.loads(nas(capsys, "study", "curves", RUN, "--format", "json").out)
    assert sorted((row["trial"], row["epoch"]) for row in rows) == [(t, e) for t in range(6) for e in (1, 2)]
    records = open_run(Path(RUN)).records
    for row in rows:
        if row["epoch"] == 2:
            scored = records[row["trial"]].evaluation
            assert [row[name] for name, _ in CURVES] == [getattr(scored, name) for name, _ in CURVES]
    lines = list(csv.DictReader(io.StringIO(nas(capsys, "study", "curves", RUN, "--format", "csv").out)))
    assert [float(line["robust_accuracy"]) for line in lines] == [row["robust_accuracy"] for row in rows]
    printed = nas(capsys, "study", "curves", RUN)
    assert all(title in printed.out for _, title in CURVES)
    assert "--png FILE" in printed.err


def test_curves_as_a_picture_and_an_offline_page(swept: Path, tmp_path: Path, capsys: Capture) -> None:
    png, html = tmp_path / "new" / "a.png", tmp_path / "new" / "a.html"
    assert nas(capsys, "study", "curves", RUN, "--png", png, "--html", html).code == 0
    content = png.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    assert width > 3 * height > 1000
    assert 20_000 < len(content) < 1_000_000
    page = html.read_text()
    assert not re.search(r"<(script|link|img|iframe)[^>]*\s(src|href)\s*=", page), "the page loads something"
    for text in ("swept: scores after every epoch", "W = 0.5, E = 4", "40 validation images", *(t for _, t in CURVES)):
        assert text in page


def test_insights_as_a_table_and_as_json(swept: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("nas.studies.kendall"), "RESAMPLES", 100)
    found = json.loads(nas(capsys, "study", "insights", RUN, "--format", "json").out)
    assert (found["trials"], found["networks"]) == (6, 3)
    assert found["effects"].keys() == {"W", "E"}
    assert found["predictors"].keys() == {"params", "macs", "lipschitz_bound_log10"}
    assert found["thresholds"]["params"]["at"] is None
    assert found["thresholds"]["params"]["words"].startswith("3 different networks, at least 8 are needed")
    printed = nas(capsys, "study", "insights", RUN)
    assert printed.code == 0
    assert "warning: no intervals and no change points: 3 different networks" in " ".join(printed.out.split())
    assert "6 trials of 3 networks" in printed.out


@pytest.mark.parametrize("verb", ["table", "curves", "insights"])
def test_a_study_of_nothing_says_what_to_do(tmp_path: Path, capsys: Capture, verb: str) -> None:
    missing = nas(capsys, "study", verb, tmp_path / "none")
    assert (missing.code, missing.out) == (2, "")
    assert "nas search CONFIG" in missing.message
    folder = tmp_path / "untrained"
    write_config(tmp_path, SWEEP)
    with pytest.raises(KeyboardInterrupt):
        sweep(load_config(tmp_path / "tiny.yaml"), folder, _interrupt)
    untrained = nas(capsys, "study", verb, folder)
    assert (untrained.code, untrained.out) == (2, "")
    assert "nas sweep" in untrained.message


def _interrupt(_: object) -> None:
    raise KeyboardInterrupt


def test_curves_of_a_run_without_them_says_how_to_get_them(here: Path, capsys: Capture) -> None:
    ended = nas(capsys, "study", "curves", "runs/tiny")
    assert (ended.code, ended.out) == (2, "")
    assert "training.track_every_epoch=true" in ended.message


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["sweep", "tiny.yaml", "--set", "sweep.genotypes=[{width: 3, expand: 2}]", "--run", "x"], "sweep.genotypes"),
        (["sweep", "tiny.yaml", "--set", "sweep.seeds=0"], "sweep.seeds"),
        (
            ["sweep", "tiny.yaml", "--set", "sweep.repeats=2"],
            "allowed: genotypes, sample, spread, uniform, front_of, seeds",
        ),
        (["sweep", "tiny.yaml", "--set", "training.epochs=9"], "training.epochs"),
        (["sweep", "tiny.yaml", "--run", "../up"], "../up"),
        (["study", "table", RUN, "--format", "xml"], "xml"),
        (["study", "insights", RUN, "--format", "csv"], "csv"),
        (["study", "curves", RUN, "--pgn", "x"], "--pgn"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_gets_one_message(swept: Path, capsys: Capture, arguments: list[str], named: str) -> None:
    ended = nas(capsys, *arguments)
    assert (ended.code, ended.out) == (2, ""), ended.err
    assert named in ended.message


def test_ctrl_c_keeps_what_is_finished(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(tmp_path, SWEEP)
    monkeypatch.chdir(tmp_path)
    trained = _interrupted(monkeypatch, stop_at=3)
    ended = nas(capsys, "sweep", "tiny.yaml")
    assert (ended.code, ended.out) == (130, "")
    assert "the same command goes on from there" in " ".join(ended.err.split())
    assert [record.number for record in open_run(Path(RUN)).records] == [0, 1]
    trained.clear()
    assert nas(capsys, "sweep", "tiny.yaml").code == 0
    assert trained == [2, 3, 4, 5]


def _interrupted(monkeypatch: pytest.MonkeyPatch, stop_at: int) -> list[int]:
    """Numbers of the candidates trained from here on; Ctrl-C comes once, with the training `stop_at`."""
    trained: list[int] = []
    plain, left = TrialPlan.__call__, [stop_at]

    def interrupted(plan: TrialPlan, candidate: object) -> object:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        trained.append(candidate.number)  # type: ignore[attr-defined]
        return plain(plan, candidate)  # type: ignore[arg-type]

    monkeypatch.setattr(TrialPlan, "__call__", interrupted)
    return trained


@pytest.mark.parametrize(
    ("name", "networks"),
    [
        ("mousavi_width", ["w0.35_e6", "w0.65_e6", "w1.0_e6"]),
        ("mousavi_expand", ["w0.35_e6", "w0.35_e10", "w0.35_e20", "w0.35_e29"]),
    ],
)
def test_the_paper_configs_train_the_networks_of_its_tables(name: str, networks: list[str]) -> None:
    config = load_config(ROOT / "configs" / "paper" / f"{name}.yaml")
    plan = plan_of(config, (3, 32, 32))
    assert [genotype.key for genotype, _ in plan] == 3 * [preset(f"mousavi_{network}").key for network in networks]
    assert config.training.track_every_epoch


def test_the_study_on_digits_varies_as_the_paper_does() -> None:
    config = load_config(ROOT / "configs" / "paper" / "mousavi_digits.yaml")
    assert [tuple(genotype.values.values()) for genotype, _ in plan_of(config)] == 3 * [
        (0.35, 6), (0.65, 6), (1.0, 6), (0.35, 10), (0.35, 20)
    ]  # fmt: skip


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
