"""Treatments under their contract, and through a whole trial, killed and resumed."""

from math import floor

import pytest
from pydantic import TypeAdapter, ValidationError
from torch import nn

from nas.networks.treatments import TREATMENTS, TreatmentSettings
from nas.networks.treatments.settings import FrozenZeros
from nas.testing.treatments import TreatmentContract, zero_channels
from search_spaces.network import Network


class TestFrozenZeros(TreatmentContract):
    registered = "frozen_zeros"
    settings = FrozenZeros(share=0.5)

    def holds(self, network: Network) -> bool:
        masks = network.treatments[0]
        convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
        zeros = [zero_channels(conv.weight) for conv in convolutions]
        drawn = [int((~masks.get_buffer(f"mask_{index}")).sum()) for index in range(len(convolutions))]
        return zeros == drawn == [floor(0.5 * conv.out_channels) for conv in convolutions]


def test_every_treatment_has_a_contract() -> None:
    covered = {contract.registered for contract in TreatmentContract.__subclasses__()}
    assert covered >= set(TREATMENTS), "tests add treatments of their own"


def test_settings_are_read_by_their_name() -> None:
    adapter: TypeAdapter[FrozenZeros] = TypeAdapter(TreatmentSettings)
    assert adapter.validate_python({"name": "frozen_zeros", "share": 0.5}) == FrozenZeros(share=0.5)
    with pytest.raises(ValidationError, match=r"unknown treatment 'frozen' \(allowed: frozen_zeros\)"):
        adapter.validate_python({"name": "frozen"})
    with pytest.raises(ValidationError) as refused:
        adapter.validate_python({"name": "frozen_zeros", "share": 1.5})
    assert refused.value.errors()[0]["loc"] == ("share",)
