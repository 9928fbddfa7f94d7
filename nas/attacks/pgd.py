"""Projected gradient descent (Madry 2018)."""

from functools import partial
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from nas.attacks.chunks import in_chunks
from nas.attacks.gradient import projected_gradient, watched_gradient
from nas.attacks.losses import LOSSES, LossName, misclassified
from nas.attacks.result import AttackResult
from nas.attacks.view import View, view_of
from nas.settings import Ratio, Settings
from nas.threat import ThreatModel


class Pgd(Settings):
    """Restarts of PGD from uniform starts inside the ball and [0, 1]; network in eval mode."""

    name: Literal["pgd"] = "pgd"
    steps: int = Field(20, ge=1, le=10_000)
    """Gradient steps of one restart."""
    step_size: Ratio | None = Field(None, gt=0)
    """Length of a step in pixel units; when left out epsilon / 4 (8/255 → 2/255) or, where these few steps could not
    cross the ball, 2.5 epsilon / steps (Madry 2018)."""
    restarts: int = Field(1, ge=1, le=1000)
    """Number of starts."""
    loss: LossName = "cross_entropy"
    """What is ascended; margin and dlr do not fade where the network is confident."""

    def describe(self, threat: ThreatModel) -> dict[str, Any]:
        """Full description of the attack as it is run, for records."""
        step_size = self._step_size(threat)
        convention = f"uniform start, {self.loss.replace('_', '-')}, robust only if no iterate fools"
        return {**self.model_dump(), "step_size": step_size, "convention": convention}

    def run(
        self, network: nn.Module | View, x: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> AttackResult:
        """Last iterates, and whether any iterate of any restart (starts included) fooled the network.

        With several restarts, all images go through the first one; later ones attack only those that still
        stand, and `adversarial` keeps their last iterate of highest loss. `network` is not changed;
        `generator` advances.
        """
        view = view_of(network)
        attack = partial(self._once, view, threat)
        noise = threat.random_start(x, generator)
        last, highest, fooled, stuck = in_chunks(attack, x, labels, noise, size=view.chunk_size)
        for _ in range(self.restarts - 1):
            noise = threat.random_start(x, generator)
            standing = (~fooled).nonzero().flatten()
            if not len(standing):
                break
            again, loss, fell, blocked = in_chunks(
                attack, x[standing], labels[standing], noise[standing], size=view.chunk_size
            )
            better = loss > highest[standing]
            last[standing[better]], highest[standing[better]] = again[better], loss[better]
            fooled[standing] = fell
            stuck[standing] |= blocked
        return AttackResult(last, fooled, stuck & ~fooled)

    def _once(
        self, view: View, threat: ThreatModel, x: Tensor, labels: Tensor, start: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One restart: last iterates, their loss, whether any iterate is misclassified, or stuck."""
        ascended = LOSSES[self.loss]
        gradient, fooled, stuck = watched_gradient(view, labels, ascended)
        last = projected_gradient(gradient, x, start, threat, steps=self.steps, step_size=self._step_size(threat))
        logits = view.logits(last)
        loss = ascended.value(logits, labels).nan_to_num(nan=torch.inf)
        return last, loss, fooled | misclassified(logits, labels), stuck

    def reach(self, threat: ThreatModel) -> float:
        """Longest way the steps of one restart can go, in units of the ball's diameter."""
        return self.steps * self._step_size(threat) / (2 * threat.epsilon)

    def _step_size(self, threat: ThreatModel) -> float:
        return threat.epsilon * max(1 / 4, 2.5 / self.steps) if self.step_size is None else self.step_size
