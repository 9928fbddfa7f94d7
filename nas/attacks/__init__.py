"""Attacks behind one door: `ATTACKS` lists each by name with its settings, which can run it."""

from nas.attacks.chunks import in_chunks
from nas.attacks.gradient import projected_gradient
from nas.attacks.losses import LOSSES, Loss, cross_entropy, cross_entropy_slope, kl_divergence, misclassified
from nas.attacks.mode import evaluation_mode
from nas.attacks.result import Attack, AttackResult
from nas.attacks.settings import ATTACKS, Apgd, AttackSettings, AutoAttack, Fgsm, Noise, Pgd, Square
from nas.attacks.transfer import Transfer
from nas.attacks.view import Scaled, View, view_of

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
