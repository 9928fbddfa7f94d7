"""Random noise: the weakest attack there is. One that is based on gradients and does worse is broken."""

import torch
from torch import Tensor, nn

from nas.attacks.losses import margin, misclassified
from nas.attacks.result import AttackResult, Progress, chunked_logits
from nas.attacks.settings import Noise
from nas.attacks.threat import ThreatModel
from nas.networks.view import View, view_of


def run(
    settings: Noise,
    network: nn.Module | View,
    x: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    generator: torch.Generator,
) -> AttackResult:
    """The first point of each image that fooled the network, or the one of largest margin."""
    view = view_of(network)
    progress = Progress(view, x, labels)
    for draw in range(settings.draws):
        corner = threat.norm == "linf" and draw % 2 == 1
        points = _corners(x, threat, generator) if corner else threat.random_start(x, generator)
        rows = progress.standing()
        if not len(rows):
            break
        logits = chunked_logits(view, points[rows])
        fell = misclassified(logits, labels[rows])
        progress.add_(rows, points[rows], margin(logits, labels[rows]), fell)
    return progress.result()


def _corners(x: Tensor, threat: ThreatModel, generator: torch.Generator) -> Tensor:
    """Points x ± ε with a random sign for each pixel, clipped to [0, 1]."""
    signs = torch.empty_like(x).uniform_(-1, 1, generator=generator).sign()
    return (x + threat.epsilon * signs).clamp(0, 1)
