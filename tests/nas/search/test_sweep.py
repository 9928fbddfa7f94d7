"""A fixed set of networks, each from several seeds, on the toy problem: trial n is entry n of the plan, once."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from nas.base.errors import SearchStopped
from nas.base.records import Candidate, Outcome, TrialState
from nas.search.finished import read_records
from nas.search.problem import Problem, Progress
from nas.search.sweep import run_sweep
from nas.workers.local import Executor, InProcess
from search_spaces import Genotype
from tests.toy import Batched, Result, ToyEvaluate, open_study, settings, toy_problem, toy_space

SPACE = toy_space(2, (1, 2, 3))
PROBLEM = toy_problem(SPACE)
NETWORKS = [SPACE.decode(indices) for indices in ((0, 0), (2, 1), (1, 2))]
Plan = Sequence[tuple[Genotype, int]]


def plan_of(seeds: int, networks: Sequence[Genotype] = NETWORKS) -> Plan:
    return [(genotype, 100 * seed + index) for seed in range(seeds) for index, genotype in enumerate(networks)]


def sweep(
    path: Path,
    plan: Plan,
    problem: Problem = PROBLEM,
    evaluate: ToyEvaluate | None = None,
    executor: Executor | None = None,
    report: Callable[[Progress], None] | None = None,
    max_failures: int = 5,
) -> Result:
    """Runs or resumes a toy sweep in the journal `path`. The number of trials in the settings means nothing."""
    chosen, evaluate = settings(1, max_failures=max_failures), evaluate or ToyEvaluate()
    reports: list[Progress] = []

    def receive(progress: Progress) -> None:
        reports.append(progress)
        if report:
            report(progress)

    study = open_study(path, problem, chosen)
    reason = run_sweep(problem, study, executor or InProcess(evaluate), chosen, receive, plan)
    return Result(reason, study.records(), evaluate.calls, reports)


def _planned(result: Result) -> list[tuple[Genotype, int]]:
    return [(record.genotype, record.seed) for record in result.records]


@pytest.mark.parametrize("capacity", [1, 2, 3, 8])
def test_every_entry_is_trained_once_under_its_number(tmp_path: Path, capacity: int) -> None:
    evaluate, plan = ToyEvaluate(), plan_of(3)
    result = sweep(tmp_path / "j", plan, evaluate=evaluate, executor=Batched(evaluate, capacity))
    assert _planned(result) == list(plan)
    assert [record.number for record in result.records] == list(range(9))
    assert sorted((c.number, c.seed) for c in evaluate.calls) == [(n, seed) for n, (_, seed) in enumerate(plan)]
    assert {record.state for record in result.records} == {TrialState.COMPLETE}
    assert all(record.reused_from is None for record in result.records)
    assert result.reason == "9 candidates are done"
    assert (result.reports[-1].target, result.reports[-1].trained) == (9, 9)


def test_one_network_from_two_seeds_trains_side_by_side(tmp_path: Path) -> None:
    evaluate = ToyEvaluate()
    result = sweep(tmp_path / "j", plan_of(2, NETWORKS[:1]), evaluate=evaluate, executor=Batched(evaluate, 2))
    assert [(c.number, c.seed) for c in evaluate.calls] == [(1, 100), (0, 0)], "the first waits beside the second"
    assert len({record.genotype.key for record in result.records}) == 1


def test_networks_over_the_budget_are_trained_and_marked(tmp_path: Path) -> None:
    # They are asked for by name; what they break shows in their records, and keeps them off the front.
    result = sweep(tmp_path / "j", plan_of(1), toy_problem(SPACE, params=300))
    assert [record.state for record in result.records] == [TrialState.COMPLETE] * 3
    assert [record.is_feasible for record in result.records] == [True, False, False]
    assert result.records[1].violations["budget.params"] == pytest.approx(500 / 300 - 1)
    assert result.reports[-1].front_size == 1


def test_interrupted_after_any_report_it_goes_on_the_same(tmp_path: Path) -> None:
    plan = plan_of(2)
    whole = sweep(tmp_path / "whole", plan)
    for stop in range(1, len(whole.reports) + 1):
        left = [stop]

        def interrupt(_: object, left: list[int] = left) -> None:
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            sweep(tmp_path / str(stop), plan, report=interrupt)
        finished = read_records(tmp_path / str(stop))
        assert finished == whole.records[: len(finished)], "what was finished is kept"
        assert sweep(tmp_path / str(stop), plan).records == whole.records, f"stopped at report {stop}"


def test_killed_before_any_line_of_the_journal_it_goes_on_the_same(tmp_path: Path) -> None:
    plan = plan_of(2)
    whole = sweep(tmp_path / "whole", plan)
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    for count in range(len(lines)):
        path = tmp_path / str(count)
        path.write_bytes(b"".join(lines[:count]))
        assert sweep(path, plan).records == whole.records, f"cut before line {count + 1} of {len(lines)}"


@pytest.mark.parametrize("capacity", [2, 3])
def test_trials_that_ran_at_an_interruption_are_taken_up_again(tmp_path: Path, capacity: int) -> None:
    plan, evaluate = plan_of(2), ToyEvaluate()

    def interrupted(candidate: Candidate) -> Outcome:
        if len(evaluate.calls) == 3:
            raise KeyboardInterrupt
        return evaluate(candidate)

    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path / "j", plan, executor=Batched(interrupted, capacity))
    kept = read_records(tmp_path / "j")
    assert [record.number for record in kept] == sorted(candidate.number for candidate in evaluate.calls)
    resumed = sweep(tmp_path / "j", plan)
    assert resumed.records == sweep(tmp_path / "whole", plan).records
    assert len(resumed.trained) == len(plan) - 3


def test_more_seeds_are_appended(tmp_path: Path) -> None:
    first = sweep(tmp_path / "j", plan_of(1))
    more = sweep(tmp_path / "j", plan_of(3))
    assert more.records[:3] == first.records
    assert [candidate.number for candidate in more.trained] == [3, 4, 5, 6, 7, 8]
    assert more.records == sweep(tmp_path / "k", plan_of(3)).records
    assert sweep(tmp_path / "j", plan_of(3)).trained == []


def test_failures_count_as_done_and_too_many_in_a_row_stop_the_sweep(tmp_path: Path) -> None:
    plan = plan_of(3)
    result = sweep(tmp_path / "a", plan, evaluate=ToyEvaluate(fails=frozenset({1, 2})), max_failures=3)
    assert [r.number for r in result.records if r.state is TrialState.FAILED] == [1, 2]
    assert _planned(result) == list(plan)
    with pytest.raises(SearchStopped, match="trial 3: ValueError: trial 3 is cursed"):
        sweep(tmp_path / "b", plan, evaluate=ToyEvaluate(fails=frozenset({1, 2, 3})), max_failures=3)
    resumed = sweep(tmp_path / "b", plan)
    assert [candidate.number for candidate in resumed.trained] == [4, 5, 6, 7, 8]
