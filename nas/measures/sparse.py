"""Bytes of a trained network's weights where zeros are not stored."""

from __future__ import annotations

from math import ceil, log2
from typing import TYPE_CHECKING

from nas.measures.measure import Attacked

if TYPE_CHECKING:
    from torch import Tensor, nn

NAMES = ("sparse_weight_bytes",)
"""Measured of every network that the treatment `prune` prunes."""


def weight_bytes(attacked: Attacked) -> float:
    """Bytes of all convolutions and linear layers, each stored in the cheapest way, with biases and scales."""
    from nas.networks.treatments.prune import Pruner
    from nas.networks.treatments.treatment import treatments_of

    bits = next((one.bits for one in treatments_of(attacked.network) if isinstance(one, Pruner)), 32)
    return float(network_bytes(attacked.network, bits))


def network_bytes(network: nn.Module, bits: int = 32) -> int:
    """As `weight_bytes`, of `network` in its present state. Batch-norm is counted as folded into its convolution.

    Weights that are not rounded in training are stored with so many `bits`.

    Weights that rounding makes zero are zeros, too. A 4-byte bias and, below 32 bits, a 4-byte scale are stored for
    every output channel that has a weight.
    """
    from torch import nn

    from nas.networks.layer import kernel_of
    from nas.networks.quantized import QuantConv2d, QuantLinear
    from nas.networks.treatments.settings import weight_bits

    total = 0
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            own = weight_bits(module.grid) if isinstance(module, QuantConv2d | QuantLinear) else bits
            kernel = kernel_of(module).detach()
            channels = int((kernel.flatten(1) != 0).any(1).sum())
            total += sparse_bytes(kernel, own) + (4 if own == 32 else 8) * channels
    return total


def sparse_bytes(weight: Tensor, bits: int) -> int:
    """Bytes of a kernel (O, I, …) of so many `bits` a weight, in the cheapest of three ways.

    Dense: all weights; with a bitmap: a bit for every place, and the others than zero; as a list: these, each with its
    place. Output channels without a weight, and input channels that none takes, have no places.
    """
    rows = int((weight.flatten(1) != 0).any(1).sum())
    columns = int((weight.transpose(0, 1).flatten(1) != 0).any(1).sum())
    places = rows * columns * (weight[0, 0].numel() if weight.dim() > 2 else 1)
    if not places:
        return 0
    count = int((weight != 0).sum())
    ways = (bits * places, places + bits * count, (bits + ceil(log2(places))) * count)
    return min(ceil(way / 8) for way in ways)
