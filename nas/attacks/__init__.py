"""Attacks behind one door: `ATTACKS` lists each by name with its settings, which can run it."""

from nas.attacks.settings import ATTACKS, Apgd, AttackSettings, AutoAttack, Fgsm, Noise, Pgd, Square

__all__ = ["ATTACKS", "Apgd", "AttackSettings", "AutoAttack", "Fgsm", "Noise", "Pgd", "Square"]
