"""The fast gradient sign method (Goodfellow 2015): one full step from the image itself."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from nas.attacks.gradient import (
    AttackResult,
    cross_entropy,
    evaluation_mode,
    misclassified,
    projected_gradient,
)
from nas.settings import Settings
from nas.threat import ThreatModel


class Fgsm(Settings):
    """One step of length epsilon on the cross-entropy, from the clean image; network in eval mode."""

    name: Literal["fgsm"] = "fgsm"

    def describe(self, threat: ThreatModel) -> dict[str, Any]:
        """Full description of the attack as it is run, for records."""
        return {"name": self.name, "step_size": threat.epsilon, "convention": "clean start, cross-entropy"}

    def run(
        self, network: nn.Module, x: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> AttackResult:
        """The adversarial images and whether they (or the clean ones) are misclassified. Uses no chance."""
        clean = torch.zeros_like(labels, dtype=torch.bool)

        def loss(x_adv: Tensor) -> Tensor:
            nonlocal clean
            logits = network(x_adv)
            clean = misclassified(logits.detach(), labels)
            return cross_entropy(logits, labels)

        with evaluation_mode(network):
            x_adv = projected_gradient(loss, x, x, threat, steps=1, step_size=threat.epsilon)
            with torch.no_grad():
                fooled = misclassified(network(x_adv), labels)
        return AttackResult(x_adv, fooled | clean)
