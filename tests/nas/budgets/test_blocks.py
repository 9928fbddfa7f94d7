"""Block by block, a network costs what it costs as a whole."""

from dataclasses import replace

import pytest

from nas.budgets import Deployment, block_costs, count_costs
from search_spaces import BlockSpec, NetworkSpec
from tests.builders import BLOCKS, spectrogram_spec, tiny_space


@pytest.mark.parametrize("bits", [32, 8, 3])
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_add_up_to_the_network(name: str, bits: int) -> None:
    spec = NetworkSpec((3, 9, 9), 5, (BlockSpec("conv", 0, 3, 4, 4, 3, 1), *BLOCKS[name]))
    deployment = Deployment(weight_bits=bits, activation_bits=bits)
    found, whole = block_costs(spec, deployment), count_costs(spec, deployment)
    assert len(found) == len(spec.blocks) + 1
    assert sum(one.params for one in found) == whole.params
    assert sum(one.macs for one in found) == whole.macs
    assert max(one.activation_bytes for one in found) == whole.peak_activation_bytes
    assert sum(one.weight_bytes for one in found) == whole.weight_bytes


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_of_different_bits_add_up_to_the_network(name: str) -> None:
    blocks = (BlockSpec("conv", 0, 3, 4, 4, 3, 1), *BLOCKS[name])
    choices = [(2, 8), (8, 0), (0, 3), (32, 4)]
    mixed = (replace(block, weight_bits=choices[n % 4][0], activation_bits=choices[n % 4][1])
             for n, block in enumerate(blocks))  # fmt: skip
    deployment = Deployment(weight_bits=4, activation_bits=5)
    spec = NetworkSpec((3, 9, 9), 5, tuple(mixed))
    found, whole = block_costs(spec, deployment), count_costs(spec, deployment)
    assert max(one.activation_bytes for one in found) == whole.peak_activation_bytes
    assert sum(one.weight_bytes for one in found) == whole.weight_bytes
    assert [one.bits for one in found[:2]] == ["2/8", "8/5"]


def test_a_block_says_what_it_is() -> None:
    space = tiny_space()
    first, *_, last = block_costs(space.spec(space.largest()), Deployment())
    assert (first.kind, first.in_channels, first.out_channels, first.kernel, first.row) == ("conv", 1, 4, "3", "0")
    assert (last.kind, last.out_channels, last.params) == ("linear", 10, 10 * last.in_channels + 10)
    assert block_costs(spectrogram_spec(), Deployment())[0].kernel == "10×4"
