"""Every registered sampler keeps the contract."""

import math
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

import pytest

from nas.search.samplers import SAMPLERS
from nas.search.samplers.of_pymoo import _finite
from nas.search.settings import SearchSettings
from tests.contracts.sampler_contract import SamplerContract
from tests.toy import Batched, ToyEvaluate, open_study, search, settings, toy_problem, toy_space


class TestNsga2(SamplerContract):
    sampler = "nsga2"


class TestNsga3(SamplerContract):
    sampler = "nsga3"


class TestGp(SamplerContract):
    sampler, many = "gp", 11  # each proposal fits Gaussian processes anew


class TestPymooNsga2(SamplerContract):
    sampler = "pymoo_nsga2"


class TestPymooNsga3(SamplerContract):
    sampler = "pymoo_nsga3"


@pytest.mark.skipif(find_spec("numba") is None, reason="AGE-MOEA needs numba")
class TestPymooAgemoea(SamplerContract):
    sampler = "pymoo_agemoea"


class TestPymooSmsemoa(SamplerContract):
    sampler = "pymoo_smsemoa"


class TestRandom(SamplerContract):
    sampler = "random"


class TestTpe(SamplerContract):
    sampler = "tpe"


class TestPrescreened(SamplerContract):
    sampler, others = "nsga2", {"prescreen": {"proposals": 3, "trees": 4, "refit": 4}}


class TestPrescreenedByIndependentDraws(SamplerContract):
    sampler, others = "tpe", {"prescreen": {"proposals": 3, "trees": 4, "refit": 4}}


def test_every_sampler_has_a_contract_case() -> None:
    assert {case.sampler for case in SamplerContract.__subclasses__()} == SAMPLERS.keys()


def test_every_sampler_can_be_named_in_a_config() -> None:
    assert set(get_args(SearchSettings.model_fields["sampler"].annotation)) == SAMPLERS.keys()


LARGE = toy_problem(toy_space(8), params=2600)
EVOLUTIONARY = ("nsga2", "nsga3", "pymoo_nsga2", "pymoo_nsga3", "pymoo_agemoea", "pymoo_smsemoa")


def hypervolumes(folder: Path, sampler: str, **others: Any) -> list[float]:
    """Of searches of 80 trials from three seeds."""
    chosen = [settings(80, sampler=sampler, population=10, seed=seed, **others) for seed in (1, 2, 3)]
    return [search(folder / f"{sampler}{one.seed}", LARGE, one).reports[-1].hypervolume for one in chosen]


@pytest.fixture(scope="module")
def by_random(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    return hypervolumes(tmp_path_factory.mktemp("random"), "random")


@pytest.mark.parametrize("sampler", EVOLUTIONARY)
def test_evolution_beats_random_draws(tmp_path: Path, by_random: list[float], sampler: str) -> None:
    if sampler == "pymoo_agemoea":
        pytest.importorskip("numba")
    found = hypervolumes(tmp_path, sampler)
    assert fmean(found) > fmean(by_random) + 0.01, (found, by_random)


@pytest.mark.parametrize("sampler", ["pymoo_nsga2", "pymoo_nsga3", "pymoo_agemoea", "pymoo_smsemoa"])
def test_evolution_finds_what_a_constraint_allows(tmp_path: Path, sampler: str) -> None:
    if sampler == "pymoo_agemoea":
        pytest.importorskip("numba")
    problem = toy_problem(toy_space(8), constraints=["robust_accuracy >= 0.75", "params <= 2200"])
    records = search(tmp_path / "j", problem, settings(80, sampler=sampler, population=10)).fresh
    early, late = ([record.is_feasible for record in part] for part in (records[:20], records[-20:]))
    assert sum(late) > sum(early)


@pytest.mark.parametrize("sampler", ["pymoo_nsga2", "pymoo_nsga3", "pymoo_smsemoa"])
def test_evolution_proposes_no_genotype_twice_while_there_are_others(tmp_path: Path, sampler: str) -> None:
    records = search(tmp_path / "j", toy_problem(toy_space(6)), settings(100, sampler=sampler, population=8)).records
    bred = [tuple(record.genotype.values.values()) for record in records[8:]]
    assert len(set(bred)) == len(bred)


@pytest.mark.parametrize("sampler", ["nsga2", "nsga3"])
def test_a_generation_is_of_as_many_trainings_as_the_population_however_many_were_reused(
    tmp_path: Path, sampler: str
) -> None:
    problem, chosen = toy_problem(toy_space(4)), settings(45, sampler=sampler, population=5)
    records = search(tmp_path / "j", problem, chosen).records
    reused = {record.number for record in records if record.reused_from is not None}
    assert len(reused) > 10, "children repeat their parents"
    study = open_study(tmp_path / "j", problem, chosen)._study
    key = SAMPLERS[sampler](chosen, 0)._get_generation_key()
    generations = Counter(t.system_attrs[key] for t in study.get_trials() if t.number not in reused)
    last = max(generations)
    assert [generations[g] for g in range(last)] == [5] * last
    parents = study._storage.get_study_system_attrs(study._study_id)
    kept = [set(ids) for name, ids in parents.items() if ":parent:" in name]
    assert len(kept) >= last
    numbers = {trial._trial_id: trial.number for trial in study.get_trials()}
    assert not any(numbers[one] in reused for ids in kept for one in ids)


def test_what_is_remembered_of_a_study_changes_no_proposal(tmp_path: Path) -> None:
    """Trials that finish out of order, and a study opened anew for every trial."""
    problem, chosen = toy_problem(toy_space(6), params=1900), settings(60, sampler="pymoo_nsga2", population=5)
    path = tmp_path / "j"
    search(path, problem, chosen, executor=Batched(ToyEvaluate(fails=frozenset({7, 23})), 3))
    (tmp_path / "k").write_bytes(path.read_bytes())
    whole = open_study(path, problem, chosen)
    for _ in range(12):
        anew = open_study(tmp_path / "k", problem, chosen)  # remembers nothing
        trials = [study.ask() for study in (whole, anew)]
        first, second = (study.genotype(trial) for study, trial in zip((whole, anew), trials, strict=True))
        assert first == second
        for study, trial in zip((whole, anew), trials, strict=True):
            study._study.tell(trial, [0.5, 1000.0])


def test_an_unproved_bound_is_worse_than_every_number() -> None:
    matrix = _finite([[1.0, math.inf], [2.0, 3.0], [0.0, 5.0]])
    assert matrix.tolist() == [[1.0, 8.0], [2.0, 3.0], [0.0, 5.0]]
    assert _finite([[1.0], [math.inf]]).tolist() == [[1.0, 1.0], [2.0, 2.0]]
