"""The optimiser of both trainings, of one network and of a supernet, and its learning rate."""

import torch
from torch import nn

from nas.training.schedule import learning_rate
from nas.training.settings import Training


def make_optimizer(network: nn.Module, settings: Training, device: torch.device) -> torch.optim.SGD:
    """SGD of `network`'s parameters; biases and batch-norm have no weight decay. The rate is a tensor on `device`."""
    decayed = [p for p in network.parameters() if p.dim() > 1]
    others = [p for p in network.parameters() if p.dim() <= 1]
    return torch.optim.SGD(
        [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=torch.tensor(settings.learning_rate, device=device),
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
        fused=True,
    )


def set_learning_rate_(optimizer: torch.optim.SGD, settings: Training, position: float) -> float:
    """Sets and returns the rate of the schedule at `position`, in epochs."""
    rate = learning_rate(settings.learning_rate, settings.schedule, position, settings.epochs, settings.warmup_epochs)
    for group in optimizer.param_groups:
        group["lr"].fill_(rate)
    return rate
