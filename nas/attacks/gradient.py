"""The one projected-gradient loop, and the gradient that keeps watch.

Letters: N images, C channels, H × W pixels.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from nas.attacks.losses import Loss, misclassified
from nas.attacks.threat import Threat
from nas.networks.view import View


def projected_gradient(
    gradient: Callable[[Tensor], Tensor],
    x: Tensor,
    start: Tensor,
    threat: Threat,
    *,
    steps: int,
    step_size: float,
) -> Tensor:
    """Last of `steps` iterates x̂ ← project(x̂ + step_size · direction(∇ loss(x̂))) from `start`.

    Madry 2018, eq. 4, for the norm of `threat`. `gradient` maps (N, C, H, W) to the gradient of the ascended
    loss there; it is called once per step, at the iterate before the step.
    """
    x_adv = start
    for _ in range(steps):
        x_adv = threat.project(x_adv + step_size * threat.direction(gradient(x_adv)), x)
    return x_adv


def is_stuck(gradient: Tensor, wrong: Tensor) -> Tensor:
    """Images, not `wrong` already, whose gradient (N, C, H, W) leads nowhere: all zero, or not finite. Shape (N,)."""
    useless = (gradient == 0).flatten(1).all(1) | ~gradient.isfinite().flatten(1).all(1)
    return useless & ~wrong


def watched_gradient(view: View, labels: Tensor, loss: Loss) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
    """Gradient of each image's loss by its pixels, and what it has seen: (gradient, fooled, stuck).

    The masks (N,) bool grow in place with every call: images misclassified at an iterate, and images whose
    gradient led nowhere before they were.
    """
    fooled = torch.zeros_like(labels, dtype=torch.bool)
    stuck = torch.zeros_like(labels, dtype=torch.bool)

    def gradient(x_adv: Tensor) -> Tensor:
        logits, ascent = view.gradient(x_adv, lambda logits: loss.slope(logits, labels))
        fooled.logical_or_(misclassified(logits, labels))
        stuck.logical_or_(is_stuck(ascent, fooled))
        return ascent

    return gradient, fooled, stuck
