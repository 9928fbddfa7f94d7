"""The inner maximisation of adversarial training: a perturbed copy of the batch."""

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.attacks.chunks import in_chunks
from nas.attacks.gradient import projected_gradient
from nas.attacks.losses import cross_entropy_slope
from nas.attacks.threat import Threat
from nas.networks.view import View
from nas.training.settings import InnerAttack


def maximise_kl(view: View, x: Tensor, threat: Threat, settings: InnerAttack, generator: torch.Generator) -> Tensor:
    """Adversarial copy of `x` (N, C, H, W) that ascends KL(f(x) ‖ f(x̂)); no label is used.

    TRADES (Zhang 2019): start x + 0.001 · N(0, 1), network in eval mode. Deviations from the public code,
    neither of which changes the iterates that matter: the clean logits are computed once instead of in
    every step, and the start is projected. By the logits, the loss has the derivative softmax(f(x̂)) − p.
    """

    def ascend(x: Tensor, noise: Tensor) -> tuple[Tensor]:
        p = F.softmax(view.logits(x), 1)
        return (
            projected_gradient(
                lambda x_adv: view.gradient(x_adv, lambda logits: F.softmax(logits, 1) - p)[1],
                x,
                threat.project(x + 0.001 * noise, x),
                threat,
                steps=settings.steps,
                step_size=_step_size(settings, threat),
            ),
        )

    noise = torch.empty_like(x).normal_(generator=generator)
    return in_chunks(view, ascend, x, noise)[0]


def maximise_cross_entropy(
    view: View,
    x: Tensor,
    labels: Tensor,
    threat: Threat,
    settings: InnerAttack,
    generator: torch.Generator,
) -> Tensor:
    """Adversarial copy of `x` (N, C, H, W) that ascends the cross-entropy from a uniform start (Madry 2018)."""

    def ascend(x: Tensor, labels: Tensor, start: Tensor) -> tuple[Tensor]:
        return (
            projected_gradient(
                lambda x_adv: view.gradient(x_adv, lambda logits: cross_entropy_slope(logits, labels))[1],
                x,
                start,
                threat,
                steps=settings.steps,
                step_size=_step_size(settings, threat),
            ),
        )

    return in_chunks(view, ascend, x, labels, threat.start(x, generator))[0]


def _step_size(settings: InnerAttack, threat: Threat) -> float:
    return threat.epsilon / 4 if settings.step_size is None else settings.step_size
