"""Projected gradient descent (Madry 2018)."""

from functools import partial

import torch
from torch import Tensor, nn

from nas.attacks.chunks import in_chunks
from nas.attacks.gradient import projected_gradient, watched_gradient
from nas.attacks.losses import LOSSES, misclassified
from nas.attacks.result import AttackResult
from nas.attacks.settings import Pgd
from nas.attacks.threat import Threat
from nas.networks.view import View, view_of


def run(
    settings: Pgd,
    network: nn.Module | View,
    x: Tensor,
    labels: Tensor,
    threat: Threat,
    generator: torch.Generator,
) -> AttackResult:
    """Last iterates, and whether any iterate of any restart (starts included) fooled the network.

    With several restarts, all images go through the first one; later ones attack only those that still
    stand, and `adversarial` keeps their last iterate of highest loss. `network` is not changed;
    `generator` advances.
    """
    view = view_of(network)
    attack = partial(_once, settings, view, threat)
    noise = threat.start(x, generator)
    last, highest, fooled, stuck = in_chunks(view, attack, x, labels, noise)
    for _ in range(settings.restarts - 1):
        noise = threat.start(x, generator)
        standing = (~fooled).nonzero().flatten()
        if not len(standing):
            break
        again, loss, fell, blocked = in_chunks(view, attack, x[standing], labels[standing], noise[standing])
        better = loss > highest[standing]
        last[standing[better]], highest[standing[better]] = again[better], loss[better]
        fooled[standing] = fell
        stuck[standing] |= blocked
    return AttackResult(last, fooled, stuck & ~fooled)


def _once(
    settings: Pgd, view: View, threat: Threat, x: Tensor, labels: Tensor, start: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One restart: last iterates, their loss, whether any iterate is misclassified, or stuck."""
    ascended = LOSSES[settings.loss]
    gradient, fooled, stuck = watched_gradient(view, labels, ascended)
    step_size = settings.step_size_for(threat)
    last = projected_gradient(gradient, x, start, threat, steps=settings.steps, step_size=step_size)
    logits = view.logits(last)
    loss = ascended.value(logits, labels).nan_to_num(nan=torch.inf)
    return last, loss, fooled | misclassified(logits, labels), stuck
