"""What every sampler keeps: a subclass names an entry of SAMPLERS."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest

from nas.base.records import TrialState
from nas.search.samplers import make_sampler
from nas.search.settings import SearchSettings
from tests.toy import ToyEvaluate, open_study, search, settings, toy_problem, toy_space

OBJECTIVE_SETS = (
    ("robust_accuracy",),
    ("robust_accuracy", "params"),
    ("robust_accuracy", "instability", "params"),
    ("robust_accuracy", "instability", "lipschitz_bound_log10", "params"),
)


class SamplerContract:
    """Runs on the toy problem, with more trials than a population, so that models and children are proposed."""

    sampler: str
    others: Mapping[str, Any] = {}
    """Further settings of the search."""
    many = 16
    """Trials of the longest search."""

    def settings(self, trials: int = 12, **others: Any) -> SearchSettings:
        return settings(trials, sampler=self.sampler, **{**self.others, **others})

    @pytest.mark.parametrize("objectives", OBJECTIVE_SETS, ids=len)
    def test_proposes_genotypes_of_the_space_for_any_number_of_objectives(
        self, tmp_path: Path, objectives: tuple[str, ...]
    ) -> None:
        space = toy_space(5)
        result = search(tmp_path / "j", toy_problem(space, objectives=objectives), self.settings(14))
        assert len(result.trained) == 14
        for record in result.records:
            assert space.genotype(record.genotype.values) == record.genotype
        assert len({record.genotype.key for record in result.records}) > 7

    def test_goes_on_with_rejected_and_failed_trials_told(self, tmp_path: Path) -> None:
        problem, evaluate = toy_problem(toy_space(5), params=1300), ToyEvaluate(fails=frozenset({0, 6, 7}))
        result = search(tmp_path / "j", problem, self.settings(self.many), evaluate)
        states = [record.state for record in result.records]
        assert {TrialState.REJECTED, TrialState.FAILED, TrialState.COMPLETE} == set(states)
        assert len(result.trained) == self.many

    def test_works_where_every_trial_violates_a_constraint(self, tmp_path: Path) -> None:
        problem = toy_problem(constraints=["robust_accuracy >= 0.99"])
        result = search(tmp_path / "j", problem, self.settings(12))
        assert len(result.trained) == 12
        assert not any(record.is_feasible for record in result.records)

    def test_the_proposal_is_a_function_of_seed_number_and_finished_trials(self, tmp_path: Path) -> None:
        problem, chosen = toy_problem(toy_space(6), params=1900), self.settings(11)
        for name in ("a", "b"):
            search(tmp_path / name, problem, chosen)
        studies = [open_study(tmp_path / name, problem, chosen) for name in ("a", "b")]
        assert studies[0].records() == studies[1].records()
        first, second = (study.genotype(study.ask()) for study in studies)
        assert first == second

    def test_another_seed_or_number_gives_another_stream(self) -> None:
        chosen, other = self.settings(), self.settings(seed=1)
        study = optuna.create_study(directions=["minimize", "minimize"])
        trial = study._storage.get_trial(study.ask()._trial_id)
        draws = [
            sampler.sample_independent(study, trial, "x", optuna.distributions.FloatDistribution(0, 1))
            for sampler in (make_sampler(chosen, 3), make_sampler(chosen, 3), make_sampler(chosen, 4),
                            make_sampler(other, 3))
        ]  # fmt: skip
        assert draws[0] == draws[1]
        assert len(set(draws)) == 3
