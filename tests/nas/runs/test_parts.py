"""Parts of a user's own, which a config names as `module:Name`: every verb finds them, from any folder."""

import json
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, cast

import pytest

from nas.attacks import ATTACKS
from nas.base.errors import ConfigError
from nas.evaluation import EvaluationSettings
from nas.measures import MEASURES
from nas.networks.treatments import TREATMENTS
from nas.runs import open_run
from nas.runs.checkpoint import load_checkpoint
from nas.runs.config import load_config
from nas.timing.bench import Workload, _once
from nas.training.settings import METHODS
from search_spaces import SPACES
from tests.builders import tiny_network
from tests.tiny_run import TINY, nas, write_config

Capture = pytest.CaptureFixture[str]
REGISTRIES: tuple[Mapping[str, Any], ...] = (ATTACKS, MEASURES, METHODS, SPACES, TREATMENTS)
MODULE = "own_parts"
SOURCE = '''\
"""A space, a measure, an attack, a method and a treatment that put themselves into no registry."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

from nas.attacks import Pgd
from nas.base.settings import Settings
from nas.measures import Measure
from nas.networks.treatments.treatment import Treatment
from nas.training.methods import Trades
from search_spaces import BlockSpec, Choice, NetworkSpec, SearchSpace, SpaceEntry


@dataclass(frozen=True)
class Rows:
    __pydantic_config__ = {"extra": "forbid"}
    name: Literal["rows"] = "rows"
    widths: tuple[int, ...] = (4, 8)


def spec_of(shape, classes, values):
    first, second = values["first"], values["second"]
    blocks = (BlockSpec("conv", 0, shape[0], first, first, 3, 2), BlockSpec("conv", 1, first, second, second, 3, 2))
    return NetworkSpec(shape, classes, blocks)


def rows(settings, shape, classes):
    choices = tuple(Choice(name, settings.widths) for name in ("first", "second"))
    return SearchSpace("rows", choices, shape, classes, partial(spec_of, shape, classes))


ROWS = SpaceEntry(Rows, rows)
LEAST = Measure("least", "maximize", "logits", "least logit", 10.0, worst=-20.0, low=-float("inf"),
                compute=lambda attacked: attacked.adversarial_logits.amin(1))


class Longer(Pgd):
    name: Literal["longer"] = "longer"


class Halved(Trades):
    def loss(self, state, batch, threat):
        loss, logits = super().loss(state, batch, threat)
        return loss / 2, logits


class Kept(Settings):
    name: Literal["kept"] = "kept"

    def make(self):
        return Nothing()


class Nothing(Treatment):
    pass


NUMBER = 3
'''
SPACE = f"space: {{name: '{MODULE}:ROWS', widths: [4, 6, 8]}}\n"
CONFIG = (
    TINY.replace(TINY[TINY.index("space:") : TINY.index("threat:")], SPACE)
    .replace("training:\n", f"training:\n  method: {MODULE}:Halved\n")
    .replace("attack: {name: pgd, steps: 2, step_size: 0.05}", f"attack: {{name: '{MODULE}:Longer', steps: 2}}")
    .replace("workers: 1, executor: in_process", "workers: 2, executor: processes")
    .replace("constraints: [", f"constraints: ['{MODULE}:LEAST >= -19', ")
    + f"treatments: [{{name: '{MODULE}:Kept'}}]\nobjectives: ['{MODULE}:LEAST', params]\n"
)  # fmt: skip


EXPORTED = {
    ("--format", "torch"): "network.safetensors", (): "model.onnx", ("--int8",): "model_int8.onnx",
    ("--format", "c"): "network.h", ("--format", "tflite"): "model.tflite",
}  # fmt: skip
"""Options of `nas export`, and the file that it writes."""


def forget() -> None:
    """Makes this process one that has not imported the modules."""
    for name in (MODULE, "elsewhere"):
        sys.modules.pop(name, None)
    for registry, entries in KEPT:
        registry.clear()
        registry.update(entries)
    sys.path[:] = PATH


KEPT = [(cast(MutableMapping[str, Any], registry), dict(registry)) for registry in REGISTRIES]
PATH = [*sys.path]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A config with its module in a folder that is not the current one."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    PATH[:] = sys.path
    for name in ("mine", "work", "later"):
        (tmp_path / name).mkdir()
    (tmp_path / "mine" / f"{MODULE}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path / "work")
    yield write_config(tmp_path / "mine", CONFIG)
    forget()


def test_every_verb_finds_the_parts_from_any_folder(
    path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.runs.placement.available_cores", lambda: 2)
    assert "least (maximize)" in nas(capsys, "check", path, "--no-time").out
    searched = nas(capsys, "search", path, "--set", "search.trials=2", "--set", "search.prescreen.proposals=1")
    assert searched.code == 0, searched.err

    run = Path.cwd() / "runs" / "tiny"
    monkeypatch.chdir(path.parent.parent / "later")
    forget()
    rows = json.loads(nas(capsys, "front", run, "--format", "json").out)
    assert all(-19 <= row["least"] <= 10 for row in rows)
    config = open_run(run).config
    assert (config.space.name, config.training.method) == ("rows", f"{MODULE}:Halved")
    assert config.plugin_folder == path.parent
    forget()
    retrained = nas(capsys, "retrain", run, "--pick", "best:least")
    assert retrained.code == 0, retrained.err
    forget()
    checkpoint = load_checkpoint(next((run / "retrained").iterdir()))
    assert (checkpoint.evaluation.attack.name, [one.name for one in checkpoint.treatments]) == ("longer", ["kept"])

    forget()
    assert nas(capsys, "report", run).code == 0
    assert "least logit" in (run / "report.html").read_text()
    network = next((run / "retrained").iterdir())
    for options, name in EXPORTED.items():
        forget()
        exported = nas(capsys, "export", network, *options, "--images", "20", "--parity", "0.5", "--json")
        assert exported.code == 0, exported.err
        assert json.loads(exported.out)["file"] == str(network / name)
    forget()
    judged = nas(capsys, "evaluate", network / "model.tflite", "--queries", "1", "--format", "json")
    assert judged.code == 0, judged.err
    attacked = [rung["attack"].get("attack", rung["attack"])["name"] for rung in json.loads(judged.out)["ladder"]]
    assert attacked[0] == "longer"

    forget()
    moved = path.parent.rename(path.parent.parent / "moved")
    assert "cannot import plugin own_parts:" in nas(capsys, "front", run).message
    (run / f"{MODULE}.py").write_bytes((moved / f"{MODULE}.py").read_bytes())
    assert nas(capsys, "front", run).code == 0, "beside the run's own config"


def test_a_process_that_measures_how_long_a_search_takes_imports_them(path: Path) -> None:
    config = load_config(path)
    parts = {"plugins": config.plugins, "plugin_folder": config.plugin_folder}
    workload = Workload(tiny_network().spec, config.threat, config.training, EvaluationSettings(), **parts)
    forget()
    asked = []
    assert _once(lambda given: lambda: asked.append({*METHODS} & {given.training.method}), workload) is None
    assert asked == [{f"{MODULE}:Halved"}]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("space.name=nowhere:ROWS", r"=nowhere:ROWS: space.name: cannot import plugin nowhere:ROWS \(Module.*"
                                    r"keep nowhere\.py beside the config, in .*mine"),
        ("space.name=own_parts:COLUMNS", "space.name: own_parts:COLUMNS: module own_parts has no COLUMNS"),
        ("space.name=own_parts:LEAST", "own_parts:LEAST is a measure, a space is needed here"),
        ("training.method=own_parts:NUMBER", "training.method: own_parts:NUMBER is no part of a search .allowed"),
        ("plugins=[own_parts:ROW]", "plugins: own_parts:ROW: module own_parts has no ROW"),
        ("objectives=[own_parts:LEAST, leest]", "unknown metric 'leest'; did you mean least?"),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_named_with_its_place(path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(path, [override])


def test_two_parts_of_one_name_are_refused(path: Path) -> None:
    (path.parent / "elsewhere.py").write_text(SOURCE)
    with pytest.raises(ConfigError, match="elsewhere:ROWS: there is another space named 'rows' already"):
        load_config(path, ["plugins=[own_parts:ROWS]", "space.name=elsewhere:ROWS"])


def test_another_module_of_the_same_name_is_not_taken(path: Path) -> None:
    load_config(path)
    other = path.parent.parent / "later"
    (other / f"{MODULE}.py").write_text(SOURCE)
    with pytest.raises(ConfigError, match=r"later/own_parts.py is meant, and .*mine/own_parts.py was found first"):
        load_config(write_config(other, CONFIG))


def test_an_installed_package_offers_its_parts_as_entry_points(path: Path) -> None:
    site = path.parent.parent / "site"
    (site / "own-1.dist-info").mkdir(parents=True)
    (site / f"{MODULE}.py").write_bytes((path.parent / f"{MODULE}.py").read_bytes())
    (path.parent / f"{MODULE}.py").unlink()
    (site / "own-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1\n")
    groups = {"spaces": "ROWS", "measures": "LEAST", "attacks": "Longer", "methods": "Halved", "treatments": "Kept"}
    (site / "own-1.dist-info" / "entry_points.txt").write_text(
        "".join(f"[robust_tiny_nas.{group}]\nown_{name} = {MODULE}:{name}\n" for group, name in groups.items())
    )
    sys.path.append(str(site))
    config = load_config(write_config(path.parent, CONFIG.replace(f"{MODULE}:", "own_")))
    assert (config.space.name, config.objectives, config.constraints[0]) == (
        "rows",
        ("least", "params"),
        "least >= -19",
    )
    assert (config.training.method, config.evaluation.attack.name) == (f"{MODULE}:Halved", "longer")
    assert config.plugin_folder is None
    assert set(config.plugins) == {f"{MODULE}:{name}" for name in groups.values()}
