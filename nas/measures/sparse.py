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

    Weights that are not rounded in training are stored with so many `bits`. Channels that are pruned are not there.

    Weights that rounding makes zero are zeros, too. Stored are a 4-byte bias for every output channel that has a weight
    or makes something else than 0 without one, and, below 32 bits, a 4-byte scale for each that has a weight.
    """
    import torch
    from torch import nn

    from nas.networks.layer import kernel_of
    from nas.networks.quantized import QuantConv2d, QuantLinear
    from nas.networks.shrunk import without_zero_channels
    from nas.networks.treatments.settings import weight_bits
    from search_spaces.network import Network

    network = without_zero_channels(network) if isinstance(network, Network) else network
    layers = [part for part in network.modules() if isinstance(part, nn.Conv2d | nn.Linear | nn.BatchNorm2d)]
    total = 0
    for module, behind in zip(layers, [*layers[1:], None], strict=True):
        if isinstance(module, nn.BatchNorm2d):
            continue
        own = weight_bits(module.grid) if isinstance(module, QuantConv2d | QuantLinear) else bits
        kernel = kernel_of(module).detach()
        weighted = (kernel.flatten(1) != 0).any(1)
        biased = torch.zeros_like(weighted) if module.bias is None else module.bias != 0
        if isinstance(behind, nn.BatchNorm2d):
            assert behind.running_mean is not None
            assert behind.running_var is not None
            # β − γ · μ / √(σ² + ε), without a division by what may be 0
            biased |= behind.bias * (behind.running_var + behind.eps).sqrt() != behind.weight * behind.running_mean
        total += sparse_bytes(kernel, own) + 4 * int((weighted | biased).sum())
        total += 0 if own == 32 else 4 * int(weighted.sum())
    return total


def sparse_bytes(weight: Tensor, bits: int) -> int:
    """Bytes of a kernel (O, I, …) of so many `bits` a weight, in the cheapest of three ways.

    Dense: all weights; with a bitmap: a bit for every place, and the others than zero; as a list: these, each with its
    place. Output channels without a weight, and input channels that none takes, have no places; where there are such,
    a bit for each output or input channel says which.
    """
    rows = int((weight.flatten(1) != 0).any(1).sum())
    columns = int((weight.transpose(0, 1).flatten(1) != 0).any(1).sum())
    maps = sum(ceil(size / 8) for size, left in zip(weight.shape, (rows, columns), strict=False) if left < size)
    places = rows * columns * (weight[0, 0].numel() if weight.dim() > 2 else 1)
    if not places:
        return maps
    count = int((weight != 0).sum())
    ways = (bits * places, places + bits * count, (bits + ceil(log2(places))) * count)
    return maps + min(ceil(way / 8) for way in ways)
