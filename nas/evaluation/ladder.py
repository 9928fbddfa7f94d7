"""The attack ladder: how hard a network is attacked before its robust accuracy is believed.

Every candidate meets a cheap attack. Those that matter (within every limit, and not dominated even by this
optimistic number) meet the full one, those that still belong to the front meet stronger ones of other kinds, and a
retrained network the strongest. Robust accuracy is the worst case over all of them, image by image.
"""

from collections.abc import Sequence

from pydantic import Field

from nas.attacks import Apgd, AttackSettings, AutoAttack, Pgd, Square
from nas.base.errors import ConfigError
from nas.base.packages import check_installed
from nas.base.records import Fidelity
from nas.base.settings import Settings


class Ladder(Settings):
    """Attacks below and above `evaluation.attack`. Each is made on the images that still stand."""

    screen: AttackSettings | None = Pgd(steps=5)
    """Of every candidate of a search; `evaluation.attack` for all of them where it is null."""
    front: tuple[AttackSettings, ...] = (Apgd(loss="dlr", steps=20), Square(queries=50))
    """Of candidates that belong to the front, after `evaluation.attack`."""
    final: tuple[AttackSettings, ...] = (
        Apgd(loss="cross_entropy"), Apgd(loss="targeted_dlr"), Square(queries=5000),
    )  # fmt: skip
    """Of a retrained network, after `evaluation.attack`: AutoAttack's own without FAB when left out."""
    trust_images: int = Field(64, ge=0)
    """Images on which the front's and the retrained networks' numbers are questioned (nas/evaluation/trust)."""

    @property
    def search_rungs(self) -> tuple[Fidelity, ...]:
        """Rungs that a search climbs, from the bottom."""
        screen: tuple[Fidelity, ...] = ("screen",) if self.screen is not None else ()
        front: tuple[Fidelity, ...] = ("front",) if self.front or self.trust_images else ()
        return (*screen, "attack", *front)


RUNGS: tuple[Fidelity, ...] = ("screen", "attack", "front", "final")
"""Weakest first."""


def attacks_of(
    ladder: Ladder, attack: AttackSettings, fidelity: Fidelity, num_classes: int
) -> tuple[AttackSettings | None, tuple[AttackSettings, ...]]:
    """The attack that x̂ comes from (None: that of the rung below), and those made after it.

    DLR needs three classes and targeted DLR four (Croce & Hein 2020); below that their margin loss takes the place.
    Raises ConfigError for AutoAttack with fewer than four.
    """
    own = {"screen": ladder.screen or attack, "attack": attack, "front": None, "final": attack}[fidelity]
    others = {"front": ladder.front, "final": ladder.final}.get(fidelity, ())
    first = None if own is None else _for_classes(own, num_classes)
    return first, tuple(_for_classes(other, num_classes) for other in others)


def check_attacks(ladder: Ladder, attack: AttackSettings, num_classes: int, rungs: Sequence[Fidelity] = RUNGS) -> None:
    """Raises ConfigError where an attack of `rungs` cannot be made with so many classes.

    Raises UsageError where one needs a package that cannot be imported.
    """
    for fidelity in rungs:
        first, others = attacks_of(ladder, attack, fidelity, num_classes)
        for needed in (first, *others):
            if needed is not None:
                check_installed(needed.name)


def _for_classes(attack: AttackSettings, num_classes: int) -> AttackSettings:
    if isinstance(attack, AutoAttack) and num_classes < 4:
        raise ConfigError(
            f"autoattack compares four classes, the data set has {num_classes}: use apgd with loss margin, and square"
        )
    needed = {"dlr": 3, "targeted_dlr": 4}.get(getattr(attack, "loss", ""), 0)
    return attack.model_copy(update={"loss": "margin"}) if num_classes < needed else attack
