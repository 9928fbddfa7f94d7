"""Averaged weights, and batch-norm statistics that belong to the weights that are scored."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Tensors:
    """Parameters and buffers of a network, collected once: walking the modules costs more than averaging."""

    parameters: list[Tensor]
    buffers: list[Tensor]

    @classmethod
    def of(cls, network: nn.Module) -> Self:
        """Those of `network`, live."""
        return cls(list(network.parameters()), list(network.buffers()))


def keep_of(decay: float, step: int) -> float:
    """Share of the average that step `step` (from 0) keeps: min(decay, (1 + t) / (10 + t)).

    So early steps do not anchor it to the initial weights.
    """
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_average_(average: Tensors, network: Tensors, moved: Tensor) -> None:
    """Exponential moving average: parameters move by the share `moved` () towards `network`'s; buffers are copied."""
    change = torch._foreach_sub(network.parameters, average.parameters)
    torch._foreach_mul_(change, moved)
    torch._foreach_add_(average.parameters, change)
    for kept, live in zip(average.buffers, network.buffers, strict=True):
        kept.copy_(live)


@torch.no_grad()
def reestimate_batch_norm_(network: nn.Module, batches: list[Tensor]) -> None:
    """Replaces all batch-norm statistics by their plain mean over `batches` (each (N, C, H, W) pixels).

    Mode and momentum of every module are as before afterwards. Does nothing to a network without
    batch-norm or without batches.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms or not batches:
        return
    before = [(norm, norm.momentum, norm.training) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
        norm.train()
    for batch in batches:
        network(batch)
    for norm, momentum, training in before:
        norm.momentum = momentum
        norm.train(training)
