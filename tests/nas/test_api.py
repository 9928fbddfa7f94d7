"""`import nas` in a program or a notebook, and docs/api.md, whose code runs as it is."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

import nas
from nas.api import OpenedRun
from nas.base.errors import CheckpointError, ConfigError, NasError, UsageError
from nas.base.records import TrialRecord, TrialState
from nas.pareto import MEASURES
from nas.report.frames import FrontFrame
from nas.runs.loaded import RetrainedNetwork
from tests.conftest import ROOT
from tests.made_run import made_run, write_study
from tests.tiny_run import TINY
from tests.tiny_run import nas as verb

PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
CELLS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
HOSTILE = '<script>alert(1)</script> $x$ [bold] \\frac{ & "'


def run_of(folder: Path, trials: int = 8) -> OpenedRun:
    def change(record: TrialRecord) -> TrialRecord:
        if record.number == 1:
            return replace(record, state=TrialState.FAILED, evaluation=None, error=HOSTILE)
        found = record.evaluation
        return record if found is None else replace(record, evaluation=replace(found, warnings=(HOSTILE,)))

    return nas.open(made_run(folder, trials, change=change))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> OpenedRun:
    return run_of(tmp_path_factory.mktemp("api") / "a <b> $c")


def test_the_code_of_the_page_runs_on_a_smaller_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    small = TINY.replace("name: tiny", "name: digits").replace("trials: 3", "trials: 1")
    Path("configs/digits.yaml").write_text(small.replace("epochs: 2, validate", "epochs: 1, validate"))
    cells = [cell.replace("trials=16", "trials=3").replace("trials=2,", "trials=1,") for cell in CELLS]
    assert cells != CELLS
    names: dict[str, object] = {}
    threads = torch.get_num_threads()
    for cell in cells:
        exec(compile(cell, "docs/api.md", "exec"), names)
    assert torch.get_num_threads() == threads
    run, network = names["run"], names["network"]
    assert isinstance(run, OpenedRun)
    assert len(run.trials()) == 3
    assert isinstance(network, RetrainedNetwork)
    printed = capsys.readouterr()
    assert printed.err.count("\n") > 5
    assert "\x1b" not in printed.err, "lines, no panel"
    assert "did you mean epochs?" in printed.out
    _same_as_the_verb(run, network, capsys)


def _same_as_the_verb(run: OpenedRun, network: RetrainedNetwork, capsys: pytest.CaptureFixture[str]) -> None:
    evaluated = verb(capsys, "evaluate", network.folder, "--format", "json")
    assert f'"robust_accuracy": {network.evaluation.robust_accuracy}' in evaluated.out
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert network.genotype == dict(run.run.records[int(network.folder.name)].genotype.values)
    with pytest.raises(ValueError, match="divide images of 8 bits by 255"):
        network(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"images must be \(N, 1×8×8\)"):
        network(torch.zeros(1, 8, 8))


def test_a_front_is_the_data_frame_of_the_verb(made: OpenedRun, capsys: pytest.CaptureFixture[str]) -> None:
    front = made.front()
    assert front.to_csv() == verb(capsys, "front", made.folder, "--format", "csv").out
    assert isinstance(front, pd.DataFrame)
    assert front.index.name == "number"
    limited = made.front(where=["params<=20k"], objectives=["robust_accuracy", "params"])
    assert 0 < len(limited) == (limited["params"] <= 20_000).sum()
    assert not isinstance(front[["params"]], FrontFrame), "a part of a front is an ordinary frame"
    assert made.front(where="params<=1").empty


def test_a_notebook_shows_the_picture_the_table_and_the_warnings_escaped(made: OpenedRun) -> None:
    shown = made.front()._repr_html_()
    assert shown == made._repr_html_()
    assert 'src="data:image/png;base64,iVBORw0KGgo' in shown
    for text in ("robust ↑", "linf ε = 0.1", "hypervolume", "&lt;script&gt;alert(1)", "Pareto front of a &lt;b&gt; $c"):
        assert text in shown
    assert "<script" not in shown
    assert "<b>" not in shown
    assert shown.count("<tr>") == 1 + len(made.front())
    assert "0 of 8 trials" in made.front(where="params<=1")._repr_html_()


def test_every_trial_is_a_row_and_every_column_is_explained(made: OpenedRun) -> None:
    trials, columns = made.trials(), made.columns()
    assert list(trials.index) == [record.number for record in made.run.records]
    assert (trials.loc[1, "state"], trials.loc[1, "error"]) == ("failed", HOSTILE)
    assert list(trials[trials.on_front].index) == sorted(made.front().index)
    record = made.run.records[0]
    assert trials.loc[0, "robust_interval.low"] == record.evaluation.robust_interval.low
    assert {f"genotype.{name}" for name in record.genotype.values} <= set(trials)
    assert list(columns.index) == list(trials)
    assert columns["title"].all()
    assert all(columns.loc[name, "unit"] == MEASURES[name].unit for name in set(trials) & MEASURES.keys())
    unexplained = {name for name in trials if not columns.loc[name, "meaning"]}
    assert not unexplained
    assert (made.trials(where="params<=20k")["params"] <= 20_000).all()


def test_columns_of_the_page_are_columns_of_a_frame(made: OpenedRun) -> None:
    known = set(made.trials()) | {"genotype.NAME", "attack.*", "threat.*", "state"}
    first = [row.split("|")[1] for row in PAGE.splitlines() if row.startswith("| `")]
    assert {name for cell in first for name in re.findall(r"`([^`]+)`", cell)} <= known


def test_a_run_without_trials_has_empty_frames(tmp_path: Path) -> None:
    run = nas.open(made_run(tmp_path / "new", 1))
    write_study(run.folder / "study.journal", [])
    assert repr(run) == f"<run {tmp_path / 'new'}: 0 trials, 0 on the front>"
    assert run.trials().empty
    assert run.front().empty
    assert "<table>" in run._repr_html_()


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        (lambda run: run.front(where="params<5"), UsageError, "cannot read condition 'params<5'"),
        (lambda run: run.front(objectives=["robust"]), UsageError, "did you mean robust_accuracy"),
        (lambda run: run.pick("elbow"), UsageError, "unknown pick 'elbow' (allowed: knee"),
        (lambda run: run.pick("knee", where="params<=1"), UsageError, "the front is empty"),
        (lambda run: run.retrain(0, name="../x"), UsageError, "a plain name"),
        (lambda run: run.retrain(0, epoch=3), ConfigError, "did you mean epochs?"),
        (lambda run: run.retrain(0, data="elsewhere"), UsageError, "digits is embedded"),
        (lambda run: nas.open(run.folder / "trials"), UsageError, "start one with `nas search CONFIG`"),
        (lambda run: nas.load(run.folder), CheckpointError, "`nas retrain RUN` makes one"),
        (lambda run: nas.search(run.folder / "config.yaml", run="a/b"), UsageError, "not a path"),
        (lambda run: nas.search(run.folder / "config.yaml", trials="many"), ConfigError, "--set search.trials"),
    ],
)
def test_errors_are_those_of_the_verbs(made: OpenedRun, asked: object, error: type[NasError], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        asked(made)  # type: ignore[operator]


def test_overrides_are_values_of_any_kind(tmp_path: Path) -> None:
    from nas.api import _override
    from nas.runs.config import load_config

    config = tmp_path / "tiny.yaml"
    config.write_text(TINY)
    given = {
        "training__learning_rate": 1e-5, "threat__epsilon": "8/255", "budget": {"params": "10k"},
        "search__trials": pd.Series([7])[0], "data__limit": None, "objectives": ("robust_accuracy", "macs"),
        "search__start_from__runs": [Path("runs/a")],
    }  # fmt: skip
    found = load_config(config, [_override(field, value) for field, value in given.items()])
    assert (found.training.learning_rate, found.threat.epsilon, found.budget.params) == (1e-5, 8 / 255, 10_000)
    assert (found.search.trials, found.data.limit, found.objectives) == (7, None, ("robust_accuracy", "macs"))
    assert found.search.start_from.runs == (Path("runs/a"),)


def test_importing_nas_is_instant_and_its_functions_are_there_in_any_order() -> None:
    code = (
        "import sys, nas\n"
        "assert not {'torch', 'pandas', 'pydantic', 'optuna'} & sys.modules.keys()\n"
        "assert {'search', 'open', 'load'} <= set(dir(nas))\n"
        "import nas.search.settings\n"
        "assert callable(nas.search) and callable(nas.open) and nas.search.settings.SearchSettings\n"
        "assert not {'torch', 'pandas', 'optuna'} & sys.modules.keys()\n"
        "try: nas.serach\n"
        "except AttributeError as error: print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "module 'nas' has no attribute 'serach'\n"), found.stderr
