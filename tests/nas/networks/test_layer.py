"""A network's layers: the convolutions of its spec, in order, with layouts that fit, and the taps of dense windows."""

from itertools import pairwise

import pytest
import torch

from nas.networks.layer import layers_of
from tests.builders import BLOCKS, network_of


def test_taps_lead_from_every_pixel_of_a_window_to_its_centre() -> None:
    layers = layers_of(network_of(BLOCKS["conv 1x1"], (2, 3)))
    assert layers is not None
    taps = layers[0].taps
    assert taps is not None
    assert taps.shape == (9, 6, 2, 3)
    assert torch.equal(taps[4].flatten(1), torch.eye(6))
    expected = torch.zeros(2, 3, 2, 3)
    expected[1, 0, 0, 1] = expected[1, 1, 0, 2] = 1  # the kernel's lower left corner
    assert torch.equal(taps[6].view(2, 3, 2, 3), expected)


def test_taps_shrink_with_the_stride_and_the_next_window_begins_there() -> None:
    layers = layers_of(network_of(BLOCKS["inverted, stride 2"], (5, 7), stem=(1, 2)))
    assert layers is not None
    shapes = [None if layer.taps is None else tuple(layer.taps.shape) for layer in layers]
    assert shapes == [(1, 35, 3, 4), None, (9, 12, 2, 2), None]
    assert layers[0].taps is not None
    expected = torch.zeros(5, 7, 3, 4)
    for row in range(3):
        for column in range(4):
            expected[2 * row, 2 * column, row, column] = 1
    assert torch.equal(layers[0].taps.view(5, 7, 3, 4), expected)


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("name", BLOCKS)
def test_layers_are_the_convolutions_of_the_spec_in_order(name: str, size: int) -> None:
    network = network_of(BLOCKS[name], size)
    layers = layers_of(network)
    assert layers is not None
    expected = [conv for block in network.spec.blocks for conv in block.convolutions]
    assert [tuple(layer.conv.weight.shape) for layer in layers] == [conv.weight_shape for conv in expected]
    residuals = sum(block.has_residual for block in network.spec.blocks)
    projections = sum(block.has_projection for block in network.spec.blocks)
    assert sum(layer.opens_residual for layer in layers) == residuals
    assert sum(layer.projects for layer in layers) == projections
    assert sum(layer.closes_residual for layer in layers) == residuals + projections
    for before, after in pairwise(layers):
        assert before.channel_major_out == after.channel_major_in
