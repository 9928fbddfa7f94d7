"""Attacks behind one door: `ATTACKS` lists each by name with its settings, which can run it."""

from typing import Annotated

from pydantic import Field

from nas.attacks.chunks import in_chunks
from nas.attacks.fgsm import Fgsm
from nas.attacks.gradient import AttackResult, cross_entropy, cross_entropy_slope, kl_divergence, projected_gradient
from nas.attacks.mode import evaluation_mode
from nas.attacks.pgd import Pgd
from nas.attacks.view import View, view_of

ATTACKS: dict[str, type[Pgd] | type[Fgsm]] = {"pgd": Pgd, "fgsm": Fgsm}
AttackSettings = Annotated[Pgd | Fgsm, Field(discriminator="name")]

__all__ = [
    "ATTACKS",
    "AttackResult",
    "AttackSettings",
    "Fgsm",
    "Pgd",
    "View",
    "cross_entropy",
    "cross_entropy_slope",
    "evaluation_mode",
    "in_chunks",
    "kl_divergence",
    "projected_gradient",
    "view_of",
]
