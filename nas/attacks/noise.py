"""Random noise: the weakest attack there is. One that is based on gradients and does worse is broken."""

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from nas.attacks.losses import margin, misclassified
from nas.attacks.result import AttackResult, Progress, chunked_logits
from nas.attacks.view import View, view_of
from nas.settings import Settings
from nas.threat import ThreatModel


class Noise(Settings):
    """Random points of the ball, one after the other, on images that still stand. Forward passes only."""

    name: Literal["noise"] = "noise"
    draws: int = Field(10, ge=1, le=1_000_000)
    """Points tried for each image; for linf every second one is a random corner of the ball."""

    def describe(self, threat: ThreatModel) -> dict[str, Any]:
        """Full description of the attack as it is run, for records."""
        corners = ", every second one a corner" if threat.norm == "linf" else ""
        return {**self.model_dump(), "convention": f"uniform in the ball{corners}, robust only if no point fools"}

    def run(
        self, network: nn.Module | View, x: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> AttackResult:
        """The first point of each image that fooled the network, or the one of largest margin."""
        view = view_of(network)
        progress = Progress(view, x, labels)
        for draw in range(self.draws):
            corner = threat.norm == "linf" and draw % 2 == 1
            points = _corners(x, threat, generator) if corner else threat.random_start(x, generator)
            rows = progress.standing()
            if not len(rows):
                break
            logits = chunked_logits(view, points[rows])
            fell = misclassified(logits, labels[rows])
            progress.add_(rows, points[rows], margin(logits, labels[rows]), fell)
        return progress.result()

    def reach(self, threat: ThreatModel) -> float:
        """Always 1: any point of the ball can be drawn."""
        return 1.0


def _corners(x: Tensor, threat: ThreatModel, generator: torch.Generator) -> Tensor:
    """Points x ± ε with a random sign for each pixel, clipped to [0, 1]."""
    signs = torch.empty_like(x).uniform_(-1, 1, generator=generator).sign()
    return (x + threat.epsilon * signs).clamp(0, 1)
