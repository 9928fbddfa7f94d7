"""Early halting: who is among the best of a rung, what a halted trial is, and that nothing is trained twice."""

from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from nas.base.records import Candidate, Halfway, Outcome, TrialRecord, TrialState
from nas.pareto import MEASURES, front_of
from nas.search.halting import Stage, crowding, is_spared, violation_of
from nas.search.settings import Halting, SearchSettings
from tests.builders import trial
from tests.toy import Batched, ToyEvaluate, open_study, search, settings, toy_problem, toy_space

given = pytest.importorskip("hypothesis").given
st = pytest.importorskip("hypothesis.strategies")

OBJECTIVES = (MEASURES["robust_accuracy"], MEASURES["params"])
HALTING = Halting(epochs=(1, 3), keep=0.5)
TOTAL = 9


def rung_of(*points: tuple[float, int], keep: float = 0.5) -> list[bool]:
    stage = Stage(OBJECTIVES)
    return [stage.add(trial(n, params=params, robust=robust), keep) for n, (robust, params) in enumerate(points)]


def test_the_first_of_a_rung_goes_on_and_a_dominated_one_does_not() -> None:
    assert rung_of((0.5, 100), (0.4, 200)) == [True, False]
    assert rung_of((0.5, 100), (0.6, 50)) == [True, True]


def test_the_least_dominated_share_goes_on() -> None:
    decisions = rung_of((0.9, 100), (0.8, 100), (0.7, 100), (0.6, 100), (0.95, 100), (0.65, 100), keep=0.3)
    assert decisions == [True, False, False, False, True, False]


def test_among_equals_the_least_crowded_goes_on() -> None:
    front = [(0.1, 100), (0.9, 900), (0.4, 400), (0.42, 420)]
    assert rung_of(*front, (0.41, 410), keep=0.5)[-1] is False
    assert rung_of(*front, (0.7, 700), keep=0.5)[-1] is True


def test_a_candidate_beyond_a_limit_is_behind_all_within() -> None:
    stage = Stage(OBJECTIVES)
    assert stage.add(trial(0, robust=0.1), 0.5)
    assert not stage.add(trial(1, robust=0.9, violations={"natural_accuracy >= 0.5": 0.2}), 0.5)
    assert not stage.add(trial(2, robust=0.95, violations={"natural_accuracy >= 0.5": 0.3}), 0.5)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6)), min_size=1, max_size=25))
def test_dominance_counts_are_those_of_the_definition(points: list[tuple[int, int]]) -> None:
    stage = Stage(OBJECTIVES)
    for number, (robust, params) in enumerate(points):
        stage.add(trial(number, params=params, robust=robust / 10), 0.5)
    for index, (robust, params) in enumerate(points):
        dominating = [r >= robust and p <= params and (r, p) != (robust, params) for r, p in points]
        assert stage.worse_than[index] == sum(dominating)


def test_crowding_is_debs() -> None:
    found = crowding(np.array([[0.0, 4.0], [1.0, 2.0], [3.0, 1.0], [4.0, 0.0]]))
    assert found[0] == found[3] == np.inf
    assert found[1] == pytest.approx(3 / 4 + 3 / 4)
    assert found[2] == pytest.approx(3 / 4 + 2 / 4)


def test_the_farther_a_halted_candidate_came_the_less_it_violates() -> None:
    assert [violation_of(epochs, (1, 3, 9)) for epochs in (1, 3, 9)] == pytest.approx([1, 2 / 3, 1 / 3])


@pytest.mark.parametrize("epochs", [(3, 1), (0, 2), (2, 2)])
def test_rungs_must_rise(epochs: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="rising"):
        Halting(epochs=epochs)


@dataclass
class Epochs(ToyEvaluate):
    """Toy candidates that are trained in parts; scores grow with the epochs, in the same order for all."""

    spent: dict[int, int] = field(default_factory=dict)
    asked: list[tuple[int, int | None]] = field(default_factory=list)

    def __call__(self, candidate: Candidate) -> Outcome:
        self.asked.append((candidate.number, candidate.epochs))
        found = super().__call__(candidate).evaluation
        assert found is not None
        target = candidate.epochs or TOTAL
        assert target > self.spent.get(candidate.number, 0), "trained again"
        self.spent[candidate.number] = target
        halfway = []
        for epochs in (*(e for e in HALTING.epochs if e <= target), target):
            scored = replace(found, robust_accuracy=found.robust_accuracy * epochs / TOTAL)
            if epochs in HALTING.epochs:
                halfway.append(Halfway(epochs, {"robust_accuracy": scored.robust_accuracy}))
        return Outcome(scored, 1.0, epochs=candidate.epochs, halfway=tuple(halfway))


class Stop(Exception):
    """The end of a search that is killed."""


@dataclass
class Stored:
    """Toy outcomes that outlive the search that asked for them; it ends once, after `limit` of them."""

    limit: int | None = None
    outcomes: dict[Candidate, Outcome] = field(default_factory=dict)
    asked: dict[int, int | None] = field(default_factory=dict)
    """Epochs that were last asked for, by number."""

    def __call__(self, candidate: Candidate) -> Outcome:
        self.asked[candidate.number] = candidate.epochs
        if len(self.outcomes) == self.limit:
            self.limit = None
            raise Stop
        if candidate not in self.outcomes:
            self.outcomes[candidate] = Epochs()(candidate)
        return self.outcomes[candidate]


def halted_settings(trials: int = 24, **others: object) -> SearchSettings:
    return settings(trials, halting=HALTING, **others)


def of_state(records: list[TrialRecord], state: TrialState) -> list[TrialRecord]:
    return [r for r in records if r.state is state and r.reused_from is None]


@pytest.mark.parametrize("capacity", [1, 3])
def test_candidates_that_fall_behind_are_halted_and_never_on_the_front(tmp_path: Path, capacity: int) -> None:
    evaluate, problem = Epochs(), replace(toy_problem(), epochs=TOTAL)
    result = search(tmp_path / "s.journal", problem, halted_settings(), evaluate, Batched(evaluate, capacity))
    halted = of_state(result.records, TrialState.HALTED)
    complete = of_state(result.records, TrialState.COMPLETE)
    assert halted
    assert complete
    assert len(halted) + len(complete) == result.reports[-1].trained > 24, "halted ones leave room for others"
    assert 23 * TOTAL < sum(evaluate.spent.values()) < 25 * TOTAL, "the budget is that of 24 full trainings"
    assert result.reports[-1].spent == pytest.approx(sum(evaluate.spent.values()) / TOTAL)
    for record in halted:
        assert record.epochs == evaluate.spent[record.number] in HALTING.epochs
        assert record.halfway[-1].epochs == record.epochs
        assert record.evaluation is not None, "it keeps the scores that it had"
        assert 0 < record.violations["halted"] <= 1
        assert not record.is_feasible
    for record in complete:
        assert record.epochs is None
        assert [passed.epochs for passed in record.halfway] == [1, 3]
    assert all(r.state is TrialState.COMPLETE for r in front_of(result.records, problem.objectives).records)


def test_the_study_tells_samplers_that_halted_trials_broke_a_constraint(tmp_path: Path) -> None:
    problem, chosen = toy_problem(), halted_settings()
    result = search(tmp_path / "s.journal", problem, chosen, Epochs())
    study = open_study(tmp_path / "s.journal", problem, chosen)
    trials = study._study.get_trials()
    for record in of_state(result.records, TrialState.HALTED):
        assert trials[record.number].values == [o.read(record) for o in problem.objectives]
        assert max(trials[record.number].constraints.values()) > 0


def test_interrupted_at_any_point_a_search_with_halting_goes_on_the_same(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole.journal", chosen=halted_settings(12), evaluate=Epochs()).records

    for limit in range(1, 30, 4):
        evaluate, path = Stored(limit), tmp_path / f"{limit}.journal"
        with suppress(Stop):
            search(path, chosen=halted_settings(12), executor=Batched(evaluate, 1))
        found = search(path, chosen=halted_settings(12), executor=Batched(evaluate, 1)).records
        assert [(r.genotype, r.state, r.halfway) for r in found] == [(r.genotype, r.state, r.halfway) for r in whole]


def test_a_candidate_that_was_sent_on_is_not_halted_on_the_rung_that_it_left(tmp_path: Path) -> None:
    """Its weights may be those of the next rung already, and no longer those that were scored."""
    for limit in range(4, 40, 3):
        evaluate, path = Stored(limit), tmp_path / f"{limit}.journal"
        with suppress(Stop):
            search(path, chosen=halted_settings(16), executor=Batched(evaluate, 6))
        asked = dict(evaluate.asked)
        for record in search(path, chosen=halted_settings(16), executor=Batched(evaluate, 1)).records:
            if record.state is TrialState.HALTED and record.number in asked:
                assert record.epochs is not None
                assert record.epochs >= (asked[record.number] or TOTAL), f"killed after {limit} parts"


def test_a_trial_half_finished_is_told_as_it_was_meant_although_others_are_told_before_it(tmp_path: Path) -> None:
    """A constraint that the study has cannot be replaced: deciding anew would leave the study of two minds."""
    problem, chosen, evaluate = toy_problem(), halted_settings(16), Stored()
    whole = search(tmp_path / "whole", problem, chosen, executor=Batched(evaluate, 6)).records
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    told = [index for index, line in enumerate(lines) if b'"op_code":6' in line and b'"state":0' not in line]
    assert len(told) == len(whole)
    for cut in (index - back for index in told for back in range(2)):
        path = tmp_path / f"{cut}"
        path.write_bytes(b"".join(lines[:cut]))
        found = search(path, problem, chosen, executor=Batched(evaluate, 1)).records
        trials = open_study(path, problem, chosen)._study.get_trials()
        for record in found:
            assert trials[record.number].constraints == record.violations, f"cut before line {cut}"
            assert trials[record.number].user_attrs["record"]["state"] == record.state


def test_spared_candidates_go_on_whatever_their_rank(tmp_path: Path) -> None:
    spared = settings(12, halting=HALTING.model_copy(update={"spared": 1.0}))
    result = search(tmp_path / "s.journal", chosen=spared, evaluate=Epochs())
    assert not of_state(result.records, TrialState.HALTED)


def test_the_spared_are_those_that_the_draw_of_their_seed_says(tmp_path: Path) -> None:
    spared = settings(24, halting=HALTING.model_copy(update={"spared": 0.3}))
    records = search(tmp_path / "s.journal", chosen=spared, evaluate=Epochs()).records
    halted, complete = of_state(records, TrialState.HALTED), of_state(records, TrialState.COMPLETE)
    assert halted
    assert not any(is_spared(record.seed, 0.3) for record in halted)
    assert any(is_spared(record.seed, 0.3) for record in complete)


def test_the_share_of_the_spared_is_the_one_asked_for() -> None:
    assert sum(is_spared(seed, 0.2) for seed in range(5000)) == pytest.approx(1000, abs=4 * 28)
    assert not any(is_spared(seed, 0.0) for seed in range(100))
    assert all(is_spared(seed, 1.0) for seed in range(100))


def test_a_halted_architecture_that_is_proposed_again_is_halted_again_untrained(tmp_path: Path) -> None:
    evaluate = Epochs()
    result = search(tmp_path / "s.journal", chosen=halted_settings(40, population=4), evaluate=evaluate)
    keys = [candidate.genotype.key for candidate in evaluate.calls]
    first = {r.genotype.key: r for r in result.records if r.reused_from is None}
    for record in result.records:
        if record.reused_from is not None:
            assert record.state is first[record.genotype.key].state
            assert record.violations == first[record.genotype.key].violations
    assert len({(c.genotype.key, c.number) for c in evaluate.calls}) == len(set(keys))


@pytest.mark.parametrize("capacity", [1, 3])
def test_what_was_halted_is_not_proposed_again_by_expectation(tmp_path: Path, capacity: int) -> None:
    evaluate, problem = Epochs(), replace(toy_problem(toy_space(6)), epochs=TOTAL)
    chosen = halted_settings(16, sampler="random", exploit=8)
    result = search(tmp_path / "s.journal", problem, chosen, evaluate, Batched(evaluate, capacity))
    keys = [record.genotype.key for record in result.records]
    assert len(keys) == len(set(keys)), "random draws of 4,096 genotypes and expectations are new"
    assert of_state(result.records[-6:], TrialState.HALTED), "else it shows nothing"
