"""What the checks look at, and how much of a deviation is more than chance.

Letters: N images of the probe, K classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from nas.attacks import Pgd
from nas.attacks.result import Attack
from nas.attacks.threat import ThreatModel
from nas.base.records import Check, Rung
from nas.data.domain import Domain
from nas.evaluation.accuracy import wilson_interval
from nas.evaluation.scores import ImageScores
from nas.networks.view import View


@dataclass(frozen=True)
class Probe:
    """A network in eval mode with the first N of the images it was attacked on, and how the attacks went."""

    network: nn.Module
    view: View
    in_training_mode: tuple[str, ...]
    """Modules that were handed over in training mode."""
    x: Tensor
    y: Tensor
    logits: Tensor
    """Of `x`, (N, K)."""
    scores: ImageScores
    """Of all images, the probe's first."""
    attacks: tuple[Attack, ...]
    """Those that were made now, the one that x̂ comes from first."""
    threat: ThreatModel
    ladder: tuple[Rung, ...]
    excess: float
    """Largest distance of an adversarial image minus epsilon; not finite where an image was not."""
    outside: float
    """Largest distance of an adversarial pixel from the domain."""
    generator: torch.Generator
    steps: int
    """Gradient steps of the attacks that checks make themselves."""
    domain: Domain
    """What the values of the images mean."""

    def usual(self, loss: Literal["cross_entropy", "margin"] = "cross_entropy") -> Pgd:
        """PGD with which a check attacks, whatever attack is judged."""
        return Pgd(steps=self.steps, loss=loss)

    def head(self, flags: Tensor) -> Tensor:
        """`flags` of the probe's images, on their device."""
        return flags[: len(self.x)].to(self.x.device)

    def broken(self, attack: Attack, standing: Tensor, view: View | None = None,
               threat: ThreatModel | None = None) -> int:  # fmt: skip
        """How many of the `standing` images of the probe (N,) `attack` breaks."""
        return int(self.fooled(attack, standing, view, threat).sum())

    def fooled(self, attack: Attack, standing: Tensor, view: View | None = None,
               threat: ThreatModel | None = None) -> Tensor:  # fmt: skip
        """Which of the probe's images are `standing` and broken by `attack`, shape (N,)."""
        fooled = torch.zeros_like(standing)
        chosen = standing.nonzero().flatten()
        if len(chosen):
            result = attack.run(
                view or self.view, self.x[chosen], self.y[chosen], threat or self.threat, self.generator
            )  # fmt: skip
            fooled[chosen] = result.fooled
        return fooled


def exceeds(broken: int, count: int, share: float = 0.01) -> bool:
    """Whether `broken` of `count` images are more than `share` beyond doubt: the 95 % Wilson interval lies above.

    A strict count would accuse honest networks: another attack of the same strength breaks one image or two more.
    """
    return count > 0 and broken > 0 and wilson_interval(broken, count).low > share


def verdict(name: str, passed: bool, good: str, bad: str, figures: Mapping[str, float] | None = None) -> Check:
    """Check with the words of its outcome."""
    return Check(name, passed, good if passed else bad, dict(figures or {}))
