"""An objective that is one entry in MEASURES: a number computed from a record works wherever a stored one does."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from nas.base.records import TrialRecord, TrialState
from nas.pareto import MEASURES, Measure, derived_of, number_of
from nas.pareto.uncertainty import Trainings, members_of
from nas.runs import open_run
from nas.runs.members import sure_front
from tests.builders import trial
from tests.tiny_run import nas, write_config
from tests.toy import search, settings, toy_problem

Capture = pytest.CaptureFixture[str]
DERIVED = "robust_per_kilo_accuracy"
"""Ends like an accuracy, which has an interval."""


def per_kilo(record: TrialRecord) -> float:
    if record.evaluation is None:
        raise ValueError(f"trial {record.number} has no evaluation")
    return 1000 * record.evaluation.robust_accuracy / record.costs.params


@pytest.fixture(autouse=True)
def efficiency(monkeypatch: pytest.MonkeyPatch) -> Measure:
    """The metric, registered."""
    found = Measure(DERIVED, "maximize", "fraction", "robust accuracy per 1,000 parameters", 10.0, derive=per_kilo)
    monkeypatch.setitem(MEASURES, DERIVED, found)
    return found


def test_a_derived_metric_is_one_that_no_record_stores() -> None:
    assert derived_of(trial(0, params=500, robust=0.6)) == {DERIVED: pytest.approx(1.2)}
    assert derived_of(trial(0, state=TrialState.REJECTED)) == {DERIVED: None}
    assert number_of(MEASURES["lipschitz_certified_log10"], trial(0, lipschitz_certified_log10=None)) is None  # type: ignore[arg-type]


def test_a_search_optimises_it(tmp_path: Path, efficiency: Measure) -> None:
    problem = toy_problem(objectives=("params", "natural_accuracy"))
    problem = type(problem)(**{**vars(problem), "objectives": (efficiency, MEASURES["params"]),
                               "reference_point": (0.0, 3500.0)})  # fmt: skip
    found = search(tmp_path / "j", problem, settings(8))
    assert len(found.fresh) == 8
    assert 0 < found.reports[-1].hypervolume < 1


def test_every_verb_shows_it(copy: Path, capsys: Capture) -> None:
    chosen = ("--objectives", f"{DERIVED},params")
    expected = {record.number: per_kilo(record) for record in open_run(Path("runs/tiny")).records}
    pictures = ("--png", "front.png", "--html", "front.html")
    rows = json.loads(nas(capsys, "front", "runs/tiny", *chosen, *pictures, "--format", "json").out)
    assert rows
    assert all(row[DERIVED] == pytest.approx(expected[row["number"]]) for row in rows)
    table = list(csv.DictReader(io.StringIO(nas(capsys, "front", "runs/tiny", *chosen, "--format", "csv").out)))
    assert [float(row[DERIVED]) for row in table] == pytest.approx([row[DERIVED] for row in rows])
    printed = nas(capsys, "front", "runs/tiny", *chosen)
    assert (printed.code, f"{rows[0][DERIVED]:.3g}" in printed.out) == (0, True)
    assert f'"{DERIVED}"' in Path("front.html").read_text(encoding="utf-8")
    best = max(expected, key=expected.__getitem__)
    shown = json.loads(nas(capsys, "show", "runs/tiny", f"best:{DERIVED}", "--format", "json").out)
    assert (shown["number"], shown["derived"]) == (best, {DERIVED: pytest.approx(expected[best])})
    assert "robust accuracy per 1,000 parameters" in nas(capsys, "show", "runs/tiny", str(best)).out
    assert nas(capsys, "front", "runs/tiny", "--where", f"{DERIVED}>=1e3").out.startswith("the front is empty")


def test_it_has_no_interval_and_that_is_said(here: Path, efficiency: Measure) -> None:
    run, objectives = open_run(Path("runs/tiny")), (MEASURES["robust_accuracy"], efficiency)
    sure = sure_front(run, run.front(objectives))
    assert sure.members
    for member in sure.members:
        assert member.intervals.keys() == {"robust_accuracy"}
        assert member.values[DERIVED] == (pytest.approx(per_kilo(member.record)),)
    assert any(note.startswith(f"{DERIVED}: computed from other scores") for note in sure.notes)


def test_trainings_of_it_give_a_mean_without_an_interval(efficiency: Measure) -> None:
    (member,) = members_of([trial(0)], [Trainings(np.array([[0.5], [0.7]]), (None,))], (efficiency,))
    assert (member.mean(DERIVED), member.intervals) == (pytest.approx(0.6), {})


def test_a_config_names_it_with_its_worst_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_config(tmp_path)
    objectives = ("--set", f"objectives=[{DERIVED}, params]")
    refused = nas(capsys, "check", path, "--no-time", *objectives)
    assert (refused.code, "set search.reference_point" in " ".join(refused.message.split())) == (2, True)
    named = (*objectives, "--set", f"search.reference_point={{{DERIVED}: 0}}")
    assert f"{DERIVED} (maximize)" in nas(capsys, "check", path, "--no-time", *named).out
    ended = nas(capsys, "search", path, *named, "--format", "json")
    assert ended.code == 0, ended.err
    for row in json.loads(ended.out):
        assert row[DERIVED] == pytest.approx(1000 * row["robust_accuracy"] / row["params"])
