"""Weights of a trained network as the start of a similar one, in place of random ones.

The simplest form of what network morphisms (Wei 2016) and Lamarckian evolution (Elsken 2019) do: slices are copied, and
the function is not preserved.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from search_spaces.network import Network


@torch.no_grad()
def inherit(network: Network, weights: Mapping[str, Tensor]) -> float:
    """Copies what `network` shares with the network of `weights` (a state_dict); the share of its parameters so filled.

    Tensors correspond by the place of their block and their role in it, in networks of one search space. Of each, the
    first channels that both have are taken over, of kernels of equal size only: weights, scales, shifts and running
    statistics. What has no counterpart keeps the values it has, and so does what treatments keep, such as the masks of
    pruned weights: `network` is treated as its own settings say.
    """
    own, parameters = network.state_dict(), dict(network.named_parameters())
    theirs = {role: weights[name] for name, role in _roles(weights).items()}
    taken = 0
    for name, role in _roles(own).items():
        target, source = own[name], None if name.startswith("treatments.") else theirs.get(role)
        if source is None or source.dim() != target.dim() or source.shape[2:] != target.shape[2:]:
            continue
        common = tuple(slice(min(sizes)) for sizes in zip(target.shape[:2], source.shape[:2], strict=True))
        target[common].copy_(source[common])
        taken += target[common].numel() if name in parameters else 0
    return taken / sum(parameter.numel() for parameter in parameters.values())


_BOTTLENECK = re.compile(r"(features\.\d+\.conv)\.(\d+)(\..+)")
"""A tensor of an inverted bottleneck: the block, the number of the layer, the tensor within the layer."""


def _roles(names: Iterable[str]) -> dict[str, str]:
    """Role of every tensor by its name.

    The layers of an inverted bottleneck count from its end, as the expansion at its start is missing where the expand
    ratio is 1: the name `features.2.conv.0.0.weight` is that of an expansion or of a depthwise convolution.
    """
    layers = {name: _BOTTLENECK.fullmatch(name) for name in names}
    lengths: dict[str, int] = {}
    for found in layers.values():
        if found:
            lengths[found[1]] = max(lengths.get(found[1], 0), int(found[2]) + 1)
    return {
        name: f"{found[1]}.{int(found[2]) - lengths[found[1]]}{found[3]}" if found else name
        for name, found in layers.items()
    }
