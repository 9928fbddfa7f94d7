"""Settings of every attack: what a config can say of it, how it is described, and the door to run it.

Free of torch, so that a config is read and checked at once: `run` imports the algorithm, which is the function of the
same name in the attack's own file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from nas.attacks.threat import Threat
from nas.base.registry import ChosenFrom
from nas.base.settings import Ratio, Settings

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from nas.attacks.result import AttackResult
    from nas.networks.view import View

LossName = Literal["cross_entropy", "margin", "dlr"]
"""Losses that need no target class (nas/attacks/losses.py)."""
FORWARD = 1 / 3
"""A pass forward alone, in passes forward and backward."""


class Pgd(Settings):
    """Restarts of PGD from uniform starts inside the ball and the domain; network in eval mode."""

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

    def describe(self, threat: Threat) -> dict[str, Any]:
        """Full description of the attack as it is run, for records."""
        convention = f"uniform start, {self.loss.replace('_', '-')}, robust only if no iterate fools"
        return {**self.model_dump(), "step_size": self.step_size_for(threat), "convention": convention}

    def run(
        self, network: nn.Module | View, x: Tensor, labels: Tensor, threat: Threat, generator: torch.Generator
    ) -> AttackResult:
        """See nas.attacks.pgd.run."""
        from nas.attacks.pgd import run

        return run(self, network, x, labels, threat, generator)

    def reach(self, threat: Threat) -> float:
        """Longest way the steps of one restart can go, in units of the ball's diameter."""
        return self.steps * self.step_size_for(threat) / (2 * threat.epsilon)

    def passes(self, num_classes: int) -> float:
        """Work on one image that stands to the end, in passes forward and backward."""
        return self.restarts * (self.steps + FORWARD)

    def step_size_for(self, threat: Threat) -> float:
        """Length of a step in pixel units."""
        return threat.epsilon * max(1 / 4, 2.5 / self.steps) if self.step_size is None else self.step_size


class Fgsm(Settings):
    """One step of length epsilon on the cross-entropy, from the clean image; network in eval mode."""

    name: Literal["fgsm"] = "fgsm"

    def describe(self, threat: Threat) -> dict[str, Any]:
        """Full description of the attack as it is run, for records."""
        return {"name": self.name, "step_size": threat.epsilon, "convention": "clean start, cross-entropy"}

    def run(
        self, network: nn.Module | View, x: Tensor, labels: Tensor, threat: Threat, generator: torch.Generator
    ) -> AttackResult:
        """See nas.attacks.fgsm.run."""
        from nas.attacks.fgsm import run

        return run(network, x, labels, threat)

    def reach(self, threat: Threat) -> float:
        """Always 1: the step goes from the centre to the border."""
        return 1.0

    def passes(self, num_classes: int) -> float:
        """Work on one image that stands to the end, in passes forward and backward."""
        return 1 + FORWARD


class Apgd(Settings):
    """Auto-PGD from starts on the border of the ball, on images that still stand; network in eval mode."""

    name: Literal["apgd"] = "apgd"
    loss: Literal["cross_entropy", "margin", "dlr", "targeted_dlr"] = "cross_entropy"
    """What is ascended; targeted_dlr attacks towards one class after the other, the likeliest first."""
    steps: int = Field(100, ge=1, le=10_000)
    """Gradient steps of one restart."""
    restarts: int = Field(1, ge=1, le=1000)
    """Number of starts, for each target where there are targets."""
    targets: int = Field(9, ge=1, le=10_000)
    """Target classes of targeted_dlr, K − 1 at most; other losses ignore it."""
    rho: float = Field(0.75, gt=0, lt=1)
    """A step halves where fewer than this share of the steps since the last check raised the loss."""

    def describe(self, threat: Threat) -> dict[str, Any]:
        """Full description of the attack as it is run, for records."""
        ignored = set() if self.loss == "targeted_dlr" else {"targets"}
        convention = "start on the border, survivors only, halving steps, robust only if no iterate fools"
        return {**self.model_dump(exclude=ignored), "step_size": 2 * threat.epsilon, "convention": convention}

    def run(
        self, network: nn.Module | View, x: Tensor, labels: Tensor, threat: Threat, generator: torch.Generator
    ) -> AttackResult:
        """See nas.attacks.apgd.run."""
        from nas.attacks.apgd import run

        return run(self, network, x, labels, threat, generator)

    def reach(self, threat: Threat) -> float:
        """Always 1: the first step is as long as the ball is wide."""
        return 1.0

    def passes(self, num_classes: int) -> float:
        """Work on one image that stands to the end, in passes forward and backward."""
        targets = min(self.targets, num_classes - 1) if self.loss == "targeted_dlr" else 1
        return targets * self.restarts * self.steps + FORWARD


class Square(Settings):
    """Random search for the largest margin on images that still stand; a query is one forward pass of an image."""

    name: Literal["square"] = "square"
    queries: int = Field(5000, ge=1, le=1_000_000)
    """Proposals for each image and restart, after the first point."""
    p_init: float = Field(0.8, gt=0, le=1)
    """Share of the pixels in the first squares; it shrinks by a fixed schedule."""
    restarts: int = Field(1, ge=1, le=1000)
    """Number of starts."""

    def describe(self, threat: Threat) -> dict[str, Any]:
        """Full description of the attack as it is run, for records."""
        return {**self.model_dump(), "convention": "margin, schedule not rescaled, robust only if no query fools"}

    def run(
        self, network: nn.Module | View, x: Tensor, labels: Tensor, threat: Threat, generator: torch.Generator
    ) -> AttackResult:
        """See nas.attacks.square.run."""
        from nas.attacks.square import run

        return run(self, network, x, labels, threat, generator)

    def reach(self, threat: Threat) -> float:
        """Always 1: squares lie on the border of the ball and cross it at once."""
        return 1.0

    def passes(self, num_classes: int) -> float:
        """Work on one image that stands to the end, in passes forward and backward."""
        return self.restarts * self.queries * FORWARD


class Noise(Settings):
    """Random points of the ball, one after the other, on images that still stand. Forward passes only."""

    name: Literal["noise"] = "noise"
    draws: int = Field(10, ge=1, le=1_000_000)
    """Points tried for each image; for linf every second one is a random corner of the ball."""

    def describe(self, threat: Threat) -> dict[str, Any]:
        """Full description of the attack as it is run, for records."""
        corners = ", every second one a corner" if threat.norm == "linf" else ""
        return {**self.model_dump(), "convention": f"uniform in the ball{corners}, robust only if no point fools"}

    def run(
        self, network: nn.Module | View, x: Tensor, labels: Tensor, threat: Threat, generator: torch.Generator
    ) -> AttackResult:
        """See nas.attacks.noise.run."""
        from nas.attacks.noise import run

        return run(self, network, x, labels, threat, generator)

    def reach(self, threat: Threat) -> float:
        """Always 1: any point of the ball can be drawn."""
        return 1.0

    def passes(self, num_classes: int) -> float:
        """Work on one image that stands to the end, in passes forward and backward."""
        return self.draws * FORWARD


class AutoAttack(Settings):
    """APGD on cross-entropy, then targeted APGD, targeted FAB and Square, each on the images that still stand."""

    name: Literal["autoattack"] = "autoattack"
    version: Literal["standard"] = "standard"
    """Published variant of AutoAttack."""
    steps: int = Field(100, ge=1, le=10_000)
    """Steps of APGD and FAB; 100 in the standard version."""
    queries: int = Field(5000, ge=1, le=1_000_000)
    """Queries of Square; 5000 in the standard version."""

    def describe(self, threat: Threat) -> dict[str, Any]:
        """Full description of the attack as it is run, for records."""
        standard = (self.steps, self.queries) == (100, 5000)
        convention = "APGD-CE, APGD-T, FAB-T, Square on survivors, " + ("" if standard else "NOT ") + "as published"
        return {**self.model_dump(), "convention": convention}

    def run(
        self, network: nn.Module | View, x: Tensor, labels: Tensor, threat: Threat, generator: torch.Generator
    ) -> AttackResult:
        """See nas.attacks.autoattack.run."""
        from nas.attacks.autoattack import run

        return run(self, network, x, labels, threat, generator)

    def reach(self, threat: Threat) -> float:
        """Always 1: the first step of APGD is as long as the ball is wide."""
        return 1.0

    def passes(self, num_classes: int) -> float:
        """Work on one image that stands to the end, in passes forward and backward."""
        targets = min(9, num_classes - 1)  # of APGD-T and of FAB-T, whose steps look at two points
        return (1 + 3 * targets) * self.steps + self.queries * FORWARD


ATTACKS: dict[str, type[Pgd | Fgsm | Apgd | Square | Noise | AutoAttack]] = {
    "pgd": Pgd,
    "fgsm": Fgsm,
    "apgd": Apgd,
    "square": Square,
    "noise": Noise,
    "autoattack": AutoAttack,
}
AttackSettings = Annotated[Pgd | Fgsm | Apgd | Square | Noise | AutoAttack, ChosenFrom(ATTACKS, "attack")]
