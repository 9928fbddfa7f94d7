"""Every knob of scoring."""

from pydantic import Field

from nas.attacks import AttackSettings, Pgd
from nas.base.settings import Settings
from nas.evaluation.ladder import Ladder


class EvaluationSettings(Settings):
    """How a trained network is scored."""

    attack: AttackSettings = Pgd()
    """The attack behind instability and the empirical Lipschitz constant; robust accuracy adds those of `ladder`."""
    ladder: Ladder = Ladder()
    """Attacks below and above it."""
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
