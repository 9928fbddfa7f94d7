"""The one projected-gradient loop, and what every attack shares.

Letters: N images, C channels, H × W pixels, K classes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.threat import ThreatModel


@dataclass(frozen=True)
class AttackResult:
    """`adversarial` (N, C, H, W) pixels in the ball; `fooled` (N,) bool: misclassified at any iterate.

    An iterate with a logit that is not finite counts as fooled.
    """

    adversarial: Tensor
    fooled: Tensor


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Network in eval mode without parameter gradients; every module's mode and flags come back after."""
    modes = [(module, module.training) for module in network.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    network.eval()
    for parameter, _ in flags:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def projected_gradient(
    loss: Callable[[Tensor], Tensor],
    x: Tensor,
    start: Tensor,
    threat: ThreatModel,
    *,
    steps: int,
    step_size: float,
) -> Tensor:
    """Last of `steps` iterates x̂ ← project(x̂ + step_size · direction(∇ loss(x̂))) from `start`.

    Madry 2018, eq. 4, for the norm of `threat`. `loss` maps (N, C, H, W) to one value per image (N,),
    which is ascended; it is called once per step, at the iterate before the step. The network inside
    should be in `evaluation_mode`.
    """
    x_adv = start
    for _ in range(steps):
        x_adv = x_adv.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(x_adv).sum(), x_adv)
        x_adv = threat.project(x_adv.detach() + step_size * threat.direction(gradient), x)
    return x_adv.detach()


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each image in nats, shape (N,)."""
    return F.cross_entropy(logits, labels, reduction="none")


def misclassified(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether each image is not classified as its label; logits that are not finite count as wrong."""
    return (logits.argmax(1) != labels) | ~logits.isfinite().all(1)
