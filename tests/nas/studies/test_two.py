"""A against B: as on the page, off the front under the attacks that both have met, and where it cannot be told."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from nas.base.records import TrialRecord, TrialState
from nas.report.questions import two_table
from nas.runs import Run, open_run
from nas.studies.pairs import front_pairs
from nas.studies.two import two_trials
from tests.made_run import made_run
from tests.tiny_run import nas

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return open_run(made_run(tmp_path_factory.mktemp("two") / "made", 30, overrides=["budget.params=30000"]))


def two(run: Run) -> tuple[TrialRecord, TrialRecord]:
    front = run.front().records
    return front[0], front[-1]


def test_members_of_the_front_are_compared_as_on_the_page(run: Run) -> None:
    a, b = two(run)
    facts = two_trials(run, run.front(), a, b)
    rows = {row["measure"]: row for row in facts["rows"]}
    for one in front_pairs(run, run.front()).between(a.number, b.number):
        row = rows[one.measure.name]
        assert (row["difference"], row["low"], row["high"], row["verdict"]) == (
            one.value, one.low, one.high, one.verdict,
        )  # fmt: skip
    assert list(rows) == ["robust_accuracy", "instability", "lipschitz_bound_log10", "params", "natural_accuracy",
                          "macs", "weight_bytes", "peak_activation_bytes"]  # fmt: skip
    assert rows["macs"]["difference"] == a.costs.macs - b.costs.macs
    assert rows["params"]["better"] == ("A" if a.costs.params < b.costs.params else "B")
    assert rows["robust_accuracy"]["better"] == "A", "the first of the front is the most robust one"
    assert any(f"A (trial {a.number}) is better in robust accuracy" in text for text in facts["words"])
    back = {row["measure"]: row for row in two_trials(run, run.front(), b, a)["rows"]}
    assert (back["instability"]["low"], back["instability"]["high"]) == (
        -rows["instability"]["high"], -rows["instability"]["low"],
    )  # fmt: skip


def test_what_cannot_be_told_is_said(run: Run) -> None:
    front = run.front().records
    found = [two_trials(run, run.front(), front[0], other) for other in front[1:]]
    tied = [facts for facts in found for row in facts["rows"] if row["verdict"] == "tied"]
    assert tied
    assert all(any(text.startswith("cannot be told apart: ") for text in facts["words"]) for facts in tied)
    assert all(row["better"] is None for facts in tied for row in facts["rows"] if row["verdict"] == "tied")


def test_a_trial_off_the_front_is_compared_under_the_attacks_that_both_have_met(run: Run) -> None:
    numbers = {record.number for record in run.front().records}
    other = next(r for r in run.records if r.number not in numbers and r.state is TrialState.COMPLETE)
    facts = two_trials(run, run.front(), two(run)[0], other)
    robust = facts["rows"][0]
    assert robust["measure"] == "robust_accuracy"
    assert robust["low"] is not None
    assert "not both are on the front: compared under the attacks that both have met" in facts["notes"]
    assert "pgd (steps 20" in facts["compared_under"][0]


def test_of_a_trial_without_scores_only_costs_are_compared(run: Run) -> None:
    rejected = next(record for record in run.records if record.state is TrialState.REJECTED)
    facts = two_trials(run, run.front(), two(run)[0], rejected)
    assert {row["verdict"] for row in facts["rows"]} == {"exact"}
    assert facts["notes"] == [
        f"only costs can be compared: trial {rejected.number} is rejected, and was not trained to its end"
    ]
    assert facts["compared_under"] == []
    reused = replace(two(run)[1], number=99, reused_from=two(run)[1].number)
    assert "has the architecture" in two_trials(run, run.front(), two(run)[0], reused)["notes"][0]


def test_trials_without_a_common_attack_are_not_compared(tmp_path: Path) -> None:
    def other_attack(record: TrialRecord) -> TrialRecord:
        if record.number != 3 or record.evaluation is None:
            return record
        attack = {"name": "fgsm"}
        rung = replace(record.evaluation.ladder[0], attack=attack)
        return replace(record, evaluation=replace(record.evaluation, attack=attack, ladder=(rung,)),
                       violations={"natural_accuracy >= 0.5": 0.5})  # fmt: skip

    run = open_run(made_run(tmp_path / "made", 8, change=other_attack))
    facts = two_trials(run, run.front(), run.front().records[0], run.records[3])
    assert "no attack is common to all trials" in facts["notes"][0]
    assert {row["verdict"] for row in facts["rows"]} == {"exact"}


def test_the_verb_prints_a_table_of_80_columns_and_json(run: Run, capsys: Capture) -> None:
    a, b = two(run)
    ended = nas(capsys, "show", run.folder, str(a.number), "best:params", "--format", "json")
    facts = json.loads(ended.out)
    small = facts["b"]["trial"]
    assert f"trial {small}: best params" in ended.err
    assert facts["a"] == {
        "trial": a.number, "state": "complete", "key": a.genotype.key, "genotype": dict(a.genotype.values),
    }  # fmt: skip
    shown = nas(capsys, "show", run.folder, str(a.number), str(b.number)).out
    assert f"A: trial {a.number}, B: trial {b.number}" in shown
    assert "both saw the same images" in shown
    console = Console(width=80, file=io.StringIO())
    console.print(two_table(facts))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    assert all(f"{row['a']:,.0f}" in text for row in facts["rows"] if row["measure"].endswith("bytes"))
    same = nas(capsys, "show", run.folder, str(a.number), str(a.number))
    assert (same.code, "name two different trials" in same.message) == (2, True)
    both = nas(capsys, "show", run.folder, "0", "1", "--lipschitz")
    assert (both.code, "leave out the second PICK" in both.message) == (2, True)
