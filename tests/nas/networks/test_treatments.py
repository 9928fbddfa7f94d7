"""Treatments under their contract, and through a whole trial, killed and resumed."""

from importlib import import_module
from math import floor

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from nas.networks.layer import kernel_of
from nas.networks.quantized import QuantReLU6
from nas.networks.treatments import TREATMENTS, TreatmentSettings
from nas.networks.treatments.settings import FrozenZeros, Quantize
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


class TestQuantize(TreatmentContract):
    registered = "quantize"
    settings = Quantize(weights=4, activations=4)

    def holds(self, network: Network) -> bool:
        return is_quantized(network, levels=15)


class TestStochasticTernary(TreatmentContract):
    registered = "quantize"
    settings = Quantize(weights="ternary", activations=3, stochastic=True)

    def holds(self, network: Network) -> bool:
        return is_quantized(network, levels=3)


def is_quantized(network: Network, levels: int) -> bool:
    """Whether kernels have as few levels for each channel, and outputs of ReLU6 are on their grid."""
    kernels = [kernel_of(part).flatten(1) for part in network.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    few = all(len(row.unique()) <= levels for kernel in kernels for row in kernel)
    rounding = [part for part in network.modules() if isinstance(part, QuantReLU6)]
    x = torch.linspace(-1, 7, 1000)
    return few and bool(rounding) and all(len(part(x).unique()) == part.high + 1 for part in rounding)


def test_every_treatment_has_a_contract() -> None:
    import_module("tests.nas.networks.test_prune")  # which has those of pruning
    covered = {contract.registered for contract in TreatmentContract.__subclasses__()}
    assert covered >= set(TREATMENTS), "tests add treatments of their own"


def test_settings_are_read_by_their_name() -> None:
    adapter: TypeAdapter[FrozenZeros] = TypeAdapter(TreatmentSettings)
    assert adapter.validate_python({"name": "frozen_zeros", "share": 0.5}) == FrozenZeros(share=0.5)
    with pytest.raises(ValidationError, match=r"unknown treatment 'frozen' \(allowed: frozen_zeros, quantize, prune\)"):
        adapter.validate_python({"name": "frozen"})
    with pytest.raises(ValidationError) as refused:
        adapter.validate_python({"name": "frozen_zeros", "share": 1.5})
    assert refused.value.errors()[0]["loc"] == ("share",)
