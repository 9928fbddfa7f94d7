"""The inner maximisation of adversarial training: a perturbed copy of the batch."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.attacks import cross_entropy, evaluation_mode, projected_gradient
from nas.threat import ThreatModel
from nas.training.losses import kl_divergence
from nas.training.settings import InnerAttack


def maximise_kl(
    network: nn.Module, x: Tensor, threat: ThreatModel, settings: InnerAttack, generator: torch.Generator
) -> Tensor:
    """Adversarial copy of `x` (N, C, H, W) that ascends KL(f(x) ‖ f(x̂)); no label is used.

    TRADES (Zhang 2019): start x + 0.001 · N(0, 1), network in eval mode. Deviations from the public code,
    neither of which changes the iterates that matter: the clean logits are computed once instead of in
    every step, and the start is projected.
    """
    with evaluation_mode(network):
        with torch.no_grad():
            log_p = F.log_softmax(network(x), 1)
        noise = torch.empty_like(x).normal_(generator=generator)

        def loss(x_adv: Tensor) -> Tensor:
            return kl_divergence(log_p, F.log_softmax(network(x_adv), 1))

        start = threat.project(x + 0.001 * noise, x)
        return projected_gradient(loss, x, start, threat, steps=settings.steps, step_size=_step_size(settings, threat))


def maximise_cross_entropy(
    network: nn.Module,
    x: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    settings: InnerAttack,
    generator: torch.Generator,
) -> Tensor:
    """Adversarial copy of `x` (N, C, H, W) that ascends the cross-entropy from a uniform start (Madry 2018)."""
    with evaluation_mode(network):
        return projected_gradient(
            lambda x_adv: cross_entropy(network(x_adv), labels),
            x,
            threat.random_start(x, generator),
            threat,
            steps=settings.steps,
            step_size=_step_size(settings, threat),
        )


def _step_size(settings: InnerAttack, threat: ThreatModel) -> float:
    return threat.epsilon / 4 if settings.step_size is None else settings.step_size
