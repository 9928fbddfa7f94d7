"""An attack on a network whose logits are multiplied by constants: saturation and flat losses hide nothing from it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nas.attacks.result import Attack, AttackResult
from nas.attacks.threat import Threat
from nas.networks.view import Scaled, View, view_of

FACTORS = (0.01, 100.0)
"""Of the logits: one that no softmax saturates behind, one that weighs the runner-up alone."""


@dataclass(frozen=True)
class Rescaled:
    """`attack` once for each of `factors` that the logits are multiplied by, on the images that still stand.

    Gradients of a cross-entropy depend on the scale of the logits, predictions do not: quantized networks often give
    logits of a scale that leaves no useful gradient (Gupta & Ajanthan 2022, Improved gradient-based adversarial attacks
    for quantized networks). No entry of ATTACKS: quantized networks meet it without being asked.
    """

    attack: Attack
    factors: tuple[float, ...] = FACTORS

    def describe(self, threat: Threat) -> dict[str, Any]:
        """Full description of the attack as it is run, for records."""
        return {"name": "rescaled", "attack": self.attack.describe(threat), "factors": list(self.factors)}

    def run(
        self, network: nn.Module | View, x: Tensor, labels: Tensor, threat: Threat, generator: torch.Generator
    ) -> AttackResult:
        """Whether any factor's attack fooled; of the others, the last one's images. `stuck` is all False.

        Behind a factor, a vanished gradient says nothing about the network.
        """
        view, made = view_of(network), x.clone()
        fooled = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        for factor in self.factors:
            rows = (~fooled).nonzero().flatten()
            if len(rows):
                result = self.attack.run(Scaled(view, factor), x[rows], labels[rows], threat, generator)
                made[rows], fooled[rows] = result.adversarial, result.fooled
        return AttackResult(made, fooled, torch.zeros_like(fooled))

    def reach(self, threat: Threat) -> float:
        """That of `attack`."""
        return self.attack.reach(threat)

    def passes(self, num_classes: int) -> float:
        """Those of `attack`, for each factor."""
        return len(self.factors) * self.attack.passes(num_classes)
