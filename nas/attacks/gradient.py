"""The one projected-gradient loop, and what every attack shares.

Letters: N images, C channels, H × W pixels, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.attacks.view import View
from nas.threat import ThreatModel


@dataclass(frozen=True)
class AttackResult:
    """`adversarial` (N, C, H, W) pixels in the ball; `fooled` (N,) bool: misclassified at any iterate.

    An iterate with a logit that is not finite counts as fooled. `stuck` (N,) bool: at some iterate that was
    not misclassified, the gradient was zero at every pixel or not finite, so the attack could not climb.
    """

    adversarial: Tensor
    fooled: Tensor
    stuck: Tensor


def projected_gradient(
    gradient: Callable[[Tensor], Tensor],
    x: Tensor,
    start: Tensor,
    threat: ThreatModel,
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


def watched_cross_entropy(view: View, labels: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
    """Gradient of each image's cross-entropy by its pixels, and what it has seen: (gradient, fooled, stuck).

    The masks (N,) bool grow in place with every call: images misclassified at an iterate, and images whose
    gradient led nowhere before they were.
    """
    fooled = torch.zeros_like(labels, dtype=torch.bool)
    stuck = torch.zeros_like(labels, dtype=torch.bool)

    def gradient(x_adv: Tensor) -> Tensor:
        logits, ascent = view.gradient(x_adv, lambda logits: cross_entropy_slope(logits, labels))
        fooled.logical_or_(misclassified(logits, labels))
        stuck.logical_or_(is_stuck(ascent, fooled))
        return ascent

    return gradient, fooled, stuck


def kl_divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p ‖ q) of each row in nats from log-probabilities (N, K), shape (N,).

    Log-probabilities on both sides: with a probability target, the gradient with respect to that target
    is NaN as soon as softmax underflows to 0.
    """
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)


def cross_entropy_slope(logits: Tensor, labels: Tensor) -> Tensor:
    """Derivative of each image's cross-entropy by its logits, softmax(z) − onehot(y), shape (N, K)."""
    slope = logits.softmax(1)
    slope[torch.arange(len(labels), device=labels.device), labels] -= 1
    return slope


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each image in nats, shape (N,)."""
    return F.cross_entropy(logits, labels, reduction="none")


def misclassified(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether each image is not classified as its label; logits that are not finite count as wrong."""
    return (logits.argmax(1) != labels) | ~logits.isfinite().all(1)
