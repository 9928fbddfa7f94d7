"""A sweep of a config, and the verbs that study it: from two networks and two seeds to tables and pictures."""

import csv
import io
import json
import re
from importlib import import_module
from pathlib import Path

import pytest

from nas.base.errors import RunMismatch
from nas.runs import open_run
from nas.runs.config import load_config
from nas.runs.trial import TrialPlan
from nas.runs.work import sweep
from nas.search.finished import read_records
from nas.studies.curves import CURVES
from nas.studies.paper import COLUMNS
from search_spaces.mobilenet_tiny import preset
from tests.conftest import ROOT
from tests.tiny_run import SWEEP, TRACKED, nas, plan_of, sweep_config, write_config

RUN = "runs/swept"
Capture = pytest.CaptureFixture[str]


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
