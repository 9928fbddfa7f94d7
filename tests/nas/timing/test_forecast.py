"""What a search would train: the engine's own decisions, on made-up scores."""

from dataclasses import replace
from random import Random
from statistics import fmean

import pytest

from nas.budgets import Budget
from nas.data.datasets import load_search_data
from nas.measures import MEASURES, Measure
from nas.runs import make_problem
from nas.runs.config import load_config
from nas.search.engine import run_search
from nas.search.finished import is_trained
from nas.studies.replay.table import read_table
from nas.studies.replay.virtual import VirtualTime
from nas.timing.forecast import MOST, forecast
from tests.conftest import ROOT
from tests.toy import open_study, settings, toy_problem, toy_space

LADDER = replace(toy_problem(toy_space(6)), epochs=8, rungs=("screen", "attack", "front"))


def test_as_many_are_trained_as_asked_and_none_beyond_the_budget() -> None:
    tight = replace(LADDER, budget=Budget(params=1200))
    courses = forecast(tight, settings(12))
    assert [course.weight for course in courses] == [1] * 12
    assert all(tight.costs(course.genotype).params <= 1200 for course in courses)
    assert len({course.genotype.key for course in courses}) == 12
    assert {course.epochs for course in courses} == {8}


def test_an_objective_that_a_plugin_computes_is_made_up_too() -> None:
    margin = Measure("margin", "maximize", "logits", "margin", 10.0, compute=lambda attacked: attacked.labels)
    problem = replace(LADDER, objectives=(margin, MEASURES["params"]), reference_point=(-5.0, 1e6))
    assert any(course.is_on_front for course in forecast(problem, settings(6)))


def test_the_same_search_has_the_same_forecast() -> None:
    assert forecast(LADDER, settings(10)) == forecast(LADDER, settings(10))


def test_only_what_belongs_to_the_front_climbs() -> None:
    courses = forecast(LADDER, settings(16))
    assert all(course.rungs[0] == "screen" for course in courses)
    climbed = [course for course in courses if "front" in course.rungs]
    assert 0 < len(climbed) < 16
    assert all(course.rungs == ["screen", "attack", "front"] for course in courses if course.is_on_front)


def test_what_halts_is_trained_for_a_part_and_leaves_room_for_others() -> None:
    courses = forecast(LADDER, settings(12, halting={"epochs": (2, 4)}))
    assert {course.epochs for course in courses} == {2, 4, 8}
    assert len(courses) > 12
    assert 11 * 8 < sum(course.epochs for course in courses) < 13 * 8, "the last one may go beyond"
    assert all(course.rungs.count("screen") == {2: 1, 4: 2, 8: 3}[course.epochs] for course in courses)


def test_a_long_search_goes_on_like_the_later_half_of_the_forecast() -> None:
    courses = forecast(replace(LADDER, rungs=("attack",)), settings(4 * MOST, sampler="random"))
    assert len(courses) == MOST
    assert sum(course.weight for course in courses) == pytest.approx(4 * MOST)
    assert {course.weight for course in courses[: MOST // 2]} == {1}


def test_the_networks_are_as_large_as_those_of_a_search_on_real_scores() -> None:
    config = load_config(ROOT / "configs" / "digits_bench.yaml", ["search.trials=24", "search.halting.epochs=[]"])
    problem = replace(make_problem(config, load_search_data(config.data)), rungs=("attack",))
    table = read_table(ROOT / "runs" / "reference" / "digits_bench.csv", problem.space)
    executor = VirtualTime(table, 1, problem)
    study = open_study(None, problem, config.search)
    run_search(problem, study, executor, config.search, lambda _: None)
    real = fmean(record.costs.macs for record in study.records() if is_trained(record))
    courses = forecast(problem, config.search)
    assert fmean(problem.costs(course.genotype).macs for course in courses) == pytest.approx(real, rel=0.25)
    rng = Random(0)
    drawn = fmean(problem.costs(problem.space.sample(rng)).macs for _ in range(200))
    assert drawn != pytest.approx(real, rel=0.25), "random ones are not"


def test_conditions_on_scores_and_trust_stop_no_forecast() -> None:
    strict = replace(toy_problem(constraints=["natural_accuracy >= 0.99"]), reject_untrusted=True)
    assert any(course.is_on_front for course in forecast(strict, settings(6)))
