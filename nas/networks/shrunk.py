"""A network without the channels that pruning has set to zero: smaller, and with the same outputs."""

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from nas.networks.quantized import QuantConv2d
from nas.networks.treatments.prune import Pruner, convolutions_of
from search_spaces.network import Network
from search_spaces.pruned import has_hidden, is_free_head
from search_spaces.spec import BlockSpec


def without_zero_channels(network: Network) -> Network:
    """Copy of `network` without the hidden channels, and those of the head, that are zero whatever the input.

    Their convolutions have no weights, their batch-norm has neither factor nor offset. `network` itself where there are
    none, or nothing was pruned. The copy has no `prune` treatment any more: it is not to be trained.
    """
    if not any(isinstance(one, Pruner) for one in network.treatments):
        return network
    free = [has_hidden(block) for block in network.spec.blocks]
    free[-1] = free[-1] or is_free_head(network.spec)
    parts = zip(free, network.spec.blocks, network.features, strict=True)
    masks = [_alive(block, module) if is_free else None for is_free, block, module in parts]
    if all(mask is None or bool(mask.all()) for mask in masks):
        return network
    smaller, blocks = copy.deepcopy(network), list(network.spec.blocks)
    for index, (block, mask) in enumerate(zip(blocks, masks, strict=True)):
        if mask is None:
            continue
        makers = convolutions_of(block, smaller.features[index])
        if has_hidden(block):
            *makers, (taker, _) = makers
            blocks[index] = replace(block, hidden_channels=int(mask.sum()))
            _keep_inputs_(taker, mask)
        else:
            blocks[index] = replace(block, out_channels=int(mask.sum()))
            _keep_inputs_(smaller.classifier, mask)
        for conv, norm in makers:
            _keep_outputs_(conv, norm, mask)
    smaller.spec = replace(network.spec, blocks=tuple(blocks))
    smaller.treatments = nn.ModuleList(one for one in network.treatments if not isinstance(one, Pruner))
    return smaller


def _alive(block: BlockSpec, module: nn.Module) -> Tensor:
    """Which of the hidden channels of a block, or of the outputs of a single convolution, are not zero."""
    makers = convolutions_of(block, module)
    _, norm = makers[-2] if has_hidden(block) else makers[-1]
    alive = (norm.weight != 0) | (norm.bias != 0)
    if not alive.any():
        alive[0] = True
    if block.kind == "inverted_residual" and int(alive.sum()) == block.in_channels and not alive.all():
        alive[int((~alive).nonzero()[0])] = True  # as many as inputs would say that nothing is expanded
    return alive


@torch.no_grad()
def _keep_outputs_(conv: nn.Conv2d, norm: nn.BatchNorm2d, mask: Tensor) -> None:
    count = int(mask.sum())
    if conv.groups > 1:
        conv.groups = conv.in_channels = count
    conv.out_channels = norm.num_features = count
    conv.weight = nn.Parameter(conv.weight[mask], requires_grad=conv.weight.requires_grad)
    if isinstance(conv, QuantConv2d) and conv.noise is not None:
        conv.noise = conv.noise[mask]
    for name in ("weight", "bias"):
        values: Tensor = getattr(norm, name)
        setattr(norm, name, nn.Parameter(values[mask], requires_grad=values.requires_grad))
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean, norm.running_var = norm.running_mean[mask], norm.running_var[mask]


@torch.no_grad()
def _keep_inputs_(layer: nn.Conv2d | nn.Linear, mask: Tensor) -> None:
    if isinstance(layer, nn.Linear):
        layer.in_features = int(mask.sum())
    else:
        layer.in_channels = int(mask.sum())
    layer.weight = nn.Parameter(layer.weight[:, mask], requires_grad=layer.weight.requires_grad)
    if isinstance(layer, QuantConv2d) and layer.noise is not None:
        layer.noise = layer.noise[:, mask]
