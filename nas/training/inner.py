"""The inner maximisation of adversarial training: a perturbed copy of the batch."""

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.attacks.chunks import in_chunks
from nas.attacks.gradient import projected_gradient
from nas.attacks.losses import cross_entropy_slope
from nas.attacks.threat import Threat
from nas.networks.view import View
from nas.training.batch import Batch
from nas.training.settings import InnerAttack
from nas.training.starts import Memory, ball_of_iterates, keep_, start_of


def maximise(
    view: View, batch: Batch, threat: Threat, settings: InnerAttack, generator: torch.Generator, memory: Memory
) -> Tensor:
    """Adversarial copy (N, C, H, W) of the images of `batch`; `settings` name the start and the loss.

    What a start keeps is read from `memory` and changed there (nas/training/starts.py).
    """
    start = start_of(memory, settings, threat, batch, generator)
    x_adv = ascended(view, batch.x, batch.y, start, threat, settings)
    keep_(memory, settings, threat, batch, start, x_adv)
    return x_adv


def ascended(view: View, x: Tensor, labels: Tensor, start: Tensor, threat: Threat, settings: InnerAttack) -> Tensor:
    """Last iterate from `start` of K steps that ascend KL(f(x) ‖ f(x̂)), or the cross-entropy of f(x̂) and the labels.

    The network is in eval mode (TRADES, Zhang 2019; Madry 2018). Deviations from the public code of TRADES, neither of
    which changes the iterates that matter: the clean logits are computed once instead of in every step, and the start
    is projected. By the logits, KL has the derivative softmax(f(x̂)) − softmax(f(x)).
    """
    ball, by_kl = ball_of_iterates(settings, threat), settings.loss == "kl"

    def ascend(x: Tensor, labels: Tensor, start: Tensor) -> tuple[Tensor]:
        p = F.softmax(view.logits(x), 1) if by_kl else x

        def slope(logits: Tensor) -> Tensor:
            return F.softmax(logits, 1) - p if by_kl else cross_entropy_slope(logits, labels)

        return (
            projected_gradient(
                lambda x_adv: view.gradient(x_adv, slope)[1], x, start, ball,
                steps=settings.steps, step_size=settings.length(threat.epsilon),
            ),
        )  # fmt: skip

    return in_chunks(view, ascend, x, labels, start)[0]
