"""The fast gradient sign method (Goodfellow 2015): one full step from the image itself."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from nas.attacks.gradient import projected_gradient, watched_gradient
from nas.attacks.losses import LOSSES, misclassified
from nas.attacks.result import AttackResult
from nas.attacks.view import View, view_of
from nas.settings import Settings
from nas.threat import ThreatModel


class Fgsm(Settings):
    """One step of length epsilon on the cross-entropy, from the clean image; network in eval mode."""

    name: Literal["fgsm"] = "fgsm"

    def describe(self, threat: ThreatModel) -> dict[str, Any]:
        """Full description of the attack as it is run, for records."""
        return {"name": self.name, "step_size": threat.epsilon, "convention": "clean start, cross-entropy"}

    def run(
        self, network: nn.Module | View, x: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> AttackResult:
        """The adversarial images and whether they (or the clean ones) are misclassified. Uses no chance."""
        view = view_of(network)
        gradient, clean, stuck = watched_gradient(view, labels, LOSSES["cross_entropy"])
        x_adv = projected_gradient(gradient, x, x, threat, steps=1, step_size=threat.epsilon)
        fooled = clean | misclassified(view.logits(x_adv), labels)
        return AttackResult(x_adv, fooled, stuck & ~fooled)

    def reach(self, threat: ThreatModel) -> float:
        """Always 1: the step goes from the centre to the border."""
        return 1.0
