"""Seeds of a front's members in a real run folder, and what the verbs say of them."""

import csv
import io
import json
import re
import shutil
from pathlib import Path
from statistics import fmean

import pytest
from rich.console import Console

import nas.runs.trial
from nas.base.records import Evaluation, from_json
from nas.pareto import ParetoFront
from nas.report.live import live_progress
from nas.runs import Run, open_run
from nas.runs.members import sure_front, trainings_of
from nas.search.problem import Progress
from tests.builders import trial
from tests.tiny_run import call
from tests.tiny_run import nas as verb

RUN = "runs/tiny"
INTERVALS = ("front", RUN, "--intervals")
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def _seeded(workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the workplace whose front has two seeds."""
    folder = tmp_path_factory.mktemp("seeded") / "copy"
    shutil.copytree(workplace, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        before = open_run(Path(RUN)).records
        assert call(["search", "tiny.yaml", "--set", "evaluation.seeds=2", "--format", "json"]) == 0
        assert open_run(Path(RUN)).records == before, "the study is left as it is"
    return folder


@pytest.fixture
def seeded(_seeded: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The run with two seeds, to be read only; its workplace is the current folder."""
    monkeypatch.chdir(_seeded)
    return open_run(Path(RUN))


@pytest.fixture
def writable(_seeded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A copy of the run with two seeds."""
    shutil.copytree(_seeded, tmp_path / "again")
    monkeypatch.chdir(tmp_path / "again")
    return open_run(Path(RUN))


def test_the_members_and_nobody_else_have_a_second_training(seeded: Run) -> None:
    members = {record.number for record in seeded.front().records}
    assert members
    for record in seeded.records:
        own = seeded.trials_folder / f"{record.number:05d}"
        assert (own / "seed_1").exists() == (record.number in members)
        if record.number in members:
            found = trainings_of(seeded, record)
            assert list(found) == [0, 1]
            assert found[0] == record.evaluation
            assert found[1] != found[0]
            assert (found[1].fidelity, len(found[1].ladder)) == (found[0].fidelity, len(found[0].ladder))
            stored = json.loads((own / "seed_1" / "evaluation.json").read_text())
            assert (stored["candidate"]["repeat"], stored["candidate"]["number"]) == (1, record.number)
            images = {f"images_{rung}.safetensors" for rung in ("screen", "attack", "front")}
            names = {"log.jsonl", "model.safetensors", "evaluation.json"} | images
            assert {path.name for path in (own / "seed_1").iterdir()} == names


def test_the_same_search_again_trains_nothing_and_fewer_seeds_lose_nothing(
    writable: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(nas.runs.trial, "train_epoch", refuse)
    for seeds in ("2", "1"):
        ended = verb(capsys, "search", "tiny.yaml", "--set", f"evaluation.seeds={seeds}")
        assert ended.code == 0, ended.err
        assert ("2 seeds each" in ended.out) == (seeds == "2")
        rows = json.loads(verb(capsys, *INTERVALS, "--format", "json").out)
        assert {row["seeds"]["count"] for row in rows} == {2}


def test_a_training_lost_is_made_again_with_the_same_result(writable: Run, capsys: Capture) -> None:
    record = writable.front().records[0]
    folder = writable.trials_folder / f"{record.number:05d}" / "seed_1"
    before = trainings_of(writable, record)
    shutil.rmtree(folder)
    assert list(trainings_of(writable, record)) == [0]
    assert verb(capsys, "search", "tiny.yaml", "--set", "evaluation.seeds=2").code == 0
    assert trainings_of(writable, record) == before


def test_rows_state_intervals_rank_domination_and_seeds(seeded: Run, capsys: Capture) -> None:
    ended = verb(capsys, *INTERVALS, "--format", "json")
    rows = json.loads(ended.out)
    assert ended.code == 0
    assert "selected for their results" in ended.err
    assert [row["number"] for row in rows] == [record.number for record in seeded.front().records]
    for row, record in zip(rows, seeded.front().records, strict=True):
        evaluations = list(trainings_of(seeded, record).values())
        robust = [evaluation.robust_accuracy for evaluation in evaluations]
        assert row["seeds"]["count"] == 2
        assert row["seeds"]["values"]["robust_accuracy"] == robust
        assert row["seeds"]["mean"]["robust_accuracy"] == pytest.approx(sum(robust) / 2)
        assert row["seeds"]["fresh_mean"]["robust_accuracy"] == robust[1]
        assert row["seeds"]["standard_deviation"]["robust_accuracy"] == pytest.approx(
            abs(robust[0] - robust[1]) / 2**0.5
        )
        interval = row["intervals"]["robust_accuracy"]
        assert 0 <= interval["low"] <= sum(robust) / 2 <= interval["high"] <= 1
        assert row["intervals"]["params"] == {"low": row["params"], "high": row["params"]}
        assert 1 <= row["rank"][0] <= row["rank"][1] <= len(rows)
        assert all(0.01 < share <= 1 for share in row["dominated_by"].values())
    plain = json.loads(verb(capsys, "front", RUN, "--format", "json").out)
    assert [{key: row[key] for key in first} for row, first in zip(rows, plain, strict=True)] == plain


def test_csv_has_flat_columns_of_the_same(seeded: Run, capsys: Capture) -> None:
    rows = json.loads(verb(capsys, *INTERVALS, "--format", "json").out)
    lines = list(csv.DictReader(io.StringIO(verb(capsys, *INTERVALS, "--format", "csv").out)))
    for line, row in zip(lines, rows, strict=True):
        assert float(line["intervals.robust_accuracy.high"]) == row["intervals"]["robust_accuracy"]["high"]
        assert [int(line["rank.low"]), int(line["rank.high"])] == row["rank"]
        assert len(line["seeds.values.robust_accuracy"].split("; ")) == 2
        assert not any(text.startswith(("[", "{")) for text in line.values())


def test_the_table_shows_spread_ties_and_what_it_means(seeded: Run, capsys: Capture) -> None:
    rows = json.loads(verb(capsys, *INTERVALS, "--format", "json").out)
    text = verb(capsys, *INTERVALS).out
    assert re.search(r"\d\.\d{3} ± \d\.\d{3} \d\.\d{3}–\d\.\d{3}", text)
    for low, high in (row["rank"] for row in rows):
        assert (str(low) if low == high else f"{low}–{high}") in text
    assert "rank by robust" in text
    assert "selected for their results" in text
    assert "hypervolume" in text


@pytest.mark.parametrize("objectives", ["", "robust_accuracy,natural_accuracy", "instability,params"])
def test_pictures_with_bars_and_with_boxes(seeded: Run, capsys: Capture, tmp_path: Path, objectives: str) -> None:
    plain, sure, page = tmp_path / "plain.png", tmp_path / "sure.png", tmp_path / "sure.html"
    verb(capsys, "front", RUN, "--objectives", objectives, "--png", plain)
    assert (
        verb(capsys, *INTERVALS, "--objectives", objectives, "--png", sure, "--html", page, "--pick", "knee").code == 0
    )
    assert sure.read_bytes().startswith(b"\x89PNG")
    assert sure.read_bytes() != plain.read_bytes()
    assert '"low":[' in page.read_text()


def test_an_empty_front_has_no_intervals(seeded: Run, capsys: Capture, tmp_path: Path) -> None:
    nothing = [*INTERVALS, "--where", "params<=1"]
    assert json.loads(verb(capsys, *nothing, "--format", "json").out) == []
    assert (
        "the front is empty" in verb(capsys, *nothing, "--png", tmp_path / "a.png", "--html", tmp_path / "a.html").out
    )
    assert verb(capsys, *nothing, "--format", "csv").code == 0


def test_the_selection_effect_stands_under_the_front_in_every_format(
    seeded: Run, capsys: Capture, tmp_path: Path
) -> None:
    records = seeded.front().records
    trainings = [[e.robust_accuracy for e in trainings_of(seeded, record).values()] for record in records]
    effect = fmean(own - fresh for own, fresh in trainings)
    line = f"same {len(records)} networks by robust accuracy {effect:.2g}"
    page = tmp_path / "front.html"
    assert line in verb(capsys, "front", RUN, "--html", page).out
    assert line in verb(capsys, *INTERVALS).out
    assert line in page.read_text()
    for words in (("front", RUN), INTERVALS):
        ended = verb(capsys, *words, "--format", "json")
        assert line in ended.err
        assert all(line in row["notes"][-1] for row in json.loads(ended.out))


def test_what_was_not_measured_is_left_out_of_fronts_and_the_reason_is_said(
    seeded: Run, capsys: Capture, tmp_path: Path
) -> None:
    count = sum(r.evaluation is not None and r.reused_from is None for r in seeded.records)
    reason = f"lipschitz_maximised is not known of {count} of {count} trials (trials all), which are left out"
    drawn = ("--png", tmp_path / "a.png", "--html", tmp_path / "a.html")
    for words in (
        ("front", RUN, "--objectives", "lipschitz_maximised", *drawn),
        ("front", RUN, "--objectives", "robust_accuracy,lipschitz_maximised", "--intervals", *drawn),
        ("front", RUN, "--where", "lipschitz_maximised<=3", *drawn),
        ("front", RUN, "--where", "lipschitz_maximised>=0.1"),
    ):
        ended = verb(capsys, *words)
        assert (ended.code, "the front is empty" in ended.out, reason in ended.out) == (0, True, True), words
    ended = verb(capsys, "front", RUN, "--where", "lipschitz_maximised<=3", "--format", "json")
    assert (ended.out.strip(), reason in ended.err) == ("[]", True)
    assert reason in (tmp_path / "a.html").read_text()


def test_show_lists_the_seeds(seeded: Run, capsys: Capture) -> None:
    number = seeded.front().records[0].number
    shown = verb(capsys, "show", RUN, str(number)).out
    assert "trainings from different seeds" in shown
    assert "standard deviation" in shown
    record = json.loads(verb(capsys, "show", RUN, str(number), "--format", "json").out)
    found = {int(seed): from_json(Evaluation, data) for seed, data in record["seeds"].items()}
    assert found == trainings_of(seeded, seeded.records[number])


def test_one_training_each_is_said_and_shows_no_spread(here: Path, capsys: Capture) -> None:
    ended = verb(capsys, *INTERVALS, "--format", "json")
    assert "for other images, not for other trainings" in ended.err
    for row in json.loads(ended.out):
        assert row["seeds"]["count"] == 1
        assert row["seeds"]["standard_deviation"]["robust_accuracy"] is None
        assert row["seeds"]["fresh_mean"]["robust_accuracy"] is None
        assert row["rank"] is not None
    assert "±" not in verb(capsys, *INTERVALS).out
    assert "trainings from different seeds" not in verb(capsys, "show", RUN, "0").out


@pytest.mark.parametrize("damage", ["missing", "damaged", "does not belong"])
def test_without_scores_image_by_image_wilsons_intervals_remain(writable: Run, capsys: Capture, damage: str) -> None:
    record = writable.front().records[0]
    path = writable.trials_folder / f"{record.number:05d}" / "images_front.safetensors"
    if damage == "missing":
        path.unlink()
    elif damage == "damaged":
        path.write_bytes(path.read_bytes()[:100])
    else:
        data = json.loads((path.parent / "seed_1" / "evaluation.json").read_text())
        data["outcome"]["evaluation"]["robust_accuracy"] = 0.987
        (path.parent / "seed_1" / "evaluation.json").write_text(json.dumps(data))
    ended = verb(capsys, *INTERVALS, "--format", "json")
    assert damage in ended.err
    assert "only Wilson's" in ended.err
    (row,) = [row for row in json.loads(ended.out) if row["number"] == record.number]
    assert (row["rank"], row["dominated_by"], row["seeds"]["count"]) == (None, None, 2)
    assert row["intervals"]["robust_accuracy"] == row["robust_interval"]
    assert "instability" not in row["intervals"]
    assert verb(capsys, *INTERVALS, "--png", "a.png", "--html", "a.html").code == 0
    assert verb(capsys, *INTERVALS, "--format", "csv").code == 0


@pytest.mark.parametrize("content", ["{", "[]", '{"outcome": {"evaluation": null}}'])
def test_a_damaged_evaluation_of_another_seed_is_named_with_what_to_do(
    writable: Run, capsys: Capture, content: str
) -> None:
    number = writable.front().records[0].number
    (writable.trials_folder / f"{number:05d}" / "seed_1" / "evaluation.json").write_text(content)
    ended = verb(capsys, *INTERVALS)
    assert ended.code == 2
    for part in ("seed_1/evaluation.json is damaged", "remove it and run `nas search CONFIG`", "all others are kept"):
        assert part in ended.message


def test_members_that_were_attacked_less_or_trained_less_are_named(seeded: Run) -> None:
    first = seeded.front().records[0]
    lacking = [r for r in seeded.records if r.is_feasible and r.reused_from is None and r not in seeded.front().records]
    evaluated = [first, *lacking][:2]
    notes = " ".join(sure_front(seeded, ParetoFront(tuple(evaluated), seeded.config.parsed_objectives)).notes)
    fidelities = {r.evaluation.fidelity for r in evaluated if r.evaluation}
    assert ("not all were attacked as hard" in notes) == (len(fidelities) > 1)
    assert (f"fewer than 2 trainings: trial {evaluated[-1].number}" in notes) == (len(evaluated) > 1)


def test_the_progress_of_more_seeds_is_shown() -> None:
    progress = Progress(4, 1, 1.0, 0, 0, 1, 0, 1, 0.5, 2, 0.4, 10.0, trial(3), repeat=2)
    log = Console(record=True, width=100)
    with live_progress(log, "tiny") as (report, _):
        report(progress)
    assert "[1/4] trial 3 seed 2 complete" in log.export_text()
    screen = Console(record=True, width=100, force_terminal=True, file=io.StringIO())
    with live_progress(screen, "tiny") as (report, _):
        report(progress)
        assert isinstance(screen.file, io.StringIO)
    assert "more seeds for the front" in screen.file.getvalue()
