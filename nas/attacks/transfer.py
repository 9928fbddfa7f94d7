"""Transfer: adversarial images made on another network. It needs nothing of the network under attack but its labels."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nas.attacks.losses import margin, misclassified
from nas.attacks.result import Attack, AttackProgress, AttackResult, chunked_logits
from nas.attacks.threat import Threat
from nas.networks.view import View, view_of


@dataclass(frozen=True)
class Transfer:
    """`attack` on `source`, tried on the network. Strong with attacks that go on after `source` is fooled, as PGD does.

    No entry of ATTACKS: it needs a network, so no config can name it.
    """

    source: nn.Module | View
    attack: Attack
    source_name: str = ""
    """What `source` is, for descriptions; empty: another network."""

    def describe(self, threat: Threat) -> dict[str, Any]:
        """Full description of the attack as it is run, for records."""
        return {
            "name": "transfer",
            **({"source": self.source_name} if self.source_name else {}),
            "attack": self.attack.describe(threat),
            "convention": "made on another network, robust only if the last point does not fool",
        }

    def run(
        self, network: nn.Module | View, x: Tensor, labels: Tensor, threat: Threat, generator: torch.Generator
    ) -> AttackResult:
        """The images made on `source`, and whether they (or the clean ones) fool `network`; `stuck` is all False."""
        made = self.attack.run(self.source, x, labels, threat, generator).adversarial
        view = view_of(network)
        progress = AttackProgress(view, x, labels)
        rows = progress.standing()
        if len(rows):
            logits = chunked_logits(view, made[rows])
            progress.add_(rows, made[rows], margin(logits, labels[rows]), misclassified(logits, labels[rows]))
        return progress.result()

    def reach(self, threat: Threat) -> float:
        """That of `attack`."""
        return self.attack.reach(threat)

    def passes(self, num_classes: int) -> float:
        """Those of `attack`."""
        return self.attack.passes(num_classes)
