"""Searches on a table: epochs are counted, time is virtual, luck does not count, and comparisons are right."""

import json
from math import inf
from pathlib import Path

import numpy as np
import pytest

from nas.base.errors import UsageError
from nas.base.records import Interval
from nas.report.replays import replay_markdown
from nas.studies.replay import Summary, Variant, compare, variants
from nas.studies.replay.compare import FEW
from nas.studies.replay.virtual import Replay, Step
from tests.nas.studies.replay.conftest import EPOCHS
from tests.tiny_run import nas

Capture = pytest.CaptureFixture[str]


def played(overrides: tuple[str, ...] = (), seeds: int = 1) -> tuple[Replay, ...]:
    done: list[int] = []
    (summary,) = compare(
        Path("table.csv"), Path("tiny.yaml"), overrides, variants([]), seeds, lambda n, _: done.append(n)
    )
    assert done == list(range(1, seeds + 1))
    return summary.replays


def test_every_candidate_costs_its_epochs_and_its_time(bench: Path) -> None:
    (found,) = played()
    assert [step.epochs for step in found.steps] == [EPOCHS * n for n in range(1, 7)]
    assert (found.candidates, found.halted) == (6, 0)
    # The anchors come first: the smallest network takes 4 epochs of 1 s, the largest of 2 s.
    assert [step.seconds for step in found.steps[:2]] == [4.0, 12.0]


def test_a_search_begins_with_what_it_is_told_to(bench: Path) -> None:
    smallest, largest = "{width: 0.5, expand: 1}", "{width: 1, expand: 4}"
    (found,) = played((f"search.start_from.genotypes=[{largest}, {smallest}]", "search.anchors=false"))
    assert [step.seconds for step in found.steps[:2]] == [8.0, 12.0], "the other way round than the anchors"


def test_halted_candidates_leave_their_epochs_to_others(bench: Path) -> None:
    (found,) = played(("search.trials=4", "search.halting.epochs=[1]", "search.halting.keep=0.34"))
    assert found.halted > 0
    assert found.candidates > 4
    assert found.steps[-1].epochs == found.halted + EPOCHS * (found.candidates - found.halted)
    assert 3 * EPOCHS < found.steps[-1].epochs < 5 * EPOCHS


def test_candidates_that_run_at_once_share_the_time(bench: Path) -> None:
    (one,), (two,) = played(), played(("search.workers=2",))
    assert two.steps[1].seconds == 8.0, "both anchors at once"
    assert two.steps[-1].seconds < one.steps[-1].seconds
    assert two.steps[-1].epochs == one.steps[-1].epochs


def test_a_search_is_scored_by_the_training_that_it_did_not_see(bench: Path) -> None:
    found = played(("search.trials=1",), seeds=6)
    # The smallest network alone: 0.30 robust from one seed, 0.32 from the other; its hypervolume is in proportion.
    ratios = [one.steps[0].unseen / one.steps[0].hypervolume for one in found]
    assert {round(ratio, 6) for ratio in ratios} == {round(0.30 / 0.32, 6), round(0.32 / 0.30, 6)}
    assert [one.seed for one in found] == list(range(6))


def test_the_whole_space_is_trained_once_and_its_proposals_beyond_are_reused(bench: Path) -> None:
    (found,) = played(("search.trials=12",))
    assert (found.candidates, len(found.steps)) == (12, 12)
    assert found.reused > 0


def test_the_same_seed_meets_the_same_trainings_in_every_variant(bench: Path) -> None:
    chosen = variants(["search.sampler=[random, nsga2]"])
    random, evolution = compare(Path("table.csv"), Path("tiny.yaml"), (), chosen, 2, lambda *_: None)
    # Both begin with the anchors: whatever their samplers are, these give the same.
    assert [one.steps[1].hypervolume for one in random.replays] == [
        one.steps[1].hypervolume for one in evolution.replays
    ]
    assert [v.variant.label for v in (random, evolution)] == ["sampler random", "sampler nsga2"]


def test_many_searches_in_processes_give_what_few_give_here(bench: Path) -> None:
    few, many = played(seeds=2), played(seeds=FEW + 1)
    assert many[:2] == few


def test_variants_are_all_combinations() -> None:
    found = variants(["search.sampler=[random, tpe]", "search.halting.epochs=[[], [1, 3]]"])
    assert [v.label for v in found] == [
        "sampler random, halting.epochs []", "sampler random, halting.epochs [1, 3]",
        "sampler tpe, halting.epochs []", "sampler tpe, halting.epochs [1, 3]",
    ]  # fmt: skip
    assert found[3].overrides == ("search.sampler=tpe", "search.halting.epochs=[1, 3]")


@pytest.mark.parametrize("text", ["search.sampler=nsga2", "search.sampler", "search.sampler=[]", "training.beta=[1]"])
def test_what_cannot_be_varied_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--vary"):
        variants([text])


def straight(slope: float, count: int = 4) -> Summary:
    """Searches of ten epochs whose hypervolume rises by `slope` an epoch, a little more from seed to seed."""
    steps = [
        tuple(Step(epoch, epoch, 0.0, slope * epoch + 1e-4 * seed) for epoch in range(1, 11)) for seed in range(count)
    ]
    replays = tuple(Replay(seed, one, 10, 0, 0) for seed, one in enumerate(steps))
    return Summary(Variant(f"slope {slope}", ()), replays, 10)


def test_the_share_of_epochs_to_the_baselines_end_is_exact_for_straight_lines() -> None:
    slow, fast = straight(0.01), straight(0.02)
    share, bar = fast.share_of(slow)
    assert share == pytest.approx(0.5, abs=0.01)
    assert bar.low <= 0.5 <= bar.high <= 0.61
    assert slow.share_of(fast) == (inf, Interval(inf, inf))
    own, _ = slow.share_of(slow)
    assert own == pytest.approx(1.0)
    mean, interval = fast.final()
    assert mean == pytest.approx(0.2 + 1.5e-4)
    assert interval.low < mean < interval.high


def test_a_share_that_some_resamples_never_reach_has_an_open_interval() -> None:
    slow = straight(0.01)
    row = slow.row(slow)
    assert row["share"] == pytest.approx(1.0, abs=0.01)
    assert row["share_high"] is None
    (line,) = [line for line in replay_markdown([row]).splitlines() if line.startswith("| slope")]
    assert line.endswith(f"| {row['share']:.2f} ({row['share_low']:.2f}–never) |")
    never = slow.row(straight(0.02))
    assert (never["share"], never["share_low"]) == (None, None)
    assert "| never |" in replay_markdown([never])
    assert "the baseline, slope 0.01, in the end" in replay_markdown([row, never])


def test_hypervolume_between_two_steps_is_that_of_the_step_before() -> None:
    one = Summary(Variant("x", ()), (Replay(0, (Step(4, 0, 0, 0.3), Step(8, 0, 0, 0.5)), 2, 0, 0),), 10)
    at = dict(zip(one.grid.tolist(), one.curves[0].tolist(), strict=True))
    assert (at[0.0], at[2.0], at[4.0], at[6.0], at[8.0], at[10.0]) == (0, 0, 0.3, 0.3, 0.5, 0.5)


def test_the_verb_prints_all_formats_and_draws(bench: Path, capsys: Capture) -> None:
    words = ["study", "replay", "table.csv", "tiny.yaml", "--seeds", "3", "--vary", "search.sampler=[nsga2, random]"]
    shown = nas(capsys, *words, "--png", "out/replay.png")
    assert (shown.code, (bench / "out/replay.png").read_bytes()[:4]) == (0, b"\x89PNG")
    assert "sampler random" in shown.out
    data = json.loads(nas(capsys, *words, "--format", "json").out)
    assert [row["variant"] for row in data["variants"]] == ["sampler nsga2", "sampler random"]
    assert data["variants"][0]["epochs"] == 6 * EPOCHS
    assert np.isclose(data["curves"][200]["hypervolume"], data["variants"][0]["hypervolume"])
    csv = nas(capsys, *words, "--format", "csv").out.splitlines()
    assert (csv[0], len(csv)) == ("variant,epochs,hypervolume,low,high", 1 + 2 * 201)
    markdown = nas(capsys, *words, "--format", "markdown").out.splitlines()
    assert markdown[0].startswith("| variant | candidates")
    assert markdown[2].startswith("| sampler nsga2 | 6 | 0 |")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("training.epochs=9", "holds trainings of 4 epochs"),
        ("search.inherit=true", "from random weights"),
        ("objectives=[robust_accuracy, lipschitz_certified_log10]", "lipschitz_certified_log10"),
    ],
)
def test_a_config_that_the_table_cannot_answer_is_refused(
    bench: Path, capsys: Capture, option: str, message: str
) -> None:
    ended = nas(capsys, "study", "replay", "table.csv", "tiny.yaml", "--set", option)
    assert ended.code == 2
    assert message in ended.message
