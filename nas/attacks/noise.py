"""Random noise: the weakest attack there is. One that is based on gradients and does worse is broken."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nas.attacks.balls import NormName
from nas.attacks.losses import margin, misclassified
from nas.attacks.result import AttackProgress, AttackResult, chunked_logits
from nas.attacks.settings import Noise
from nas.attacks.threat import Threat
from nas.networks.view import View, view_of


def run(
    settings: Noise,
    network: nn.Module | View,
    x: Tensor,
    labels: Tensor,
    threat: Threat,
    generator: torch.Generator,
) -> AttackResult:
    """The first point of each image that fooled the network, or the one of largest margin."""
    view = view_of(network)
    progress = AttackProgress(view, x, labels)
    kinds = POINTS[threat.norm]
    for draw in range(settings.draws):
        points = kinds[draw % len(kinds)](x, threat, generator)
        rows = progress.standing()
        if not len(rows):
            break
        logits = chunked_logits(view, points[rows])
        fell = misclassified(logits, labels[rows])
        progress.add_(rows, points[rows], margin(logits, labels[rows]), fell)
    return progress.result()


def _inside(x: Tensor, threat: Threat, generator: torch.Generator) -> Tensor:
    """Points drawn uniformly from each ball."""
    return threat.start(x, generator)


def _corners(x: Tensor, threat: Threat, generator: torch.Generator) -> Tensor:
    """Points x ± ε with a random sign for each pixel, clipped to the domain."""
    signs = torch.empty_like(x).uniform_(-1, 1, generator=generator).sign()
    return (x + threat.epsilon * signs).clamp(threat.low, threat.high)


POINTS: dict[NormName, tuple[Callable[[Tensor, Threat, torch.Generator], Tensor], ...]] = {
    "linf": (_inside, _corners),
    "l2": (_inside,),
}
"""Kinds of points that are tried in turn, by norm; an l2 ball has no corners."""
