"""Every registered sampler keeps the contract."""

from importlib.util import find_spec
from typing import get_args

import pytest

from nas.search.samplers import SAMPLERS
from nas.search.settings import SearchSettings
from tests.contracts.sampler_contract import SamplerContract


class TestNsga2(SamplerContract):
    sampler = "nsga2"


class TestNsga3(SamplerContract):
    sampler = "nsga3"


class TestGp(SamplerContract):
    sampler = "gp"


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


def test_every_sampler_has_a_contract_case() -> None:
    assert sorted(case.sampler for case in SamplerContract.__subclasses__()) == sorted(SAMPLERS)


def test_every_sampler_can_be_named_in_a_config() -> None:
    assert set(get_args(SearchSettings.model_fields["sampler"].annotation)) == SAMPLERS.keys()
