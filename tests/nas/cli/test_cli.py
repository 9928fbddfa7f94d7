"""The verbs: exit codes, what goes to stdout, and one clear message for every mistake."""

import csv
import errno
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import nas.runs.retrain as nas_runs_retrain
from nas.cli import app
from nas.cli.ending import Terminated
from nas.cli.options import study
from nas.pareto import Pick
from nas.runs import Run
from tests.tiny_run import Ended, nas

RUN = "runs/tiny"
FRONT_KEYS = {"number", "genotype", "params", "macs", "natural_accuracy", "robust_accuracy", "instability",
              "lipschitz_bound_log10", "warnings"}  # fmt: skip
Capture = pytest.CaptureFixture[str]


def test_help_of_every_verb_has_an_example(capsys: Capture) -> None:
    verbs = {command.callback.__name__ for command in app.registered_commands}
    studies = {command.callback.__name__ for command in study.registered_commands}
    assert verbs == {"init", "check", "search", "front", "show", "report", "compare", "retrain", "evaluate", "export",
                     "bench", "sweep"}  # fmt: skip
    assert studies == {"table", "curves", "insights", "agreement", "transfer", "replay", "sweep"}
    for verb in (*verbs, *(f"study {name}" for name in studies)):
        ended = nas(capsys, *verb.split(), "--help")
        assert ended.code == 0
        assert f"Example: nas {verb} " in ended.out


def test_the_help_lists_the_verbs_in_the_order_of_a_days_work(capsys: Capture) -> None:
    listed = re.findall(r"^│ ([a-z]+) ", nas(capsys, "--help").out, re.MULTILINE)
    assert listed == ["init", "check", "search", "front", "show", "report", "compare", "retrain", "evaluate", "export",
                      "bench", "sweep", "study"]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("audit", "nas evaluate --audit"), ("dashboard", "nas report RUN --dashboard"), ("table", "nas study table"),
        ("curves", "nas study curves"), ("insights", "nas study insights"), ("agreement", "nas study agreement"),
        ("transfer", "nas study transfer"), ("replay", "nas study replay"),
    ],
)  # fmt: skip
def test_an_old_name_of_a_verb_says_the_new_one(capsys: Capture, old: str, new: str) -> None:
    for arguments in ([], [RUN, "--format", "json"], ["--help"]):
        ended = nas(capsys, old, *arguments)
        assert (ended.code, ended.out) == (2, "")
        assert ended.message == f"error nas {old} is now {new}\n"


def test_check_says_what_the_search_would_cover(here: Path, capsys: Capture) -> None:
    ended = nas(capsys, "check", "tiny.yaml", "--no-time", "--format", "json")
    facts = json.loads(ended.out)
    assert ended.code == 0
    assert facts["genotypes"] == 16
    each = facts["data"].pop("images_per_class")
    assert facts["data"] == {
        "train": 160, "candidate": 160, "validation": 40, "classes": 10, "input_shape": [1, 8, 8], "warnings": [],
    }  # fmt: skip
    assert sum(counts["train"] for counts in each.values()) == 200
    assert facts["costs"]["params"][0] < facts["costs"]["params"][1]
    assert facts["within_budget"] == 1.0
    table = nas(capsys, "check", "tiny.yaml", "--no-time")
    assert (table.code, "the config is valid" in table.out) == (0, True)


def test_search_on_a_finished_run_prints_its_front(copy: Path, capsys: Capture) -> None:
    ended = nas(capsys, "search", "tiny.yaml", "--format", "json")
    assert ended.code == 0
    assert json.loads(ended.out) == json.loads(nas(capsys, "front", RUN, "--format", "json").out)
    assert "done" in nas(capsys, "search", "tiny.yaml").out


def test_front_as_json_has_the_promised_keys(here: Path, capsys: Capture) -> None:
    rows = json.loads(nas(capsys, "front", RUN, "--format", "json").out)
    assert rows
    for row in rows:
        assert row.keys() >= FRONT_KEYS
        assert 0 <= row["robust_accuracy"] <= row["natural_accuracy"] <= 1
        assert row["genotype"].keys() == {"width_1", "width_2", "expand_2"}
        assert row["warnings"], "40 images and one epoch deserve a warning"


def test_front_as_csv_agrees_with_json(here: Path, capsys: Capture) -> None:
    rows = json.loads(nas(capsys, "front", RUN, "--format", "json").out)
    table = list(csv.DictReader(io.StringIO(nas(capsys, "front", RUN, "--format", "csv").out)))
    assert [(int(line["number"]), float(line["robust_accuracy"]), int(line["params"])) for line in table] == [
        (row["number"], row["robust_accuracy"], row["params"]) for row in rows
    ]


def test_front_as_a_table_states_the_protocol_and_the_reference_point(here: Path, capsys: Capture) -> None:
    text = nas(capsys, "front", RUN).out
    assert "40 validation images, linf ε = 0.1, worst case of pgd (steps 5" in text
    assert "hypervolume" in text
    assert "reference point" in text


def test_front_of_a_subset_and_with_conditions(here: Path, capsys: Capture) -> None:
    smallest = json.loads(nas(capsys, "front", RUN, "--objectives", "params", "--format", "json").out)
    assert len(smallest) == 1
    limit = smallest[0]["params"]
    found = json.loads(nas(capsys, "front", RUN, "--where", f"params<={limit}", "--format", "json").out)
    assert [row["params"] for row in found] == [limit]
    shown = json.loads(nas(capsys, "show", RUN, "best:params", "--where", f"params<={limit}", "--format", "json").out)
    assert shown["number"] in {row["number"] for row in found}
    for verb in (["show", RUN, "knee"], ["retrain", RUN]):
        beyond = nas(capsys, *verb, "--where", "params<=1")
        assert (beyond.code, "the front is empty" in beyond.message) == (2, True)
    nothing = nas(capsys, "front", RUN, "--where", "params<=1", "--format", "json")
    assert (nothing.code, json.loads(nothing.out)) == (0, [])
    assert "the front is empty" in nas(capsys, "front", RUN, "--where", "params<=1").out


def test_front_writes_a_picture_and_an_offline_page(here: Path, tmp_path: Path, capsys: Capture) -> None:
    png, html = tmp_path / "new" / "front.png", tmp_path / "new" / "front.html"
    ended = nas(capsys, "front", RUN, "--png", png, "--html", html, "--pick", "knee", "--format", "json")
    assert ended.code == 0
    json.loads(ended.out)
    assert png.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    page = html.read_text()
    assert not re.search(r"<(script|link|img|iframe)[^>]*\s(src|href)\s*=", page), "the page loads something"
    shown = json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[0])
    assert any("only 40 images: the intervals are wide" in text for text in shown["warnings"])
    rows = json.loads(ended.out)
    trials = shown["trials"]
    front = {n for n, group in zip(trials["number"], trials["group"], strict=True) if group == "front"}
    assert front == {row["number"] for row in rows}
    assert f"picked: trial {shown['picked']['trial']} (" in ended.err


def test_pictures_of_an_empty_front_are_written_too(here: Path, tmp_path: Path, capsys: Capture) -> None:
    png, html = tmp_path / "a.png", tmp_path / "a.html"
    ended = nas(capsys, "front", RUN, "--where", "params<=1", "--png", png, "--html", html)
    assert ended.code == 0
    assert png.read_bytes().startswith(b"\x89PNG")
    assert html.stat().st_size > 1000


@pytest.mark.parametrize("pick", ["0", "knee", "best:robust_accuracy", "weights:robust_accuracy=0.7,params=0.3"])
def test_show_prints_the_picked_candidate(here: Path, capsys: Capture, pick: str) -> None:
    record = json.loads(nas(capsys, "show", RUN, pick, "--format", "json").out)
    assert record["state"] == "complete"
    assert record["number"] == 0 or pick != "0"
    text = nas(capsys, "show", RUN, pick).out
    assert f"trial {record['number']} complete" in text
    assert f"{record['costs']['params']:,}" in text
    assert "95 % interval" in text


def test_retrain_leaves_a_network_and_its_evaluation(retrained: Path, capsys: Capture) -> None:
    files = {"model.safetensors", "genotype.json", "evaluation.json", "curve.csv", "curve.png"}
    assert files <= {path.name for path in retrained.iterdir()}
    assert (retrained / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert len((retrained / "curve.csv").read_text().splitlines()) == 1 + 2
    stored = json.loads((retrained / "evaluation.json").read_text())
    assert (stored["split"], stored["num_images"]) == ("test", 100)
    ended = nas(capsys, "retrain", RUN, "--pick", "0", "--format", "json")
    result = json.loads(ended.out)
    assert (ended.code, result["trial"], result["evaluation"]) == (0, 0, stored), "a finished one is only read"
    assert Path(result["folder"]).resolve() == retrained.resolve()


def test_a_whole_front_is_retrained_one_after_the_other_and_nothing_finished_is_lost(
    copy: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [row["number"] for row in json.loads(nas(capsys, "front", RUN, "--format", "json").out)]
    assert len(made) >= 2
    begun: list[int] = []

    def retrain(run: Run, picked: Pick, *arguments: Any, **settings: Any) -> Any:
        begun.append(picked.record.number)
        if begun == made[:2]:
            raise KeyboardInterrupt
        return nas_runs_retrain.retrain(run, picked, *arguments, **settings)

    monkeypatch.setattr("nas.timing.watched.retrain", retrain)
    whole = ("retrain", RUN, "--pick", "front")
    stopped = nas(capsys, *whole)
    assert (stopped.code, begun) == (130, made[:2])
    assert "the same command goes on from there" in " ".join(stopped.err.split())
    first = Path(RUN, "retrained", f"{made[0]:05d}", "model.safetensors")
    when = first.stat().st_mtime_ns

    ended = nas(capsys, *whole)
    assert ended.code == 0, ended.err
    assert begun[2:] == made
    assert first.stat().st_mtime_ns == when, "a finished one is only read"
    assert all(f"trial {number}, retrained from scratch (a member of the front)" in ended.out for number in made)
    assert f"nas export --front {RUN} --format tflite" in ended.out
    assert f"{len(made)} networks have met the test images" in ended.err
    listed = json.loads(nas(capsys, *whole, "--where", "params<=100k", "--format", "json").out)
    assert [(one["trial"], one["evaluation"]["split"]) for one in listed] == [(number, "test") for number in made]
    assert nas(capsys, *whole, "--where", "params<=1").message.startswith("error the front is empty")


def test_evaluate_repeats_the_numbers_of_retrain(retrained: Path, capsys: Capture) -> None:
    repeated = nas(capsys, "evaluate", retrained, "--format", "json")
    assert json.loads(repeated.out) == json.loads((retrained / "evaluation.json").read_text())
    again = nas(capsys, "evaluate", retrained)
    assert "95 % interval" in again.out
    assert [line.split(" ")[2] for line in again.err.splitlines() if line.startswith("attacking with")] == [
        "pgd", "apgd", "square",
    ]  # fmt: skip


def test_evaluate_attacks_otherwise_when_asked(retrained: Path, capsys: Capture) -> None:
    options = ["--steps", "5", "--restarts", "2", "--step-size", "2/255", "--split", "validation"]
    attacked = json.loads(nas(capsys, "evaluate", retrained, *options, "--format", "json").out)
    assert (attacked["attack"]["steps"], attacked["attack"]["restarts"], attacked["split"]) == (5, 2, "validation")
    assert attacked["attack"]["step_size"] == 2 / 255
    single = json.loads(nas(capsys, "evaluate", retrained, "--attack", "fgsm", "--format", "json").out)
    assert single["attack"]["name"] == "fgsm"


@pytest.mark.parametrize(
    ("options", "named"),
    [(["--attack", "magic"], "pgd"), (["--steps", "0"], "steps"), (["--attack", "fgsm", "--steps", "3"], "steps"),
     (["--step-size", "small"], "step_size"), (["--device", "tpu"], "tpu"), (["--split", "train"], "train")],
)  # fmt: skip
def test_evaluate_refuses_what_it_cannot_do(retrained: Path, capsys: Capture, options: list[str], named: str) -> None:
    _refused(nas(capsys, "evaluate", retrained, *options), 2, named)


def test_a_retraining_with_other_settings_is_not_mixed_with_the_finished_one(retrained: Path, capsys: Capture) -> None:
    other = ["retrain", RUN, "--pick", "0", "--set", "retrain.epochs=3"]
    _refused(nas(capsys, *other), 1, "other settings (retrain.epochs was 2, is 3); --name NAME")
    _refused(nas(capsys, *other, "--name", "../x"), 2, "--name ../x")


def test_damaged_weights_are_refused(retrained: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(retrained, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    _refused(nas(capsys, "evaluate", folder), 1, "model.safetensors")
    weights.unlink()
    _refused(nas(capsys, "evaluate", folder), 1, "model.safetensors")


def _refused(ended: Ended, code: int, *named: str) -> None:
    assert ended.code == code, ended.err
    assert ended.out == "", "an error belongs on stderr"
    for name in named:
        assert name in ended.message


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["serch", "tiny.yaml"], 2, "serch"),
        (["front", RUN, "--pngg", "x"], 2, "--pngg"),
        (["front", RUN, "--format", "xml"], 2, "xml"),
        (["front"], 2, "RUN"),
        (["front", RUN, "--objectives", "robust"], 2, "did you mean robust_accuracy?"),
        (["front", RUN, "--objectives", "params,params"], 2, "params"),
        (["front", RUN, "--where", "parms<=3"], 2, "did you mean params?"),
        (["front", RUN, "--where", "params"], 2, "params"),
        (["front", RUN, "--pick", "elbow"], 2, "elbow"),
        (["front", RUN, "--pick", "99"], 2, "no trial 99"),
        (["front", RUN, "--where", "params<=1", "--pick", "knee"], 2, "the front is empty"),
        (["front", "runs/none"], 2, "nas search CONFIG"),
        (["show", RUN, "best:colour"], 2, "colour"),
        (["show", RUN, "weights:macs=1"], 2, "macs"),
        (["show", RUN, "99"], 2, "no trial 99"),
        (["show", "tiny.yaml", "0"], 2, "tiny.yaml"),
        (["retrain", RUN, "--set", "training.epochs=3"], 2, "training.epochs"),
        (["evaluate", "net", "--audit", "--steps", "3"], 2, "--steps: --audit makes the whole ladder of attacks"),
        (["evaluate", "net", "--images", "10"], 2, "--images: it is for --audit"),
        (["evaluate", "net", "--autoattack"], 2, "AutoAttack alone is --attack autoattack"),
        (["evaluate", "net", "--set", "seed=1"], 2, "--set: it is for --audit"),
        (["evaluate", "net:build"], 2, "module:function is judged with --audit"),
        (["report", RUN, "--port", "80"], 2, "--port 80 is for --dashboard"),
        (["report", RUN, "--dashboard", "--watch"], 2, "leave out --out, --baseline and --watch"),
        (["retrain", RUN, "--set", "retrain.epoch=3"], 2, "did you mean epochs?"),
        (["retrain", RUN, "--pick", "best:"], 2, "best:"),
        (["evaluate", "runs/none"], 1, "nas retrain RUN"),
        (["evaluate", RUN], 1, "nas retrain RUN"),
        (["check", "none.yaml"], 2, "none.yaml"),
        (["check", "."], 2, "directory"),
        (["check", "tiny.yaml", "--set", "budget.params=10"], 2, "smallest network"),
        (["check", "tiny.yaml", "--set", "data={name: image_folder, root: nowhere}"], 2, "nowhere"),
        (["check", "tiny.yaml", "--set", "data={name: cifar10, root: nowhere}"], 2, "data.download=true"),
        (["check", "tiny.yaml", "--set", "data.limit=20"], 2, "data.limit"),
        (["check", "tiny.yaml", "--set", "device=cuda:99"], 2, "cuda:99"),
        (["search", "tiny.yaml", "--set", "threat.epsilon=0.08"], 2, "threat.epsilon"),
        (["search", "tiny.yaml", "--set", "search.trails=3"], 2, "did you mean trials?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_gets_one_message(here: Path, capsys: Capture, arguments: list[str], code: int, named: str) -> None:
    _refused(nas(capsys, *arguments), code, named)


def test_a_changed_config_is_refused_with_what_the_run_can_answer_without_it(here: Path, capsys: Capture) -> None:
    refused = nas(capsys, "search", "tiny.yaml", "--set", "budget.params=1000")
    ways = "nas front runs/tiny --objectives … --where …", "'search.start_from.runs=[runs/tiny]'", "--run NAME"
    _refused(refused, 2, "budget.params: the run has null, the config has 1000", *ways)


@pytest.mark.parametrize("name", ["../escaped", "/tmp/nas_absolute", "a/b"])
def test_a_run_name_does_not_leave_the_runs_folder(here: Path, capsys: Capture, name: str) -> None:
    _refused(nas(capsys, "search", "tiny.yaml", "--run", name), 2, name)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path, capsys: Capture) -> None:
    for text in ("{}", "[]", "{", '{"schema": 99}', '{"schema": 1}', '"x"', '{"schema": 1, "spec": {"blocks": 3}}'):
        (tmp_path / "genotype.json").write_text(text)
        _refused(nas(capsys, "evaluate", tmp_path), 1, "genotype.json")
    (tmp_path / "genotype.json").write_bytes(b"\xff\xfe\x00")
    _refused(nas(capsys, "evaluate", tmp_path), 1, "genotype.json")


def test_a_study_that_is_cut_is_read_up_to_there_and_a_corrupt_one_is_refused(copy: Path, capsys: Capture) -> None:
    study = Path(RUN, "study.journal")
    content = study.read_bytes()
    study.write_bytes(content[: len(content) - 30])
    assert nas(capsys, "front", RUN, "--format", "json").code == 0
    study.write_bytes(content[: content.index(b"\n")] + b"\ngarbage" + content[content.index(b"\n") :])
    for verb in (["front", RUN], ["show", RUN, "0"], ["retrain", RUN], ["search", "tiny.yaml"]):
        _refused(nas(capsys, *verb), 1, "study.journal", "first bad line")
    study.unlink()
    _refused(nas(capsys, "front", RUN), 1, "nas search CONFIG")


def test_a_place_that_cannot_be_written_is_named(here: Path, capsys: Capture) -> None:
    _refused(nas(capsys, "front", RUN, "--png", "tiny.yaml/front.png"), 1, "tiny.yaml")
    _refused(nas(capsys, "front", RUN, "--png", "/proc/front.png"), 1, "/proc")


def test_a_limit_on_the_size_of_files_is_named(here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EFBIG, "File too large", "weights")

    monkeypatch.setattr("nas.runs.config.load_config", refuse)
    ended = nas(capsys, "check", "tiny.yaml", "--no-time")
    assert ended.code == 1
    assert "weights: File too large (files may have" in ended.message
    assert "ulimit -f" in ended.message


@pytest.mark.parametrize("ended", [KeyboardInterrupt, Terminated])
@pytest.mark.parametrize(
    ("verb", "work"),
    [(("retrain", RUN), "nas.timing.watched.retrain"), (("search", "tiny.yaml"), "nas.runs.work.search")],
)
def test_a_verb_that_a_signal_ends_says_what_is_kept(
    here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...], work: str,
    ended: type[BaseException],
) -> None:  # fmt: skip
    def end(*_: object, **__: object) -> None:
        raise ended

    monkeypatch.setattr(work, end)
    found = nas(capsys, *verb)
    assert found.code == {KeyboardInterrupt: 130, Terminated: 143}[ended]
    assert f"stopped; everything finished is kept in {RUN}, the same command goes on from there" in found.err
