"""What every attack takes and gives, and the bookkeeping of attacks that go on with the standing images only.

Letters: N images, C channels, H × W pixels.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nas.attacks.chunks import in_chunks
from nas.attacks.losses import misclassified
from nas.attacks.threat import Threat
from nas.networks.view import View


@dataclass(frozen=True)
class AttackResult:
    """What an attack found for each image.

    `fooled` (N,) bool: a point of its ball that the attack looked at is misclassified; a logit that is not finite
    counts as misclassified. All but PGD look at the image itself, too. `adversarial` (N, C, H, W) pixels in the
    ball: of PGD and FGSM the last iterate, fooled or not. All others attack an image only until it is fooled, and
    give the image itself where it was misclassified from the start, the point that fooled the network where one
    did, and else the point of highest loss (AutoAttack: the image itself). `stuck` (N,) bool: not
    fooled, and at some iterate the gradient was zero at every pixel or not finite, so the attack could not climb;
    never for attacks that use no gradient.
    """

    adversarial: Tensor
    fooled: Tensor
    stuck: Tensor


class Attack(Protocol):
    """Settings of an attack that can run it."""

    def describe(self, threat: Threat) -> dict[str, Any]:
        """Full description of the attack as it is run, for records; JSON."""

    def run(
        self, network: nn.Module | View, x: Tensor, labels: Tensor, threat: Threat, generator: torch.Generator
    ) -> AttackResult:
        """Attack on images `x` (N, C, H, W); `network` is seen in eval mode and not changed, `generator` advances."""

    def reach(self, threat: Threat) -> float:
        """How far its points can lie from where it starts, in units of the ball's diameter; below 1 it is too weak."""

    def passes(self, num_classes: int) -> float:
        """Work on one image that stands to the end, in passes forward and backward; about."""


class AttackProgress:
    """Best points so far of an attack in several rounds, each on the images that still stand."""

    def __init__(self, view: View, x: Tensor, labels: Tensor) -> None:
        """Before the first round: images that are misclassified as they are have fallen."""
        self.clean_logits = chunked_logits(view, x)
        self._adversarial = x.clone()
        self._fooled = misclassified(self.clean_logits, labels)
        self._stuck = torch.zeros_like(self._fooled)
        self._highest = torch.full_like(self.clean_logits[:, 0], -torch.inf)

    def standing(self) -> Tensor:
        """Indices of the images that nothing has fooled."""
        return (~self._fooled).nonzero().flatten()

    def add_(
        self, rows: Tensor, points: Tensor, loss: Tensor, fell: Tensor | None = None, stuck: Tensor | None = None
    ) -> None:
        """Takes over, for images `rows` (n,), points that fooled (`fell`) or whose loss is the highest so far."""
        better = loss > self._highest[rows] if fell is None else fell | (loss > self._highest[rows])
        self._adversarial[rows[better]] = points[better]
        self._highest[rows[better]] = loss[better]
        if fell is not None:
            self._fooled[rows] |= fell
        if stuck is not None:
            self._stuck[rows] |= stuck

    def result(self) -> AttackResult:
        """Everything found."""
        return AttackResult(self._adversarial, self._fooled, self._stuck & ~self._fooled)


def chunked_logits(view: View, x: Tensor) -> Tensor:
    """`view.logits(x)` in chunks that fit the cache."""
    (logits,) = in_chunks(view, lambda part: (view.logits(part),), x)
    return logits
