"""Paired differences: against the images' own, in words, and where there is nothing to pair."""

from pathlib import Path

import numpy as np
import pytest

from nas.evaluation.scores import load_scores
from nas.measures import MEASURES
from nas.runs import Run, open_run
from nas.runs.members import sure_front
from nas.runs.trial_files import images_path, trial_folder
from nas.studies.pairs import paired, verdict_of
from tests.made_run import made_run

ROBUST, PARAMS, INSTABILITY = (MEASURES[name] for name in ("robust_accuracy", "params", "instability"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return open_run(made_run(tmp_path_factory.mktemp("pairs") / "made", 30))


def robust(run: Run, number: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    images = load_scores(images_path(trial_folder(run.trials_folder, number), "front"))
    return images.robust.double().numpy()


def test_a_difference_is_that_of_the_images_and_its_interval_near_the_normal_one(run: Run) -> None:
    front = run.front().records
    pairs = paired(run, front, (ROBUST, INSTABILITY, PARAMS))
    for a, b in ((front[0], front[1]), (front[0], front[-1]), (front[2], front[5])):
        found, _, cost = pairs.between(a.number, b.number)
        images = robust(run, a.number) - robust(run, b.number)
        assert found.value == pytest.approx(images.mean(), abs=1e-12)
        assert found.low is not None
        assert found.high is not None
        half = 1.96 * images.std() / np.sqrt(len(images))
        assert found.low == pytest.approx(images.mean() - half, abs=0.2 * half + 0.004)
        assert found.high == pytest.approx(images.mean() + half, abs=0.2 * half + 0.004)
        assert cost.verdict == "exact"
        assert cost.value == a.costs.params - b.costs.params


def test_the_other_way_round_it_is_the_opposite(run: Run) -> None:
    front = run.front().records
    pairs = paired(run, front, (ROBUST,))
    for a, b in ((0, 1), (3, 1)):
        (there,) = pairs.between(front[a].number, front[b].number)
        (back,) = pairs.between(front[b].number, front[a].number)
        assert there.value == -back.value
        assert back.high is not None
        assert back.low is not None
        assert (there.low, there.high) == (-back.high, -back.low)


def test_verdicts_are_the_ranks_of_the_front(run: Run) -> None:
    """A member's best rank is 1 plus the number of those that are surely better."""
    front = run.front()
    pairs = paired(run, front.records, front.objectives)
    for member in sure_front(run, front).members:
        verdicts = [pairs.between(other.number, member.record.number)[0].verdict for other in front.records]
        assert member.rank is not None
        assert member.rank[0] == 1 + verdicts.count("better")
        assert member.rank[1] == len(verdicts) - verdicts.count("worse")


@pytest.mark.parametrize(
    ("name", "difference", "low", "high", "verdict"),
    [
        ("robust_accuracy", 0.1, 0.05, 0.15, "better"), ("robust_accuracy", -0.1, -0.15, -0.05, "worse"),
        ("instability", -0.1, -0.2, -0.05, "better"), ("robust_accuracy", 0.1, -0.1, 0.2, "tied"),
        ("robust_accuracy", 0.0, 0.0, 0.0, "tied"), ("lipschitz_certified_log10", 0.4, None, None, "unknown"),
        ("params", -5.0, -5.0, -5.0, "exact"), ("params", -5.0, None, None, "exact"),
    ],
)  # fmt: skip
def test_verdicts(name: str, difference: float, low: float | None, high: float | None, verdict: str) -> None:
    assert verdict_of(MEASURES[name], difference, low, high) == verdict


def test_a_score_that_is_no_mean_of_images_has_no_interval_from_one_training(run: Run) -> None:
    pairs = paired(run, run.front().records[:2], (MEASURES["lipschitz_certified_log10"],))
    (found,) = pairs.between(*pairs.numbers)
    assert (found.low, found.high, found.verdict) == (None, None, "unknown")
    assert pairs.notes == ("one training each: the intervals are for other images, not for other trainings",)


def test_without_scores_image_by_image_there_is_a_difference_and_a_reason(tmp_path: Path) -> None:
    run = open_run(made_run(tmp_path / "made", 12))
    records = run.front().records[:2]
    images_path(trial_folder(run.trials_folder, records[0].number), "front").unlink()
    pairs = paired(run, records, (ROBUST,))
    (found,) = pairs.between(*pairs.numbers)
    assert records[0].evaluation is not None
    assert records[1].evaluation is not None
    assert found.value == records[0].evaluation.robust_accuracy - records[1].evaluation.robust_accuracy
    assert (found.low, found.verdict) == (None, "unknown")
    assert "is missing" in pairs.notes[0]
    assert paired(run, (), (ROBUST,)).numbers == ()
