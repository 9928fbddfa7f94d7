"""Every registered sampler keeps the contract."""

from typing import get_args

from nas.search.samplers import SAMPLERS
from nas.search.settings import SearchSettings
from tests.contracts.sampler_contract import SamplerContract


class TestNsga2(SamplerContract):
    sampler = "nsga2"


class TestNsga3(SamplerContract):
    sampler = "nsga3"


class TestGp(SamplerContract):
    sampler = "gp"


class TestRandom(SamplerContract):
    sampler = "random"


class TestTpe(SamplerContract):
    sampler = "tpe"


def test_every_sampler_has_a_contract_case() -> None:
    assert sorted(case.sampler for case in SamplerContract.__subclasses__()) == sorted(SAMPLERS)


def test_every_sampler_can_be_named_in_a_config() -> None:
    assert set(get_args(SearchSettings.model_fields["sampler"].annotation)) == SAMPLERS.keys()
