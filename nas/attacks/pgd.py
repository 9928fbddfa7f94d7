"""Projected gradient descent on the cross-entropy (Madry 2018)."""

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from nas.attacks.gradient import (
    AttackResult,
    cross_entropy,
    evaluation_mode,
    misclassified,
    projected_gradient,
)
from nas.settings import Ratio, Settings
from nas.threat import ThreatModel


class Pgd(Settings):
    """Restarts of PGD from uniform starts inside the ball and [0, 1]; network in eval mode."""

    name: Literal["pgd"] = "pgd"
    steps: int = Field(20, ge=1, le=10_000)
    """Gradient steps of one restart."""
    step_size: Ratio | None = Field(None, gt=0)
    """Length of a step in pixel units; epsilon / 4 when left out (8/255 → 2/255)."""
    restarts: int = Field(1, ge=1, le=1000)
    """Number of starts."""

    def describe(self, threat: ThreatModel) -> dict[str, Any]:
        """Full description of the attack as it is run, for records."""
        step_size = self._step_size(threat)
        convention = "uniform start, cross-entropy, robust only if no iterate fools"
        return {**self.model_dump(), "step_size": step_size, "convention": convention}

    def run(
        self, network: nn.Module, x: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> AttackResult:
        """Last iterates, and whether any iterate of any restart (starts included) fooled the network.

        With several restarts, `adversarial` keeps, per image, the last iterate of highest cross-entropy.
        Mode and gradient flags of `network` are as before afterwards; `generator` advances.
        """
        fooled = torch.zeros_like(labels, dtype=torch.bool)
        best, best_loss = x, torch.full_like(x[:, 0, 0, 0], -torch.inf)

        def loss(x_adv: Tensor) -> Tensor:
            nonlocal fooled
            logits = network(x_adv)
            fooled = fooled | misclassified(logits.detach(), labels)
            return cross_entropy(logits, labels)

        with evaluation_mode(network):
            for _ in range(self.restarts):
                start = threat.random_start(x, generator)
                last = projected_gradient(loss, x, start, threat, steps=self.steps, step_size=self._step_size(threat))
                with torch.no_grad():
                    last_loss = loss(last).nan_to_num(nan=torch.inf)
                better = last_loss > best_loss
                best = torch.where(better[:, None, None, None], last, best)
                best_loss = torch.where(better, last_loss, best_loss)
        return AttackResult(best, fooled)

    def _step_size(self, threat: ThreatModel) -> float:
        return threat.epsilon / 4 if self.step_size is None else self.step_size
