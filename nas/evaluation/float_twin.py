"""What a quantized network is attacked with besides the ladder: the scale of its logits, and its float twin.

A network of rounded values has jumps, and its straight-through gradient is a guess, so gradient masking is the rule.
"""

from collections.abc import Sequence

from nas.attacks import AttackSettings, Pgd
from nas.attacks.rescaled import Rescaled
from nas.attacks.result import Attack
from nas.attacks.transfer import Transfer
from nas.base.records import Fidelity
from nas.networks.view import View

ATTACK = Pgd()
"""Made with rescaled logits and on the twin: PGD-20, which goes on after the twin is fooled."""
RUNGS: tuple[Fidelity, ...] = ("front", "final")
EXTRA = 2
"""Attacks that are made besides."""
TWIN = "float twin"
"""Source of the transferred images, in descriptions."""
WITHOUT_GRADIENTS = ("square", "noise", "transfer")
"""Attacks, by name, that no gradient of the attacked network can mislead."""


def with_twin(others: Sequence[AttackSettings], twin: View) -> tuple[Attack, ...]:
    """The attacks `others` of a rung, with those that a quantized network with the float `twin` meets besides.

    They come behind the last attack that uses gradients, so what they break is what that kind of attack missed.
    """
    last = 1 + max((index for index, one in enumerate(others) if one.name not in WITHOUT_GRADIENTS), default=-1)
    return (*others[:last], Rescaled(ATTACK), Transfer(twin, ATTACK, TWIN), *others[last:])


def twin_passes(num_classes: int) -> float:
    """Passes of these attacks for each image that stands."""
    return Rescaled(ATTACK).passes(num_classes) + ATTACK.passes(num_classes)
