"""Trials that met different attacks are compared under those that all have met, or not at all."""

import dataclasses
import json
from collections.abc import Sequence
from math import isnan
from pathlib import Path

import pytest
import torch

from nas.base.errors import UsageError
from nas.base.records import Interval, Rung, TrialRecord, TrialState
from nas.evaluation.scores import ImageScores, save_scores
from nas.pareto import MEASURES
from nas.runs.trial_files import images_path, trial_folder
from nas.studies import at_common_rung, check_same_images, comparison, in_common, insights, table_rows
from nas.studies.agreement import prediction_agreement, run_agreement, samples_of
from nas.studies.common_rung import evaluation_of
from tests.builders import evaluation
from tests.nas.studies.records import SPACE, spec_of, trained

NETWORKS = [(width, expand) for width in (0.25, 0.5, 1.0, 1.5) for expand in (2, 3)]
SWEPT = tuple(0.3 + 0.05 * n for n in range(8))
"""Robust accuracies under PGD-20; PGD-5 leaves 0.05 more, the attacks of the front 0.1 less."""


def met(record: TrialRecord, fidelity: str, *steps: tuple[str, float], own: str = "pgd20") -> TrialRecord:
    """`record` after these attacks, whose last iterates come from `own`."""
    rungs = tuple(Rung({"name": name}, 200, 0, robust, Interval(0, 1)) for name, robust in steps)
    scored = dataclasses.replace(
        evaluation_of(record), robust_accuracy=steps[-1][1], attack={"name": own}, ladder=rungs, fidelity=fidelity,
        warnings=(),
    )  # fmt: skip
    return dataclasses.replace(record, evaluation=scored)


def swept(number: int) -> TrialRecord:
    return met(trained(number, *NETWORKS[number]), "attack", ("pgd20", SWEPT[number]))


def screened(number: int) -> TrialRecord:
    record = trained(number, *NETWORKS[number], instability=0.05)
    return met(record, "screen", ("pgd5", SWEPT[number] + 0.05), own="pgd5")


def on_front(number: int) -> TrialRecord:
    robust = SWEPT[number]
    return met(trained(number, *NETWORKS[number]), "front", ("pgd5", robust + 0.05), ("pgd20", robust),
               ("apgd", robust - 0.1), ("square", robust - 0.1))  # fmt: skip


def write_images(folder: Path, number: int, fidelity: str, robust: float, instability: float = 0.1) -> None:
    """Scores of 200 images: the share `robust` stands against the attack of the last iterates, fewer against all."""
    path = images_path(trial_folder(folder, number), fidelity)  # type: ignore[arg-type]
    path.parent.mkdir(parents=True, exist_ok=True)
    order = torch.arange(200)
    natural, fell = order < 190, order >= round(200 * robust)
    flags = (natural, natural & ~fell & (order >= 20), fell, torch.zeros(200, dtype=torch.bool), order >= 0)
    save_scores(path, ImageScores(*flags, *(torch.full((200,), factor * instability) for factor in (1, 10, 2, 20, 3))))


def scores(records: Sequence[TrialRecord], name: str = "robust_accuracy") -> list[float]:
    return [getattr(record.evaluation, name) for record in records]


def test_a_search_is_judged_by_the_attack_that_every_candidate_met(tmp_path: Path) -> None:
    write_images(tmp_path, 1, "screen", 0.5, instability=0.04)
    front = on_front(1)
    front = dataclasses.replace(
        front, evaluation=dataclasses.replace(evaluation_of(front), balanced_robust_accuracy=0.2)
    )
    common = at_common_rung([(tmp_path, [screened(0), front])], needed=("instability",))
    (records,) = common.runs
    assert evaluation_of(records[1]).balanced_robust_accuracy is None, "of four attacks"
    assert scores(records) == pytest.approx([SWEPT[0] + 0.05, SWEPT[1] + 0.05])
    assert scores(records, "instability") == pytest.approx([0.05, 0.04])
    assert scores(records, "lipschitz_empirical_scaled")[1] == pytest.approx(0.8)
    assert [[rung.attack["name"] for rung in evaluation_of(r).ladder] for r in records] == [["pgd5"], ["pgd5"]]
    assert common.words == "1 of 2 trials met further attacks, which do not count here"


def test_the_highest_rung_that_all_have_met_counts() -> None:
    lower = met(trained(0, 0.5), "attack", ("pgd5", 0.6), ("pgd20", 0.5))
    higher = met(trained(1, 1.0), "front", ("pgd5", 0.7), ("pgd20", 0.65), ("apgd", 0.6), ("square", 0.4))
    (records,) = at_common_rung([(Path("nowhere"), [lower, higher])], needed=("instability",)).runs
    assert scores(records) == [0.5, 0.65]
    (alone,) = at_common_rung([(Path("nowhere"), [higher])]).runs
    assert alone == (higher,), "alone, the whole ladder counts"
    old = [dataclasses.replace(trained(n, 0.5), evaluation=evaluation(robust=0.2)) for n in (0, 1)]
    assert at_common_rung([(Path("nowhere"), old)]).runs == (tuple(old),), "from before there was a ladder"


def test_the_same_trainings_in_a_search_and_a_sweep_do_not_differ(tmp_path: Path) -> None:
    for number in range(8):
        write_images(tmp_path, number, "front", SWEPT[number])
    runs = {"sweep": [swept(n) for n in range(8)], "search": [on_front(n) for n in range(8)]}
    found = at_common_rung([(tmp_path, records) for records in in_common(runs).values()]).runs
    objectives = (MEASURES["robust_accuracy"], MEASURES["params"])
    first, second = comparison(dict(zip(runs, found, strict=True)), objectives, (0.0, 1e5))
    assert [second[f"robust_accuracy_{end}"] for end in ("difference", "low", "high")] == pytest.approx([0, 0, 0])
    assert second["robust_accuracy"] == pytest.approx(sum(SWEPT) / 8)
    assert second["hypervolume"] == pytest.approx(first["hypervolume"])


def test_two_runs_agree_under_the_attack_that_both_met(tmp_path: Path) -> None:
    mixed = [on_front(n) if n >= 4 else met(swept(n), "attack", ("pgd5", 0.9), ("pgd20", SWEPT[n])) for n in range(8)]
    for number in range(8):
        write_images(tmp_path, number, "front" if number >= 4 else "attack", SWEPT[number])
    samples, others = samples_of(mixed, 0), samples_of([swept(n) for n in range(8)], 0)
    (found,) = run_agreement(samples, tmp_path, others, Path("nowhere"), ("robust_accuracy",))
    assert (found.pairs, found.tau) == (8, pytest.approx(1))
    assert scores(mixed) != sorted(scores(mixed)), "as stored, they are of another order"


def test_predictions_are_compared_with_scores_under_one_attack() -> None:
    records = [on_front(n) if n in (3, 7) else screened(n) for n in range(8)]
    predictions = {n: ([float(n)], [r]) for n, r in enumerate(scores(records))}
    robust = (MEASURES["robust_accuracy"],)
    (found,) = prediction_agreement(samples_of(records, 0), Path("nowhere"), predictions, robust)
    assert found.tau == pytest.approx(1)


def test_insights_and_the_table_take_no_attack_for_an_effect(tmp_path: Path) -> None:
    robust = 0.5
    records = [met(trained(n, *network), "screen", ("pgd5", robust), own="pgd5") for n, network in enumerate(NETWORKS)]
    for number in (6, 7):  # the widest are on the front
        records[number] = met(records[number], "front", ("pgd5", robust), ("pgd20", 0.4), ("square", 0.3))
    common = at_common_rung([(tmp_path, records)])
    found = insights(common.runs[0], spec_of)
    assert found["effects"]["W"]["robust_accuracy"]["tau"] is None, "all are alike"
    assert "instability" not in found["effects"]["W"]
    assert "instability is left out: only 6 of 8 trials have it under the common attack" in found["warnings"]
    rows = table_rows(common.runs[0], SPACE.input_shape, 10)
    assert {row["robust_accuracy"] for row in rows} == {0.5}


def test_what_no_attack_is_common_to_is_refused() -> None:
    with pytest.raises(UsageError) as refused:
        at_common_rung([(Path("a/trials"), [screened(0)]), (Path("b/trials"), [swept(0), swept(1)])])
    for text in ("trial 0 in a met pgd5", "trial 0 in b met pgd20", "sweep.front_of", "ladder.screen=null"):
        assert text in str(refused.value)


def test_scores_that_need_a_missing_file_are_refused(tmp_path: Path) -> None:
    mixed = [(tmp_path / "trials", [screened(0), on_front(1)])]
    (records,) = at_common_rung(mixed).runs
    assert isnan(scores(records, "instability")[1])
    with pytest.raises(UsageError, match=r"its instability under .* needs trials/00001/images_screen.safetensors"):
        at_common_rung(mixed, needed=("robust_accuracy", "instability"))
    with pytest.raises(UsageError, match=r"images_front.safetensors.* missing or damaged"):
        at_common_rung([(tmp_path, [swept(0)]), (tmp_path, [on_front(1)])])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_images": 120}, "scored on 120 validation images"),
        ({"threat": {"norm": "linf", "epsilon": 0.05}}, "epsilon 0.05"),
    ],
)
def test_other_images_and_another_threat_are_refused(change: dict[str, object], words: str) -> None:
    other = swept(1)
    other = dataclasses.replace(other, evaluation=dataclasses.replace(evaluation_of(other), **change))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=words):
        at_common_rung([(Path("a"), [swept(0), other])])


def test_only_trainings_that_came_to_their_end_are_compared() -> None:
    halted = dataclasses.replace(screened(1), state=TrialState.HALTED)
    reused = dataclasses.replace(screened(2), reused_from=0)
    rejected = dataclasses.replace(swept(3), state=TrialState.REJECTED, evaluation=None)
    assert at_common_rung([(Path("a"), [swept(0), halted, reused, rejected])]).runs == ((swept(0),),)
    assert at_common_rung([(Path("a"), [rejected])]).runs == ((),)


def test_runs_on_other_images_are_refused_with_the_difference(tmp_path: Path) -> None:
    facts = {"input_shape": [1, 8, 8], "num_classes": 2, "class_names": ["cat", "dog"], "fingerprint": "aa"}
    renamed = {**facts, "class_names": ["cat", "fox"], "fingerprint": "bb"}
    for name, found in {"one": facts, "twin": facts, "other": renamed}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.json").write_text(json.dumps(found))
    check_same_images({"one": tmp_path / "one", "twin": tmp_path / "twin"})
    with pytest.raises(UsageError) as refused:
        check_same_images({"one": tmp_path / "one", "twin": tmp_path / "twin", "other": tmp_path / "other"})
    assert 'one and other were made on different images (class_names ["cat", "dog"] against ["cat", "fox"]; ' \
           'fingerprint "aa" against "bb")' in str(refused.value)  # fmt: skip
