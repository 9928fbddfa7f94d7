"""What more of a budget buys: the page's own numbers, in a terminal and for programs."""

import base64
import csv
import io
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from nas.measures import MEASURES
from nas.page.model import page_model
from nas.report.questions import what_if_tables
from nas.runs import Run, open_run
from nas.studies.what_if import what_if
from tests.made_run import made_run
from tests.tiny_run import nas

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return open_run(made_run(tmp_path_factory.mktemp("what_if") / "made", 40))


@pytest.mark.parametrize("cost", ["params", "macs", "weight_bytes", "peak_activation_bytes"])
def test_steps_and_gains_are_those_of_the_page(run: Run, cost: str) -> None:
    model = page_model(run)
    facts = what_if(run, run.front(), cost)
    pairs, count = model["pairs"], len(model["pairs"]["trials"])
    upper = {pair: row for row, pair in enumerate(zip(*np.triu_indices(count, 1), strict=True))}
    shape = (len(upper), len(pairs["measures"]))
    low, high = (np.frombuffer(base64.b64decode(pairs[end]), "<f4").reshape(shape) for end in ("low", "high"))
    is_paired = set()
    for budget in (one for one in model["budgets"] if one["cost"] == cost):
        rows = [step for step in facts["steps"] if step["score"] == budget["score"]]
        assert [[row["limit"], row["trial"]] for row in rows] == budget["steps"]
        assert rows[0]["gain"] is None
        assert len(rows) > 1 or MEASURES[budget["score"]].is_sensitivity
        m = pairs["measures"].index(budget["score"])
        for before, row in pairwise(rows):
            i, j = (pairs["trials"].index(one["trial"]) for one in (row, before))
            is_paired.add(row["low"] is not None)
            assert row["gain"] == pytest.approx(pairs["means"][i][m] - pairs["means"][j][m], abs=1e-5)
            at, sign = (upper[i, j], 1) if i < j else (upper[j, i], -1)
            ends = [float(sign * end[at, m]) for end in (low, high)[::sign]]
            if np.isnan(ends).any():
                assert (row["low"], row["high"]) == (None, None)
            else:
                assert [row["low"], row["high"]] == pytest.approx(ends, abs=1e-6)
    assert True in is_paired, "nothing was compared"


def test_every_step_is_better_in_its_own_direction(run: Run) -> None:
    for row in what_if(run, run.front(), "params")["steps"]:
        if row["gain"] is not None:
            assert MEASURES[row["score"]].loss(row["gain"]) < 0


def test_the_table_fits_80_columns_whole(run: Run) -> None:
    facts = what_if(run, run.front(), "weight_bytes")
    console = Console(width=80, file=io.StringIO())
    console.print(*what_if_tables(facts))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for row in facts["steps"]:
        assert f"{row['limit']:,.0f}" in text
    robust = [row for row in facts["steps"] if row["score"] == "robust_accuracy" and row["gain"] is not None]
    assert all(f"{row['low']:+.3f} to {row['high']:+.3f}" in text for row in robust)


def test_the_verb_prints_a_table_json_and_csv(run: Run, capsys: Capture) -> None:
    words = ["front", run.folder, "--what-if", "macs"]
    facts = json.loads(nas(capsys, *words, "--format", "json").out)
    assert facts == what_if(run, run.front(), "macs")
    assert facts["notes"][-1].startswith("MACs: no objective of this front")
    lines = list(csv.DictReader(io.StringIO(nas(capsys, *words, "--format", "csv").out)))
    assert [(line["score"], int(line["trial"]), float(line["limit"])) for line in lines] == [
        (row["score"], row["trial"], row["limit"]) for row in facts["steps"]
    ]
    shown = nas(capsys, *words).out
    assert "Best robust accuracy within a budget of MACs" in shown
    assert "288 validation images" in shown
    within = json.loads(nas(capsys, *words, "--where", "params<=10k", "--format", "json").out)
    genotypes = {record.number: record.costs.params for record in run.records}
    assert all(genotypes[row["trial"]] <= 10_000 for row in within["steps"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--what-if", "robust_accuracy"], "no cost (allowed: params, macs, weight_bytes"),
        (["--what-if", "params", "--objectives", "params"], "needs an objective that is no cost"),
        (["--what-if", "params", "--intervals"], "leave out"),
    ],
)
def test_what_it_cannot_answer_is_refused(run: Run, capsys: Capture, options: list[str], words: str) -> None:
    ended = nas(capsys, "front", run.folder, *options)
    assert (ended.code, words in ended.message) == (2, True)


def test_an_empty_front_is_said_to_be_one(run: Run, capsys: Capture) -> None:
    ended = nas(capsys, "front", run.folder, "--what-if", "params", "--where", "params<=1")
    assert (ended.code, "the front is empty" in ended.out) == (0, True)


def test_without_scores_image_by_image_there_are_gains_and_a_reason(tmp_path: Path) -> None:
    run = open_run(made_run(tmp_path / "made", 20))
    for path in run.trials_folder.glob("*/images_front.safetensors"):
        path.unlink()
    facts = what_if(run, run.front(), "params")
    later = [row for row in facts["steps"] if row["gain"] is not None and row["score"] == "robust_accuracy"]
    assert later
    assert all((row["low"], row["verdict"]) == (None, "unknown") for row in later)
    assert "no paired differences" in facts["notes"][0]
