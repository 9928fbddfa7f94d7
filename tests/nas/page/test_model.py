"""What a page shows, against what the files say and what the terminal prints."""

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.base.records import Interval, TrialRecord
from nas.page import Asked, page_model
from nas.page.progress import hypervolumes
from nas.pareto import hypervolume, parse_condition, pick
from nas.runs import Run, open_run
from nas.studies.pairs import paired
from tests.made_run import made_run, write_study
from tests.tiny_run import nas

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return open_run(made_run(tmp_path_factory.mktemp("page") / "made", 40))


@pytest.fixture(scope="module")
def model(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(page_model(run), allow_nan=False))
    return found


def test_every_trial_is_in_its_group(run: Run, model: dict[str, Any]) -> None:
    front = {record.number for record in run.front().records}
    groups = dict(zip(model["trials"]["number"], model["trials"]["group"], strict=True))
    assert {number for number, group in groups.items() if group == "front"} == front
    for record in run.records:
        if record.number not in front:
            expected = "dominated" if record.is_feasible else "infeasible" if record.evaluation else record.state.value
            assert groups[record.number] == expected
    assert model["tiles"][1]["value"] == str(len(front))


def test_the_hypervolume_is_the_one_in_the_terminal(run: Run, model: dict[str, Any], capsys: Capture) -> None:
    printed = " ".join(nas(capsys, "front", run.folder).out.split())
    found = re.search(r"hypervolume (\d\.\d{4})", printed)
    assert found
    assert f"{model['progress']['hypervolume'][-1]:.4f}" == found[1]
    assert found[1] in [tile["value"] for tile in model["tiles"]]


def test_the_hypervolume_after_each_trial_is_that_of_the_trials_so_far(run: Run) -> None:
    objectives = run.config.parsed_objectives
    reference = run.reference_point()
    shares, sizes = hypervolumes(run.records, objectives, reference)
    for count in (1, 2, 7, 20, len(run.records)):
        front = run.front(records=run.records[:count]).records
        assert shares[count - 1] == pytest.approx(hypervolume(front, objectives, reference), rel=1e-12)
        assert sizes[count - 1] == len(front)


@pytest.mark.parametrize("score", ["robust_accuracy", "instability"])
def test_the_best_within_a_budget_is_the_one_that_the_terminal_picks(
    run: Run, model: dict[str, Any], capsys: Capture, score: str
) -> None:
    (budget,) = (b for b in model["budgets"] if (b["cost"], b["score"]) == ("params", score))
    assert budget["steps"]
    for limit, number in budget["steps"]:
        ended = nas(
            capsys, "front", run.folder, "--where", f"params<={limit}", "--pick", f"best:{score}", "--format", "json"
        )
        assert f"picked: trial {number} (" in ended.err
        place = model["trials"]["number"].index(number)
        row = next(row for row in json.loads(ended.out) if row["number"] == number)
        assert model["trials"]["values"][score][place] == pytest.approx(row[score], rel=1e-8)


def test_paired_differences_are_those_of_the_study(run: Run, model: dict[str, Any]) -> None:
    found = model["pairs"]
    low, high = (np.frombuffer(base64.b64decode(found[end]), "<f4") for end in ("low", "high"))
    count, width = len(found["trials"]), len(found["measures"])
    assert found["measures"] == [*model["objectives"], "natural_accuracy"]
    assert len(low) == len(high) == count * (count - 1) // 2 * width
    records = sorted(run.front().records, key=lambda record: found["trials"].index(record.number))
    objectives = (*run.config.parsed_objectives, *(m for m in [_measure("natural_accuracy")]))
    pairs = paired(run, records, objectives)
    for i, j in ((0, 1), (0, count - 1), (2, 3)):
        place = i * count - i * (i + 1) // 2 + (j - i - 1)
        for m, one in enumerate(pairs.between(found["trials"][i], found["trials"][j])):
            shown = low[place * width + m], high[place * width + m]
            if one.low is None:
                assert np.isnan(shown).all()
            else:
                assert shown == pytest.approx((one.low, one.high), rel=1e-6, abs=1e-9)
            assert found["means"][i][m] == pytest.approx(one.a, rel=1e-8)


def _measure(name: str) -> Any:
    from nas.measures import measure

    return measure(name)


def test_intervals_and_ranks_are_those_of_the_terminal(run: Run, model: dict[str, Any], capsys: Capture) -> None:
    rows = json.loads(nas(capsys, "front", run.folder, "--intervals", "--format", "json").out)
    for row in rows:
        place = model["trials"]["number"].index(row["number"])
        assert model["trials"]["rank"][place] == row["rank"]
        for name, interval in row["intervals"].items():
            shown = model["intervals"][name]
            assert (shown["low"][place], shown["high"][place]) == pytest.approx(
                (interval["low"], interval["high"]), rel=1e-8
            )


def test_networks_are_drawn_as_they_cost(run: Run, model: dict[str, Any]) -> None:
    fields = model["networks"]["fields"]
    for record in run.records:
        blocks = [dict(zip(fields, block, strict=True)) for block in model["networks"]["of"][record.genotype.key]]
        assert sum(block["params"] for block in blocks) == record.costs.params
        assert max(block["activation_bytes"] for block in blocks) == record.costs.peak_activation_bytes


def test_the_page_opens_at_the_knee_or_at_what_was_picked(run: Run, model: dict[str, Any]) -> None:
    knee = pick("knee", run.front()).record.number
    assert (model["picked"]["trial"], model["knee"]) == (knee, knee)
    other = pick("best:params", run.front())
    found = page_model(run, Asked(picked=other))
    assert (found["picked"]["trial"], found["knee"]) == (other.record.number, knee)


def test_conditions_and_objectives_make_another_front(run: Run) -> None:
    condition = parse_condition("params<=20000")
    objectives = tuple(_measure(name) for name in ("robust_accuracy", "params"))
    found = page_model(run, Asked(objectives, (condition,)))
    kept = [r for r in run.records if r.evaluation and r.costs.params <= 20000]
    front = run.front(objectives, kept)
    assert set(found["trials"]["number"]) == {record.number for record in kept}
    shown = zip(found["trials"]["number"], found["trials"]["group"], strict=True)
    assert {number for number, group in shown if group == "front"} == {record.number for record in front.records}
    assert "Only trials with params <= 20000 are shown." in found["searched"]


def test_a_run_without_any_front_has_a_page_that_says_so(tmp_path: Path) -> None:
    def hopeless(record: TrialRecord) -> TrialRecord:
        return replace(record, violations={"natural_accuracy >= 0.5": 0.3})

    found = page_model(open_run(made_run(tmp_path / "made", 4, change=hopeless)))
    assert "no front to choose from" in found["found"][0]
    assert (found["picked"], found["budgets"], found["pairs"]["trials"]) == (None, [], [])
    assert found["trials"]["broken"][0] == ["beyond natural_accuracy >= 0.5 by 30.0 %"]
    write_study(tmp_path / "made" / "study.journal", [])
    empty = page_model(open_run(tmp_path / "made"))
    assert (empty["trials"]["number"], empty["progress"]["hypervolume"]) == ([], [])


def test_sentences_say_what_was_searched_and_found(model: dict[str, Any]) -> None:
    text = " ".join([*model["searched"], *model["found"]])
    for part in ("digits", "10 classes", "linf ε = 0.1", "robust accuracy (more is better)", "32,000 possible networks",
                 "on the Pareto front", "A balanced choice is trial", "95 % interval"):  # fmt: skip
        assert part in text
    assert model["command"]["retrain"].startswith("nas retrain ")


def test_a_tie_is_said_at_the_top_and_not_again_below(run: Run, model: dict[str, Any], tmp_path: Path) -> None:
    def alike(record: TrialRecord) -> TrialRecord:
        found = record.evaluation
        return replace(record, evaluation=found and replace(found, robust_interval=Interval(0.2, 0.9)))

    found = page_model(open_run(made_run(tmp_path / "made", 12, change=alike)))
    (text,) = found["ties"]
    assert text.startswith(f"all {found['tiles'][1]['value']} members tie in robust accuracy")
    assert text not in found["notes"]
    assert run.front().is_tied is bool(model["ties"])


def test_one_network_on_the_front_beats_all_others(run: Run) -> None:
    alone = page_model(run, Asked((_measure("robust_accuracy"),)))
    assert alone["found"][0] == (
        "1 network is on the Pareto front: it is at least as good as every other in all of robust accuracy."
    )
