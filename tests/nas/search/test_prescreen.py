"""Surrogate pre-screening: which of several proposals is trained."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.samplers import RandomSampler
from optuna.trial import create_trial
from pydantic import ValidationError
from scipy.stats import kendalltau

from nas.budgets import COSTS
from nas.search.finished import read_predictions
from nas.search.limits import TRUSTED
from nas.search.samplers import make_sampler
from nas.search.samplers.prescreen import Foreknown, Prescreened, _is_evaluated
from nas.search.settings import SearchSettings
from tests.toy import search, settings, toy_costs, toy_problem, toy_space

PROBLEM = toy_problem(toy_space(8), params=2600)
SCREEN = {"proposals": 6, "trees": 16, "refit": 10}


def test_it_is_on_by_default_but_for_gaussian_processes() -> None:
    assert isinstance(make_sampler(SearchSettings(), 3), Prescreened)
    assert SearchSettings().proposals == 32
    assert SearchSettings(sampler="gp").proposals == 1
    assert not isinstance(make_sampler(SearchSettings(sampler="gp"), 3), Prescreened)


def test_one_proposal_is_the_samplers_own(tmp_path: Path) -> None:
    assert not isinstance(make_sampler(settings(), 3), Prescreened)
    search(tmp_path / "j", PROBLEM, settings(20))
    assert read_predictions(tmp_path / "j") == {}


@pytest.mark.parametrize("sampler", ["random", "pymoo_nsga2"])
def test_it_finds_more_with_the_same_trainings(tmp_path: Path, sampler: str) -> None:
    shares = {}
    for name, screen in (("one", {"proposals": 1}), ("many", SCREEN)):
        chosen = [settings(50, sampler=sampler, population=10, seed=seed, prescreen=screen) for seed in range(3)]
        shares[name] = [search(tmp_path / f"{name}{one.seed}", PROBLEM, one).reports[-1].hypervolume for one in chosen]
    assert np.mean(shares["many"]) > np.mean(shares["one"])


def test_what_it_expected_is_stored_with_each_chosen_trial_and_orders_the_outcomes(tmp_path: Path) -> None:
    result = search(tmp_path / "j", PROBLEM, settings(70, sampler="random", population=10, prescreen=SCREEN))
    found = read_predictions(tmp_path / "j")
    told_by_number = {record.number: [o.read(record) for o in PROBLEM.objectives] for record in result.fresh}
    assert all(told == told_by_number[number] for number, (_, told) in found.items())
    pairs = list(found.values())
    assert 30 < len(pairs) < len(result.fresh)
    assert all(len(predicted) == len(told) == 2 for predicted, told in pairs)
    assert all(0 < predicted[0] < 1 and 0 < predicted[1] < 3000 for predicted, _ in pairs), "in their own directions"
    assert min(kendalltau(*zip(*((p[m], told[m]) for p, told in pairs), strict=True)).statistic for m in (0, 1)) > 0.4


@pytest.mark.parametrize("sampler", ["random", "nsga2", "tpe", "pymoo_nsga3"])
def test_interrupted_anywhere_it_goes_on_the_same(tmp_path: Path, sampler: str) -> None:
    problem = toy_problem(toy_space(3), params=1000)
    chosen = settings(9, sampler=sampler, prescreen={"proposals": 3, "trees": 4, "refit": 4})
    uninterrupted = search(tmp_path / "whole", problem, chosen)
    assert read_predictions(tmp_path / "whole")
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    for cut in range(len(lines) // 2, len(lines), 3):
        path = tmp_path / str(cut)
        path.write_bytes(b"".join(lines[:cut]))
        assert search(path, problem, chosen).records[:9] == uninterrupted.records[:9], f"cut before line {cut}"
        assert len(read_predictions(path)) == len(read_predictions(tmp_path / "whole"))


def test_gaussian_processes_choose_by_themselves() -> None:
    with pytest.raises(ValidationError, match="a surrogate of its own"):
        settings(sampler="gp", prescreen={"proposals": 2})


def test_what_no_check_trusts_or_was_not_measured_teaches_nothing() -> None:
    measured = {"state": "complete", "violations": {}, "reused_from": None}
    for changes, learned in (({}, True), ({"violations": {TRUSTED: 1.0}}, False), ({"state": "rejected"}, False)):
        trial = create_trial(values=[0.5], user_attrs={"record": measured | changes})
        assert _is_evaluated(trial) == learned, changes


def test_options_without_an_order_are_learned_one_by_one() -> None:
    space = toy_space(3)
    kinds = replace(space.choices[1], is_ordered=False)
    space = replace(space, choices=(space.choices[0], kinds, *space.choices[2:]))
    sampler = Prescreened(RandomSampler(0), settings(), 0, Foreknown(space, toy_costs, PROBLEM.objectives))
    choices = {c.name: CategoricalDistribution(c.options) for c in space.choices}
    genes = [tuple(space.encode(one)) for one in (space.smallest(), space.largest())]
    rows = sampler._features(genes, [space.decode(one).values for one in genes], choices)
    others, options = len(space.choices) - 1, len(kinds.options)
    assert rows.shape[1] == others + options + len(COSTS)
    assert rows[0, 1 : 1 + options].tolist() == [1.0, *[0.0] * (options - 1)]
    assert rows[1, 1 : 1 + options].tolist() == [*[0.0] * (options - 1), 1.0]
