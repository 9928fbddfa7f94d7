"""Projected gradient descent on the cross-entropy (Madry 2018)."""

from functools import partial
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from nas.attacks.chunks import in_chunks
from nas.attacks.gradient import (
    AttackResult,
    cross_entropy,
    misclassified,
    projected_gradient,
    watched_cross_entropy,
)
from nas.attacks.view import View, view_of
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

        With several restarts, all images go through the first one; later ones attack only those that still
        stand, and `adversarial` keeps their last iterate of highest cross-entropy. `network` is not changed;
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
        """One restart: last iterates, their cross-entropy, whether any iterate is misclassified, or stuck."""
        gradient, fooled, stuck = watched_cross_entropy(view, labels)
        last = projected_gradient(gradient, x, start, threat, steps=self.steps, step_size=self._step_size(threat))
        logits = view.logits(last)
        loss = cross_entropy(logits, labels).nan_to_num(nan=torch.inf)
        return last, loss, fooled | misclassified(logits, labels), stuck

    def reach(self, threat: ThreatModel) -> float:
        """Longest way the steps of one restart can go, in units of the ball's diameter."""
        return self.steps * self._step_size(threat) / (2 * threat.epsilon)

    def _step_size(self, threat: ThreatModel) -> float:
        return threat.epsilon / 4 if self.step_size is None else self.step_size
