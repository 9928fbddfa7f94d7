"""Ranks early and late: known ones, the bias of survivors, verdicts on halting."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from math import pi, sin
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.base.errors import UsageError
from nas.base.records import Evaluation, Halfway, Interval, Rung, TrialRecord, TrialState
from nas.evaluation.scores import ImageScores, save_scores
from nas.pareto import MEASURES
from nas.runs.trial_files import CURVE, images_path, trial_folder
from nas.search.halting import is_spared
from nas.search.settings import Halting
from nas.studies.agreement import (
    Agreement,
    final_scores,
    measured,
    prediction_agreement,
    rows_of,
    run_agreement,
    rung_agreement,
    safety,
    samples_of,
)
from nas.studies.curves import READ
from tests.builders import evaluation, trial

OBJECTIVES = (MEASURES["robust_accuracy"], MEASURES["params"])
ROBUST = ("robust_accuracy",)
NOWHERE = Path("no such folder")


def passed(number: int, early: float, final: float, seed: int | None = None) -> TrialRecord:
    """A complete trial with these robust accuracies after epoch 1 and at the end."""
    halfway = (Halfway(1, {"robust_accuracy": early}),)
    return dataclasses.replace(trial(number, robust=final), halfway=halfway, seed=number if seed is None else seed)


def halted(number: int, early: float) -> TrialRecord:
    record = passed(number, early, early)
    return dataclasses.replace(record, state=TrialState.HALTED, epochs=1, violations={"halted": 1.0})


def copula(count: int, tau: float, seed: int) -> tuple[list[float], list[float]]:
    """Scores early and at the end of so many candidates, whose true tau is the one given."""
    x, noise = np.random.default_rng(seed).normal(size=(2, count))
    rho = sin(pi / 2 * tau)
    return list(x), list(rho * x + (1 - rho**2) ** 0.5 * noise)


def searched(count: int, tau: float, seed: int, halting: Halting) -> list[TrialRecord]:
    """Trials of a search that halts all but the share `keep` at epoch 1, and spares some by lot."""
    early, final = copula(count, tau, seed)
    bar = np.quantile(early, 1 - halting.keep)
    numbers = range(count)
    goes_on = [early[n] >= bar or is_spared(n, halting.spared) for n in numbers]
    return [passed(n, early[n], final[n]) if goes_on[n] else halted(n, early[n]) for n in numbers]


def by_sample(found: Sequence[Agreement], metric: str = "robust_accuracy") -> dict[str, Agreement]:
    return {one.sample: one for one in found if one.metric == metric}


def test_without_halted_trials_all_complete_ones_are_compared() -> None:
    records = [passed(n, early, n) for n, early in enumerate((2, 1, 3, 4, 5, 6, 7, 8))]
    records += [trial(8, state=TrialState.FAILED), trial(9, state=TrialState.REJECTED), trial(10, reused_from=0)]
    (found,) = rung_agreement(samples_of(records, 0.5), NOWHERE, ROBUST)
    assert found.tau == pytest.approx(26 / 28), "one pair of 28 has changed its order"
    assert (found.compared, found.sample, found.epochs, found.pairs, found.words) == ("rung", "all", 1, 8, "")


def test_survivors_are_biased_and_the_spared_are_not() -> None:
    truth, halting, holds, biased = 0.6, Halting(epochs=(1,), spared=0.1), 0, 0
    for seed in range(10):
        records = searched(600, truth, seed, halting)
        found = by_sample(rung_agreement(samples_of(records, halting.spared), NOWHERE, ROBUST))
        spared, survivors = found["spared"], found["survivors"]
        assert spared.interval
        assert survivors.interval
        assert 30 < spared.pairs < 100 < survivors.pairs < 360
        assert "biased" in survivors.words
        assert "biased" not in spared.words
        holds += spared.interval.low <= truth <= spared.interval.high
        biased += survivors.interval.high < truth
    assert holds >= 8, f"{holds} of 10 intervals of the spared hold the truth"
    assert biased >= 8, f"{biased} of 10 intervals of the survivors lie below it"


def test_the_metrics_are_those_that_training_tells_and_that_vary() -> None:
    assert measured(OBJECTIVES) == (
        "robust_accuracy", "natural_accuracy", "instability", "lipschitz_maximised", "lipschitz_certified_log10",
        "lipschitz_empirical", "float_natural_accuracy", "float_robust_accuracy", "corruption_accuracy",
        "sparse_weight_bytes", "on_manifold_accuracy", "reconstruction_accuracy",
    )  # fmt: skip
    assert "instability_scaled" in measured((MEASURES["instability_scaled"],))
    records = [passed(n, n / 10, n / 10) for n in range(6)]
    found = rung_agreement(samples_of(records, 0), NOWHERE, measured(OBJECTIVES))
    assert [one.metric for one in found] == ["robust_accuracy"], "all others are constant"


def test_tracked_epochs_are_rungs_and_halting_sees_its_own(tmp_path: Path) -> None:
    records, same = [passed(n, -n, n) for n in range(6)], {**dict.fromkeys(READ, 0.5), "split": "x"}
    for record in records:
        path = trial_folder(tmp_path, record.number) / CURVE
        path.parent.mkdir()
        n = record.number  # the epochs after a kill are written again: the later ones count
        curve = [(1, n), (2, 99 - n), (3, 7.0), (2, -n), (3, n % 3), (4, n)]
        path.write_text("".join(json.dumps({**same, "epoch": e, "robust_accuracy": v}) + "\n" for e, v in curve))
    found = {one.epochs: one.tau for one in rung_agreement(samples_of(records, 0), tmp_path, ROBUST)}
    assert found == {1: pytest.approx(-1), 2: pytest.approx(-1), 3: pytest.approx(9 / (15 * 12) ** 0.5 - 3 / 180**0.5)}
    assert found.keys() == {1, 2, 3}, "the last epoch is the end"


def ladder(*steps: tuple[str, float]) -> tuple[Rung, ...]:
    return tuple(Rung({"name": name}, 100, 0, robust, Interval(0, 1)) for name, robust in steps)


def climbed(attack: str, *steps: tuple[str, float]) -> TrialRecord:
    scored = evaluation(robust=steps[-1][1], instability=0.5)
    scored = dataclasses.replace(scored, attack={"name": attack}, ladder=ladder(*steps), num_images=4)
    return dataclasses.replace(trial(3), evaluation=scored)


def test_final_scores_are_those_of_the_attack_that_everybody_met(tmp_path: Path) -> None:
    low = climbed("pgd5", ("pgd5", 0.6))
    assert final_scores(low, tmp_path)["robust_accuracy"] == 0.6
    from_attack = climbed("pgd20", ("pgd20", 0.6), ("apgd", 0.4))
    assert final_scores(from_attack, tmp_path)["robust_accuracy"] == 0.6
    assert final_scores(from_attack, tmp_path)["instability"] == 0.5, "of the same attack's last iterates"
    high = climbed("pgd20", ("pgd5", 0.6), ("pgd20", 0.5), ("apgd", 0.4))
    without = final_scores(high, tmp_path)
    assert without["robust_accuracy"] == 0.6
    assert without.keys() == {"robust_accuracy", "natural_accuracy", "lipschitz_bound_log10",
                              "lipschitz_certified_log10"}  # fmt: skip
    path = images_path(trial_folder(tmp_path, 3), "screen")
    path.parent.mkdir()
    flags, means = torch.ones(5, 4, dtype=torch.bool), torch.tensor([0.1, 0.2, 0.3, torch.inf])
    save_scores(path, ImageScores(*flags.clone().unbind(), *(factor * means for factor in (1, 10, 2, 20, 3))))
    found = final_scores(high, tmp_path)
    assert (found["instability"], found["lipschitz_empirical"]) == pytest.approx((0.2, 0.4))
    assert (found["robust_accuracy"], found["lipschitz_maximised"]) == pytest.approx((0.6, 0.6))


def test_predictions_count_where_the_training_came_to_its_end() -> None:
    records = [dataclasses.replace(passed(n, n, n), costs=trial(n, params=n).costs) for n in range(8)]
    records[6] = halted(6, 0.1)
    spared = [n for n in range(8) if is_spared(n, 0.5) and n != 6]
    predictions = {n: ([n / 10, 9.0 - n], [n / 10, float(n)]) for n in range(7)}  # 7 was not chosen by a surrogate
    found = prediction_agreement(samples_of(records, 0.5), NOWHERE, predictions, OBJECTIVES)
    survivors, of_costs = by_sample(found)["survivors"], by_sample(found, "params")["survivors"]
    assert (survivors.pairs, survivors.tau, of_costs.tau) == (6, pytest.approx(1), pytest.approx(-1))
    assert by_sample(found)["spared"].pairs == len([n for n in spared if n != 7]) > 0
    assert prediction_agreement(samples_of(records, 0.5), NOWHERE, {}, OBJECTIVES) == []


def test_two_runs_are_compared_over_their_common_networks() -> None:
    ours = [passed(n, 0, n / 10) for n in range(12)]
    again = [dataclasses.replace(passed(20 + n, 0, n / 10 + 0.02 * s), genotype=trial(n).genotype)
             for s in (-1, 1) for n in range(2, 10)]  # fmt: skip
    others = [*again, passed(30, 0, 0.5)]
    (found,) = run_agreement(samples_of(ours, 0), NOWHERE, samples_of(others, 0), NOWHERE, ROBUST)
    assert (found.compared, found.sample, found.pairs, found.tau) == ("run", "all", 8, pytest.approx(1))
    assert found.interval == Interval(pytest.approx(1), pytest.approx(1))  # type: ignore[arg-type]
    with_halting = [*ours, halted(12, 0.1)]
    labels = [one.sample for one in run_agreement(samples_of(with_halting, 0.5), NOWHERE, samples_of(others, 0),
                                                  NOWHERE, ROBUST)]  # fmt: skip
    assert labels == ["spared", "survivors"]
    with pytest.raises(UsageError, match="no trained network in common"):
        run_agreement(samples_of(ours, 0), NOWHERE, samples_of([passed(30, 0, 0.5)], 0), NOWHERE, ROBUST)


HALTING = Halting(epochs=(1,), spared=0.3)


def verdict_of(make: Callable[[int], tuple[float, float]], spared: int, halting: Halting = HALTING) -> tuple[str, str]:
    """Verdict, and its words, where so many spared candidates have the scores of `make` early and at the end."""
    seeds = [seed for seed in range(1000) if is_spared(seed, 0.3)][:spared]
    records = [passed(n, *make(n), seed=seed) for n, seed in enumerate(seeds)]
    good = [seed for seed in range(1000) if not is_spared(seed, 0.3)][:40]  # they agree perfectly, and do not count
    records += [passed(100 + n, n, n, seed=seed) for n, seed in enumerate(good)] + [halted(999, -1.0)]
    (found,) = safety(records, halting, OBJECTIVES, NOWHERE)
    assert found.epochs == 1
    return found.verdict, found.words


def test_the_verdict_on_halting_rests_on_the_spared() -> None:
    x, y = copula(60, 0.0, 3)
    alike, unlike = (lambda n: (n, n)), (lambda n: (x[n], y[n]))
    verdict, words = verdict_of(unlike, 60)
    assert verdict == "unsafe"
    assert words.startswith("halting at epoch 1 is not safe here: tau of robust_accuracy ")
    assert words.endswith(" over 60 spared candidates; raise search.halting.epochs")
    half = (5, 0, 6, 1, 7, 2, 8, 3, 9, 4)
    verdict, words = verdict_of(lambda n: (n, half[n]), 10)
    assert verdict == "not shown to be safe"
    assert "tau of robust_accuracy 0.33 (−0" in words, "with a true minus"
    assert verdict_of(alike, 10)[0] == "safe"
    assert verdict_of(alike, 9) == (
        "unknown",
        "whether halting at epoch 1 is safe cannot be told yet: 9 of 10 candidates needed (search.halting.spared)",
    )
    assert verdict_of(lambda n: (n, 0.5), 12)[0] == "unknown", "what does not vary has no ranks"


def test_without_spared_candidates_nobody_can_tell() -> None:
    none = Halting(epochs=(1,))
    assert verdict_of(lambda n: (n, n), 20, none) == (
        "unknown",
        "whether halting is safe cannot be judged: no candidate goes on by lot; set search.halting.spared",
    )
    untouched = [passed(n, n, n) for n in range(10)]
    (found,) = safety(untouched, none, OBJECTIVES, NOWHERE)
    assert found.verdict == "safe", "where none was halted all are an unbiased sample"
    assert safety(untouched, Halting(), OBJECTIVES, NOWHERE) == ()
    assert safety(untouched, none, (MEASURES["params"],), NOWHERE) == (), "costs are known before training"


def test_the_worst_objective_decides() -> None:
    x, y = copula(60, 0.0, 3)
    records = []
    for n in range(60):
        scored: Evaluation = evaluation(robust=n, natural=y[n])
        halfway = (Halfway(1, {"robust_accuracy": n, "natural_accuracy": x[n]}),)
        records.append(dataclasses.replace(trial(n), evaluation=scored, halfway=halfway))
    both = (*OBJECTIVES, MEASURES["natural_accuracy"])
    (found,) = safety(records, HALTING, both, NOWHERE)
    assert (found.verdict, "tau of natural_accuracy" in found.words) == ("unsafe", True)
    assert safety(records, HALTING, OBJECTIVES, NOWHERE)[0].verdict == "safe"


@pytest.mark.parametrize("count", [0, 1, 3, 7, 9])
def test_rows_are_json_and_say_what_is_missing(count: int) -> None:
    records = [passed(n, n, n) for n in range(count)] + [trial(50), trial(51)]  # the last two passed no rung
    rows = rows_of(rung_agreement(samples_of(records, 0), NOWHERE, ROBUST))
    json.dumps(rows, allow_nan=False)
    assert len(rows) == (count > 1)
    for row in rows:
        assert f"2 of {count + 2} candidates have no such score" in row["words"]
        assert ("no interval" in row["words"]) == (row["low"] is None) == (count < 8)
