"""Attacks behind one door: `ATTACKS` lists each by name with its settings, which can run it."""

from typing import Annotated

from pydantic import Field

from nas.attacks.fgsm import Fgsm
from nas.attacks.gradient import AttackResult, cross_entropy, evaluation_mode, projected_gradient
from nas.attacks.pgd import Pgd

ATTACKS: dict[str, type[Pgd] | type[Fgsm]] = {"pgd": Pgd, "fgsm": Fgsm}
AttackSettings = Annotated[Pgd | Fgsm, Field(discriminator="name")]

__all__ = [
    "ATTACKS",
    "AttackResult",
    "AttackSettings",
    "Fgsm",
    "Pgd",
    "cross_entropy",
    "evaluation_mode",
    "projected_gradient",
]
