"""Attacks behind one door: `ATTACKS` lists each by name with its settings, which can run it."""

from typing import Annotated

from pydantic import Field

from nas.attacks.apgd import Apgd
from nas.attacks.autoattack import AutoAttack
from nas.attacks.chunks import in_chunks
from nas.attacks.fgsm import Fgsm
from nas.attacks.gradient import projected_gradient
from nas.attacks.losses import LOSSES, Loss, cross_entropy, cross_entropy_slope, kl_divergence, misclassified
from nas.attacks.mode import evaluation_mode
from nas.attacks.noise import Noise
from nas.attacks.pgd import Pgd
from nas.attacks.result import Attack, AttackResult
from nas.attacks.square import Square
from nas.attacks.transfer import Transfer
from nas.attacks.view import Scaled, View, view_of

ATTACKS: dict[str, type[Pgd | Fgsm | Apgd | Square | Noise | AutoAttack]] = {
    "pgd": Pgd,
    "fgsm": Fgsm,
    "apgd": Apgd,
    "square": Square,
    "noise": Noise,
    "autoattack": AutoAttack,
}
AttackSettings = Annotated[Pgd | Fgsm | Apgd | Square | Noise | AutoAttack, Field(discriminator="name")]

__all__ = [
    "ATTACKS",
    "LOSSES",
    "Apgd",
    "Attack",
    "AttackResult",
    "AttackSettings",
    "AutoAttack",
    "Fgsm",
    "Loss",
    "Noise",
    "Pgd",
    "Scaled",
    "Square",
    "Transfer",
    "View",
    "cross_entropy",
    "cross_entropy_slope",
    "evaluation_mode",
    "in_chunks",
    "kl_divergence",
    "misclassified",
    "projected_gradient",
    "view_of",
]
