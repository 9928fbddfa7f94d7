"""Every knob of scoring."""

import json
from typing import Annotated

from pydantic import Field

from nas.attacks import AttackSettings, Pgd
from nas.attacks.threat import ThreatModel
from nas.base.settings import Settings
from nas.evaluation.ladder import Ladder

ThreatName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class EvaluationSettings(Settings):
    """How a trained network is scored."""

    attack: AttackSettings = Pgd()
    """The attack behind instability and the empirical Lipschitz constant; robust accuracy adds those of `ladder`."""
    ladder: Ladder = Ladder()
    """Attacks below and above it."""
    threats: dict[ThreatName, ThreatModel] = Field({})
    """Further threats by name, such as `l2: {norm: l2, epsilon: 0.5}`: the same attacks, scored apart; nothing is
    chosen by them. A fixed step size is scaled to their epsilon. Those of recordings may act on waveforms."""
    batch_size: int = Field(256, ge=1, le=65_536)
    """Images attacked at once; with l2 or several restarts it also changes which noise each image gets."""
    max_images: int | None = Field(None, ge=10)
    """A search scores on the first so many validation images only (shuffled within classes); all when left out."""
    final_images: int | None = Field(None, ge=10)
    """A retrained network is scored on the first so many images only; all when left out. A warning says so."""
    lipschitz_steps: int = Field(0, ge=0, le=10_000)
    """Steps that ascend the ratio of eq. 6 itself, for `lipschitz_maximised`; 0: not measured."""
    lipschitz_restarts: int = Field(1, ge=0, le=100)
    """Random starts of it, beside the one from the attack's last iterate."""
    measures: tuple[str, ...] = ()
    """Measures to be computed beside those that are objectives or in a constraint."""
    seeds: int = Field(1, ge=1, le=100)
    """Trainings of every member of the final front, each from a seed of its own; the first is the search's."""

    def __hash__(self) -> int:  # pydantic's own would hash the dictionary of threats
        return hash(json.dumps(self.model_dump(mode="json"), sort_keys=True))

    def under(self, name: str, threat: ThreatModel) -> "EvaluationSettings":
        """Settings for the further threat `name`, where these are for `threat`; its own `threats` are those after it.

        A step keeps its share of epsilon. Slopes are not maximised again, measures not computed.
        """
        share = self.threats[name].epsilon / threat.epsilon
        ladder = {
            "screen": self.ladder.screen and _scaled(self.ladder.screen, share),
            "front": tuple(_scaled(attack, share) for attack in self.ladder.front),
            "final": tuple(_scaled(attack, share) for attack in self.ladder.final),
        }
        names = list(self.threats)
        return self.model_copy(update={
            "attack": _scaled(self.attack, share),
            "ladder": self.ladder.model_copy(update=ladder),
            "threats": {other: self.threats[other] for other in names[names.index(name) + 1 :]},
            "lipschitz_steps": 0,
            "measures": (),
        })  # fmt: skip


def _scaled(attack: AttackSettings, share: float) -> AttackSettings:
    """`attack` with its fixed step size, where it has one, times `share`."""
    step_size = getattr(attack, "step_size", None)
    return attack if step_size is None else attack.model_copy(update={"step_size": step_size * share})
