"""The search loop on the toy problem: what is trained, what is not, and how a search ends."""

from collections import Counter
from pathlib import Path

import pytest

from nas.base.errors import SearchStopped
from nas.base.records import Candidate, Outcome, TrialState
from nas.pareto import front_of, hypervolume
from nas.search.finished import read_records
from nas.search.samplers import SAMPLERS
from tests.toy import Batched, ToyEvaluate, search, settings, toy_costs, toy_evaluation, toy_problem, toy_space

each_sampler = pytest.mark.parametrize("sampler", sorted(SAMPLERS))


@each_sampler
def test_trains_exactly_as_many_as_asked(tmp_path: Path, sampler: str) -> None:
    result = search(tmp_path / "j", chosen=settings(12, sampler=sampler))
    assert len(result.trained) == len(result.fresh) == 12
    assert result.reason == "12 candidates are done"
    assert result.reports[-1].trained == 12
    assert [record.number for record in result.records] == list(range(len(result.records)))


@each_sampler
def test_over_budget_genotypes_are_rejected_untrained(tmp_path: Path, sampler: str) -> None:
    problem = toy_problem(params=900)
    result = search(tmp_path / "j", problem, settings(12, sampler=sampler))
    rejected = [record for record in result.records if record.state is TrialState.REJECTED]
    assert rejected, "this seed proposes nothing over the budget: the test proves nothing"
    assert all(toy_costs(candidate.genotype).params <= 900 for candidate in result.trained)
    assert {record.number for record in rejected}.isdisjoint(candidate.number for candidate in result.trained)
    for record in rejected:
        assert record.evaluation is None
        assert record.violations["budget.params"] == pytest.approx(record.costs.params / 900 - 1)
        assert not record.is_feasible
    assert len(result.trained) == 12
    assert result.reports[-1].rejected == len(rejected)


@each_sampler
def test_no_architecture_is_trained_twice(tmp_path: Path, sampler: str) -> None:
    space = toy_space(3, shared=2)  # 64 genotypes, 8 architectures
    result = search(tmp_path / "j", toy_problem(space), settings(7, sampler=sampler))
    keys = [candidate.genotype.key for candidate in result.trained]
    assert len(keys) == len(set(keys)) == 7
    reused = [record for record in result.records if record.reused_from is not None]
    assert reused, "nothing was proposed twice: the test proves nothing"
    by_number = {record.number: record for record in result.records}
    for record in reused:
        origin = by_number[record.reused_from]
        assert (origin.genotype.key, origin.evaluation) == (record.genotype.key, record.evaluation)
        assert origin.reused_from is None
        assert record.seconds == 0
    assert result.reports[-1].reused == len(reused)
    assert result.reports[-1].trained == 7


def test_candidates_proposed_twice_at_once_are_trained_once(tmp_path: Path) -> None:
    space = toy_space(2, (1, 2, 3, 4), shared=2)  # 4 architectures
    evaluate = ToyEvaluate()
    result = search(tmp_path / "j", toy_problem(space), settings(4), evaluate, Batched(evaluate, 4))
    assert sorted(Counter(candidate.genotype.key for candidate in evaluate.calls).values()) == [1, 1, 1, 1]
    assert len(result.fresh) == 4


def test_several_workers_train_exactly_as_many_as_asked(tmp_path: Path) -> None:
    evaluate = ToyEvaluate(fails=frozenset({3}))
    result = search(tmp_path / "j", chosen=settings(11), evaluate=evaluate, executor=Batched(evaluate, 4))
    assert len(evaluate.calls) == len(result.fresh) == 11
    assert max(report.running for report in result.reports) > 1


def test_the_seed_of_a_candidate_depends_on_its_architecture_alone(tmp_path: Path) -> None:
    space = toy_space(2, (1, 2))
    first = search(tmp_path / "a", toy_problem(space), settings(4))
    other = search(tmp_path / "b", toy_problem(space), settings(4, sampler="random"))
    seeds = [{c.genotype.key: c.seed for c in result.trained} for result in (first, other)]
    assert len(seeds[0]) == 4
    assert seeds[0] == seeds[1]
    reseeded = search(tmp_path / "c", toy_problem(space), settings(4, seed=1))
    assert all(candidate.seed != seeds[0][candidate.genotype.key] for candidate in reseeded.trained)


def test_the_anchors_come_first(tmp_path: Path) -> None:
    space = toy_space()
    result = search(tmp_path / "j", chosen=settings(3))
    assert [record.genotype for record in result.records[:2]] == [space.smallest(), space.largest()]
    without = search(tmp_path / "k", chosen=settings(3, anchors=False))
    assert [record.genotype for record in without.records[:2]] != [space.smallest(), space.largest()]


def test_a_constraint_on_a_score_makes_trials_infeasible(tmp_path: Path) -> None:
    problem = toy_problem(constraints=["robust_accuracy >= 0.6"])
    result = search(tmp_path / "j", problem, settings(16))
    below = [record for record in result.records if record.evaluation.robust_accuracy < 0.6]
    assert 0 < len(below) < len(result.records)
    for record in result.records:
        accuracy = record.evaluation.robust_accuracy
        assert record.violations["robust_accuracy >= 0.6"] == pytest.approx((0.6 - accuracy) / 0.6)
        assert record.is_feasible == (accuracy >= 0.6)
        assert record.state is TrialState.COMPLETE
    on_front = {record.number for record in front_of(result.records, problem.objectives).records}
    assert on_front.isdisjoint(record.number for record in below)


def test_failed_candidates_count_and_the_search_goes_on(tmp_path: Path) -> None:
    result = search(tmp_path / "j", chosen=settings(10), evaluate=ToyEvaluate(fails=frozenset({2, 5})))
    failed = [record for record in result.records if record.state is TrialState.FAILED]
    assert [record.number for record in failed] == [2, 5]
    assert "ValueError: trial 2 is cursed" in failed[0].error
    assert not failed[0].is_feasible
    assert len(result.trained) == len(result.fresh) == 10
    assert result.reports[-1].failed == 2


def test_a_failed_architecture_is_not_tried_again(tmp_path: Path) -> None:
    space = toy_space(2, shared=2)
    evaluate = ToyEvaluate(fails=frozenset({0}))
    result = search(tmp_path / "j", toy_problem(space), settings(4), evaluate)
    assert len({candidate.genotype.key for candidate in evaluate.calls}) == len(evaluate.calls) == 4
    again = [r for r in result.records if r.genotype.key == result.records[0].genotype.key]
    assert {record.state for record in again} == {TrialState.FAILED}


def test_failures_in_a_row_stop_the_search_with_the_cause(tmp_path: Path) -> None:
    evaluate = ToyEvaluate(fails=frozenset({4, 5, 6}))
    with pytest.raises(SearchStopped, match=r"3 candidates failed in a row .*trial 6: ValueError: trial 6 is cursed"):
        search(tmp_path / "j", chosen=settings(20, max_failures=3), evaluate=evaluate)
    assert len(evaluate.calls) == 7


def test_failures_between_successes_do_not_stop_the_search(tmp_path: Path) -> None:
    evaluate = ToyEvaluate(fails=frozenset({1, 2, 4, 5, 7, 8}))
    result = search(tmp_path / "j", chosen=settings(10, max_failures=3), evaluate=evaluate)
    assert len(result.trained) == 10


@each_sampler
def test_an_exhausted_space_ends_the_search_with_that_reason(tmp_path: Path, sampler: str) -> None:
    space = toy_space(2, (1, 2))
    result = search(tmp_path / "j", toy_problem(space), settings(50, sampler=sampler))
    assert "exhausted" in result.reason
    assert {candidate.genotype.key for candidate in result.trained} == {space.decode((a, b)).key
                                                                        for a in (0, 1) for b in (0, 1)}  # fmt: skip


def test_the_part_of_a_space_within_the_budget_is_exhausted_too(tmp_path: Path) -> None:
    result = search(tmp_path / "j", toy_problem(toy_space(2), params=300), settings(50))
    assert "exhausted" in result.reason
    assert sorted(tuple(c.genotype.values.values()) for c in result.trained) == [(1, 1), (1, 2), (2, 1)]


def test_a_budget_that_nothing_keeps_trains_nothing_and_is_no_success(tmp_path: Path) -> None:
    evaluate = ToyEvaluate()
    with pytest.raises(SearchStopped, match=r"exhausted.*none succeeded: 0 failed"):
        search(tmp_path / "j", toy_problem(toy_space(2), params=10), settings(5), evaluate)
    assert evaluate.calls == []
    assert {record.state for record in read_records(tmp_path / "j")} == {TrialState.REJECTED}


def test_a_search_in_which_every_candidate_failed_is_no_success(tmp_path: Path) -> None:
    for _ in range(2):  # what failed by itself is not tried again, and the second start says so, too
        evaluate = ToyEvaluate(fails=frozenset({0, 1}))
        words = r"2 candidates are done, and none succeeded: 2 failed \(the last one, trial 1: .* is cursed\)"
        with pytest.raises(SearchStopped, match=words):
            search(tmp_path / "j", chosen=settings(2), evaluate=evaluate)
    assert evaluate.calls == []


def test_what_failed_for_a_cause_outside_it_is_tried_again_and_the_rest_is_not(tmp_path: Path) -> None:
    first = ToyEvaluate(fails=frozenset({1}), missing=frozenset({3, 5}))
    began = search(tmp_path / "j", chosen=settings(8), evaluate=first)
    assert len(first.calls) == 8
    assert began.reason == (
        "6 candidates are done; what failed for a cause outside it is tried again by the same command (trial 3, 5)"
    )
    assert (began.reports[-1].failed, began.reports[-1].spent) == (3, 8)
    shown = {report.latest.number: report.latest.error for report in began.reports if report.latest}
    assert "cannot import" in shown[3]
    again = search(tmp_path / "j", chosen=settings(8))
    assert [candidate.number for candidate in again.trained] == [3, 5]
    assert [c.seed for c in again.trained] == [c.seed for c in first.calls if c.number in (3, 5)]
    states = {record.number: record.state for record in again.records}
    assert (states[1], states[3], states[5]) == (TrialState.FAILED, TrialState.COMPLETE, TrialState.COMPLETE)
    assert again.reason == "8 candidates are done"


def test_what_waits_for_an_architecture_that_is_tried_again_takes_its_result(tmp_path: Path) -> None:
    space = toy_space(2, (1, 2), shared=2)  # 1 architecture
    evaluate = ToyEvaluate(missing=frozenset({0}))
    with pytest.raises(SearchStopped, match=r"none succeeded: 1 failed \(the last one, trial 0: ImportError"):
        search(tmp_path / "j", toy_problem(space), settings(1), evaluate, Batched(evaluate, 4))
    again = search(tmp_path / "j", toy_problem(space), settings(1))
    assert [candidate.number for candidate in again.trained] == [0]
    assert all(record.reused_from == 0 for record in again.records[1:])


def test_failures_in_a_row_outside_the_candidates_stop_the_search_and_are_tried_again(tmp_path: Path) -> None:
    evaluate = ToyEvaluate(missing=frozenset({2, 3}))
    with pytest.raises(SearchStopped, match=r"2 candidates failed in a row .*tried again .*\(trial 2, 3\)"):
        search(tmp_path / "j", chosen=settings(8, max_failures=2), evaluate=evaluate)
    assert [c.number for c in search(tmp_path / "j", chosen=settings(8)).trained][:2] == [2, 3]


def test_a_full_disk_comes_out_and_the_trial_is_trained_after_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        search(tmp_path / "j", evaluate=ToyEvaluate(acts={4: "disk full"}))
    result = search(tmp_path / "j")
    assert [c.number for c in result.trained] == [record.number for record in result.fresh if record.number >= 4]
    assert result.trained[0].number == 4
    assert len(result.fresh) == 12


def test_the_progress_agrees_with_the_records(tmp_path: Path) -> None:
    problem = toy_problem(params=1200)
    result = search(tmp_path / "j", problem, settings(15))
    last, front = result.reports[-1], front_of(result.records, problem.objectives)
    assert last.front_size == len(front.records)
    assert last.hypervolume == hypervolume(front.records, problem.objectives, problem.reference_point)
    robust = [record.evaluation.robust_accuracy for record in result.records if record.is_feasible]
    assert last.best_robust_accuracy == max(robust)
    assert [report.hypervolume for report in result.reports] == sorted(r.hypervolume for r in result.reports)
    told = [report.latest.number for report in result.reports if report.latest]
    assert told == [record.number for record in result.records]


def test_the_engine_asks_evaluate_for_nothing_but_candidates(tmp_path: Path) -> None:
    seen: list[Candidate] = []

    def evaluate(candidate: Candidate) -> Outcome:
        seen.append(candidate)
        return Outcome(toy_evaluation(candidate.genotype), 1.5)

    result = search(tmp_path / "j", chosen=settings(3), executor=Batched(evaluate, 1))
    assert [(c.number, c.genotype, c.seed) for c in seen] == [(r.number, r.genotype, r.seed) for r in result.records]
    assert {record.seconds for record in result.records} == {1.5}


def test_nsga2_finds_a_better_front_than_random_search(tmp_path: Path) -> None:
    """80 of 65,536 genotypes, 3 seeds; measured over 4 seeds: .56 (± .01) against .51 (± .01)."""
    found = {
        sampler: [
            search(
                tmp_path / f"{sampler}{seed}",
                toy_problem(toy_space(8)),
                settings(80, sampler=sampler, population=8, seed=seed, anchors=False),
            ).reports[-1].hypervolume
            for seed in range(3)
        ]
        for sampler in ("nsga2", "random")
    }  # fmt: skip
    assert sum(found["nsga2"]) / 3 > sum(found["random"]) / 3 + 0.02


def test_a_budget_that_random_draws_miss_is_still_searched(tmp_path: Path) -> None:
    # 7 choices of 8: one architecture in about 100,000 fits, all of them next to the smallest.
    space = toy_space(7, tuple(range(1, 9)))
    limit = toy_costs(space.smallest()).params + 300
    found = search(tmp_path / "j", toy_problem(space, params=limit), settings(12))
    assert len(found.fresh) == 12
    assert "12 candidates are done" in found.reason
    assert all(record.costs.params <= limit for record in found.fresh)


def test_a_search_that_finds_nothing_more_does_not_call_a_large_space_exhausted(tmp_path: Path) -> None:
    space = toy_space(7, tuple(range(1, 9)))
    found = search(tmp_path / "j", toy_problem(space, params=toy_costs(space.smallest()).params), settings(4))
    assert len(found.fresh) == 1
    assert "exhausted" not in found.reason
    assert "1 of 4 trainings are spent" in found.reason
