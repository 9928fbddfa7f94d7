"""A module of the user's adds a measure: named in a config, it is measured and shown everywhere, with no other edit."""

import csv
import io
import json
import re
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from nas.attacks import Pgd
from nas.attacks.threat import ThreatModel
from nas.base.errors import ConfigError, UsageError
from nas.base.plugins import load_plugins
from nas.base.records import from_json, to_json
from nas.evaluation import EvaluationSettings
from nas.evaluation.evaluate import Scored, evaluate, score
from nas.evaluation.scores import load_scores, save_scores
from nas.measures import MEASURES, Attacked, Measure, check_measures
from nas.page.columns import rounded
from nas.runs import open_run
from nas.runs.config import load_config
from tests.builders import TINY_LADDER, evaluation, generator, tiny_images, tiny_network
from tests.conftest import ROOT
from tests.nas.runs.margin import MODULE, PLUGIN
from tests.tiny_run import SWEEP, TINY, nas, write_config

Capture = pytest.CaptureFixture[str]
NAMED = f"plugins: [{MODULE}]\nobjectives: [margin, params]\n"


def test_every_verb_shows_a_measure_that_a_config_brings(place: Path, capsys: Capture) -> None:
    path = write_config(place, SWEEP + NAMED)
    assert "margin (maximize)" in (checked := nas(capsys, "check", path, "--no-time").out)
    assert "margin -20" in " ".join(checked.split())
    assert nas(capsys, "search", path, "--run", "tiny").code == 0
    records = {record.number: record for record in open_run(Path("runs/tiny")).records}
    values = {n: r.evaluation.scores["margin"] for n, r in records.items() if r.evaluation}
    assert len({*values.values()}) > 1

    pictures = ("--png", "front.png", "--html", "front.html")
    rows = json.loads(nas(capsys, "front", "runs/tiny", *pictures, "--format", "json").out)
    assert [row["margin"] for row in rows] == [values[row["number"]] for row in rows]
    table = list(csv.DictReader(io.StringIO(nas(capsys, "front", "runs/tiny", "--format", "csv").out)))
    assert [float(row["margin"]) for row in table] == pytest.approx([row["margin"] for row in rows])
    printed = nas(capsys, "front", "runs/tiny").out
    assert f"{rows[0]['margin']:.3g}" in printed
    assert "logit margin under attack ↑" in printed
    assert "margin -20, params" in " ".join(printed.split()), "the reference point"
    page = Path("front.html").read_text()
    assert "logit margin under attack" in page
    assert str(rounded(rows[0]["margin"])) in page
    assert Path("front.png").read_bytes().startswith(b"\x89PNG")
    sure = json.loads(nas(capsys, "front", "runs/tiny", "--intervals", "--format", "json").out)
    ends = [row["intervals"]["margin"] for row in sure]
    assert all(end["low"] < row["margin"] < end["high"] for row, end in zip(sure, ends, strict=True))
    best = max(values, key=values.__getitem__)
    shown = nas(capsys, "show", "runs/tiny", "best:margin")
    assert f"logit margin under attack {values[best]:.4g} logits" in " ".join(shown.out.split())
    kept = json.loads(nas(capsys, "show", "runs/tiny", "best:margin", "--format", "json").out)
    assert (kept["number"], kept["evaluation"]["scores"]) == (best, {"margin": values[best]})
    assert nas(capsys, "front", "runs/tiny", "--where", "margin>=1000").out.startswith("the front is empty")

    swept = json.loads(nas(capsys, "sweep", path, "--run", "swept", "--format", "json").out)
    assert all(isinstance(row["margin"], float) for row in swept)
    assert nas(capsys, "sweep", path, "--run", "other", "--set", "search.seed=1").code == 0
    both = ("compare", "runs/swept", "runs/other")
    assert "logit margin under attack" in nas(capsys, *both).out
    first, second = json.loads(nas(capsys, *both, "--format", "json").out)
    assert second["margin"] - first["margin"] == pytest.approx(second["margin_difference"])
    assert "margin" in nas(capsys, *both, "--format", "csv").out.splitlines()[0]
    assert "logit margin" in nas(capsys, "study", "insights", "runs/swept").out


def test_the_example_of_the_documents_does_what_it_says(place: Path, capsys: Capture) -> None:
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^      (from nas\.measures import .*?)\n\n\S", text, re.DOTALL | re.MULTILINE)
    (place / "another_plugin.py").write_text(textwrap.dedent("      " + example))
    path = write_config(place, TINY + "plugins: [another_plugin]\nobjectives: [margin, params]\n")
    assert nas(capsys, "search", path).code == 0
    assert "logit margin under attack" in nas(capsys, "front", "runs/tiny").out


def test_workers_import_the_plugin_and_measure_the_same(
    place: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_config(place, TINY + NAMED)
    alone, both = ("--run", "alone"), ("--run", "both", "--set", "search.executor=processes", "--set",
                                       "search.workers=2")  # fmt: skip
    one_rung = "evaluation.ladder={screen: null, front: [], trust_images: 0}"  # more depends on who ends first
    started = ("--set", "search.sampler=random", "--set", "evaluation.measures=[drift]", "--set", one_rung)
    for cores, arguments in ((1, alone), (2, both)):  # a thread each: two round differently, and training amplifies it
        monkeypatch.setattr("nas.runs.placement.available_cores", lambda cores=cores: cores)
        ended = nas(capsys, "search", path, *started, *arguments)
        assert ended.code == 0, ended.err
    one, two = (
        {r.genotype.key: r.evaluation.scores for r in open_run(Path("runs", name)).records if r.evaluation}
        for name in ("alone", "both")
    )
    common = one.keys() & two.keys()
    assert common
    for key in common:
        assert one[key] == pytest.approx(two[key], rel=1e-3), "but for rounding"
    assert all(scores.keys() == {"margin", "drift"} for scores in one.values())


def test_a_run_is_read_in_a_process_that_knows_nothing_of_the_plugin(place: Path, capsys: Capture) -> None:
    nas(capsys, "search", write_config(place, TINY + NAMED))
    del sys.modules[MODULE], MEASURES["margin"], MEASURES["drift"]
    assert "logit margin under attack" in nas(capsys, "front", "runs/tiny").out
    resumed = nas(capsys, "search", "tiny.yaml", "--set", "search.trials=4")
    assert resumed.code == 0, resumed.err
    del sys.modules[MODULE], MEASURES["margin"], MEASURES["drift"]
    (place / f"{MODULE}.py").unlink()
    lost = nas(capsys, "front", "runs/tiny")
    assert (lost.code, f"plugins: cannot import plugin {MODULE} (ModuleNotFoundError" in lost.message) == (2, True)


def test_a_retrained_network_is_scored_by_it(place: Path, capsys: Capture) -> None:
    nas(capsys, "search", write_config(place, TINY + NAMED))
    assert nas(capsys, "retrain", "runs/tiny", "--pick", "0").code == 0
    folder = Path("runs/tiny/retrained/00000")
    stored = json.loads((folder / "evaluation.json").read_text())["scores"]
    del sys.modules[MODULE], MEASURES["margin"], MEASURES["drift"]
    again = nas(capsys, "evaluate", folder, "--format", "json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["scores"] == stored != {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (PLUGIN.replace('"margin", "max', '"other", "max'), "measure 'margin': needs an unused identifier"),
        (PLUGIN.replace('"drift"', '"warnings"'), "measure 'warnings': needs an unused identifier"),
        (PLUGIN.replace('"drift"', '"params"'), "measure 'params': is replaced"),
        (PLUGIN.replace("compute=drift, ", ""), "measure 'drift': needs one of compute and derive"),
        (PLUGIN + "1 / 0\n", f"cannot import plugin {MODULE} (ZeroDivisionError: division by zero)"),
    ],
)
def test_a_plugin_that_breaks_the_rules_is_one_clear_error(place: Path, text: str, words: str) -> None:
    (place / f"{MODULE}.py").write_text(text)
    with pytest.raises(ConfigError, match=r"tiny\.yaml:") as refused:
        load_config(write_config(place, TINY + f"plugins: [{MODULE}]\n"))
    assert words in str(refused.value)
    assert "plugins: " in str(refused.value)


def test_an_unknown_plugin_and_an_unknown_measure_are_config_errors(place: Path) -> None:
    with pytest.raises(ConfigError, match="cannot import plugin no_such_module") as refused:
        load_config(write_config(place, TINY + "plugins: [no_such_module]\n"))
    assert len(str(refused.value).splitlines()) == 1
    with pytest.raises(ConfigError, match="unknown metric 'margin'"):
        load_config(write_config(place, TINY + "objectives: [margin, params]\n"))
    with pytest.raises(ConfigError, match="instability is not computed by itself"):
        load_config(write_config(place), ["evaluation.measures=[instability]"])


SETTINGS = EvaluationSettings(attack=Pgd(steps=2), batch_size=16, ladder=TINY_LADDER)


def scored(*measures: str, fidelity: str = "attack", before: Scored | None = None) -> Scored:
    settings = SETTINGS.model_copy(update={"measures": measures})
    return score(tiny_network().eval(), tiny_images(40), ThreatModel(epsilon=0.05), settings, generator(0),
                 split_name="validation", fidelity=fidelity, before=before)  # type: ignore[arg-type]  # fmt: skip


def test_measures_change_no_other_number_and_draw_from_generators_of_their_own(place: Path) -> None:
    load_plugins([MODULE])
    bare, one, both = scored().evaluation, scored("drift").evaluation, scored("margin", "drift").evaluation
    assert to_json(bare) | {"scores": 0} == to_json(both) | {"scores": 0}
    assert both.scores["drift"] == one.scores["drift"] > 0


def test_a_measure_stays_with_the_images_of_a_network_on_higher_rungs(place: Path) -> None:
    load_plugins([MODULE])
    first = scored("margin", "drift")
    save_scores(place / "images", first.images)
    stored = Scored(first.evaluation, load_scores(place / "images"))
    climbed = scored("margin", "drift", fidelity="front", before=stored)
    assert climbed.evaluation.scores == first.evaluation.scores
    column = climbed.images.of(MEASURES["margin"])
    assert column is not None
    assert float(column.double().mean()) == first.evaluation.scores["margin"]
    assert climbed.images.of(MEASURES["drift"]) is None


def test_scores_go_through_json_and_older_records_have_none() -> None:
    stored = to_json(evaluation()) | {"scores": {"margin": 1.5}}
    found = from_json(type(evaluation()), json.loads(json.dumps(stored)))
    assert (found.score("margin"), found.score("robust_accuracy")) == (1.5, found.robust_accuracy)
    del stored["scores"]
    assert from_json(type(evaluation()), stored).scores == {}


@pytest.mark.parametrize(
    ("compute", "words"),
    [
        (lambda attacked: 1.0, "one value for each of 16 images .*shape \\(\\)"),
        (lambda attacked: attacked.logits, "one value for each of 16 images"),
        (lambda attacked: 1 / 0, "measure odd cannot be computed: ZeroDivisionError"),
    ],
)
def test_a_computation_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, compute: object, words: str) -> None:
    monkeypatch.setitem(MEASURES, "odd", Measure("odd", "minimize", "", "odd", 0.0, compute=compute))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=words):
        scored("odd")


def test_values_that_are_not_finite_are_left_out_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def half(attacked: Attacked) -> torch.Tensor:
        return torch.where(torch.arange(len(attacked.labels)) % 2 == 0, 3.0, torch.nan)

    monkeypatch.setitem(MEASURES, "half", Measure("half", "minimize", "", "half", 0.0, compute=half))
    monkeypatch.setitem(MEASURES, "none", Measure("none", "minimize", "", "none", 0.0, compute=lambda _: torch.nan,
                                                  per_image=False))  # fmt: skip
    found = scored("half", "none").evaluation
    assert found.scores == {"half": 3.0}
    assert "half is not finite for 20 of 40 values, which are left out of its mean" in found.warnings
    check_measures()


def test_evaluate_without_measures_has_no_scores() -> None:
    found = evaluate(tiny_network().eval(), tiny_images(40), ThreatModel(epsilon=0.05), SETTINGS, generator(0),
                     split_name="test")  # fmt: skip
    assert found.scores == {}
