"""A module of the user's adds a measure: named in a config, it is measured and shown everywhere, with no other edit."""

import csv
import io
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nas.attacks import ATTACKS, Pgd
from nas.attacks.threat import ThreatModel
from nas.base.errors import ConfigError, UsageError
from nas.base.plugins import load_plugins
from nas.base.records import from_json, to_json
from nas.evaluation import EvaluationSettings
from nas.evaluation.evaluate import Scored, evaluate, score
from nas.evaluation.scores import load_scores, save_scores
from nas.measures import MEASURES, Attacked, Measure, check_measures
from nas.networks.treatments import TREATMENTS
from nas.page.columns import rounded
from nas.runs import open_run
from nas.runs.config import dump_config, load_config
from nas.runs.work import trained_network
from nas.training.settings import METHODS
from search_spaces import SPACES
from tests.builders import TINY_LADDER, evaluation, generator, tiny_images, tiny_network
from tests.conftest import ROOT
from tests.tiny_run import SWEEP, TINY, nas, write_config

Capture = pytest.CaptureFixture[str]
MODULE = "margin_plugin"
PLUGIN = '''\
"""The logit margin that an attack leaves, and how far noise moves the logits."""

from nas.measures import MEASURES, Measure


def margin(attacked):
    import torch

    own = torch.nn.functional.one_hot(attacked.labels, attacked.logits.shape[1]).bool()
    kept, clean = (
        logits[own] - logits.masked_fill(own, -torch.inf).amax(1)
        for logits in (attacked.adversarial_logits, attacked.logits)
    )
    return torch.minimum(kept, clean)


def drift(attacked):
    import torch

    noise = torch.rand(attacked.images.shape, generator=attacked.generator, device=attacked.images.device)
    moved = attacked.network(attacked.images + attacked.threat.epsilon * noise) - attacked.logits
    return float(moved.abs().mean())


MEASURES["margin"] = Measure(
    "margin", "maximize", "logits", "logit margin under attack", 10.0, compute=margin, worst=-20.0, low=-float("inf")
)
MEASURES["drift"] = Measure("drift", "minimize", "logits", "drift under noise", 0.0, compute=drift, per_image=False)
'''
NAMED = f"plugins: [{MODULE}]\nobjectives: [margin, params]\n"


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules, search path and measures are afterwards as they were."""
    modules, entries = {*sys.modules}, dict(MEASURES)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name in (MODULE, "another_plugin", "another_plugin_torch"):
        if name not in modules:
            sys.modules.pop(name, None)
    MEASURES.clear()
    MEASURES.update(entries)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: None) -> Path:
    """An empty current folder with the plugin in it."""
    (tmp_path / f"{MODULE}.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


KINDS = '''\
"""A space of one choice and an attack of one step, as their own packages would define them."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from nas.attacks import ATTACKS, Fgsm
from search_spaces import SPACES, BlockSpec, Choice, NetworkSpec, SearchSpace, SpaceEntry


@dataclass(frozen=True)
class Lone:
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    name: Literal["lone"] = "lone"
    widths: tuple[int, ...] = (4, 8)


def spec_of(input_shape, num_classes, values):
    return NetworkSpec(input_shape, num_classes, (BlockSpec("conv", 0, input_shape[0], values["width"], values["width"], 3, 2),))


def lone(settings, input_shape, num_classes):
    choices = (Choice("width", settings.widths),)
    return SearchSpace("lone", choices, input_shape, num_classes, partial(spec_of, input_shape, num_classes))


class Twice(Fgsm):
    name: Literal["twice"] = "twice"


SPACES["lone"] = SpaceEntry(Lone, lone)
ATTACKS["twice"] = Twice
'''  # noqa: E501 - of the plugin


TRAINING = '''\
"""A training method that smooths labels, and a treatment that keeps the classifier's weights small."""

from typing import Literal

from nas.base.settings import Settings
from nas.networks.treatments import TREATMENTS
from nas.training.settings import METHODS

METHODS["smoothed"] = "another_plugin_torch:Smoothed"


class Small(Settings):
    name: Literal["small"] = "small"
    largest: float = 0.01

    def make(self):
        from another_plugin_torch import SmallClassifier

        return SmallClassifier(self.largest)


TREATMENTS["small"] = Small
'''
WITH_TORCH = """\
import torch
from torch.nn import functional as F

from nas.networks.treatments.treatment import Treatment
from nas.training.methods import BaseMethod


class Smoothed(BaseMethod):
    def loss(self, state, batch, threat):
        (logits,) = state.forward(batch.x)
        return F.cross_entropy(logits, batch.y, label_smoothing=0.2), logits


class SmallClassifier(Treatment):
    def __init__(self, largest):
        super().__init__()
        self.largest = largest

    def prepare_(self, network, generator):
        self.register_buffer("steps", torch.zeros(()))

    @torch.no_grad()
    def after_step_(self, network, progress):
        network.classifier.weight.clamp_(-self.largest, self.largest)
        self.steps += 1
"""


@pytest.fixture
def other_registries(forgotten: None) -> Iterator[None]:
    """All other registries are afterwards as they were."""
    kept = [(registry, dict(registry)) for registry in (SPACES, ATTACKS, METHODS, TREATMENTS)]
    yield
    for registry, entries in kept:
        registry.clear()  # type: ignore[attr-defined]
        registry.update(entries)  # type: ignore[attr-defined]


def test_a_plugin_may_bring_a_space_and_an_attack(place: Path, other_registries: None, capsys: Capture) -> None:
    (place / "another_plugin.py").write_text(KINDS)
    space = TINY[TINY.index("space:") : TINY.index("threat:")]
    text = TINY.replace(space, "space: {name: lone, widths: [4, 6, 8]}\nplugins: [another_plugin]\n")
    text += "objectives: [robust_accuracy, params]\n"
    text = text.replace("attack: {name: pgd, steps: 2, step_size: 0.05}", "attack: {name: twice}")
    config = load_config(path := write_config(place, text))
    assert (config.space.name, config.evaluation.attack.name) == ("lone", "twice")  # type: ignore[comparison-overlap]
    (place / "again.yaml").write_text(dump_config(config))
    assert load_config(place / "again.yaml") == config
    assert nas(capsys, "search", path).code == 0
    first = open_run(Path("runs/tiny")).records[0].evaluation
    assert first is not None
    assert first.attack["name"] == "twice"
    with pytest.raises(ConfigError, match=r"space\.widths\.0: Input should be a valid integer"):
        load_config(path, ["space.widths=[wide]"])
    flat = nas(capsys, "search", path, "--run", "flat", "--set", "objectives=[lipschitz_bound_log10, params]")
    assert "lipschitz_bound_log10 has no natural worst value here" in " ".join(flat.message.split())
    with pytest.raises(ConfigError, match="nowhere"):
        load_config(path, ["space.name=nowhere"])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_plugin_may_bring_a_method_and_a_treatment(
    place: Path, other_registries: None, capsys: Capture, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr("nas.runs.placement.available_cores", lambda: 2)
    (place / "another_plugin.py").write_text(TRAINING)
    (place / "another_plugin_torch.py").write_text(WITH_TORCH)
    path = write_config(place, TINY + "plugins: [another_plugin]\ntreatments: [{name: small, largest: 0.02}]\n")
    changes = ("training.method=smoothed", "training.epochs=2", f"search.workers={workers}",
               *(("search.executor=processes",) if workers > 1 else ()))  # fmt: skip
    arguments = [part for change in changes for part in ("--set", change)]
    ended = nas(capsys, "search", path, *arguments)
    assert ended.code == 0, ended.err
    run = open_run(Path("runs/tiny"))
    networks = [trained_network(run, record) for record in run.records if record.evaluation]
    assert networks
    for network in networks:
        assert 0.015 < float(network.classifier.weight.abs().max()) <= 0.02
        assert float(network.treatments[0].steps) > 8, "four steps in each of two epochs, and the first call"
    with pytest.raises(ConfigError, match=r"unknown training method 'smooth' \(allowed: .*smoothed\)"):
        load_config(path, ["training.method=smooth"])
