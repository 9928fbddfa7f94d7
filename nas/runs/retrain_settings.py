"""Every knob of the long training of a picked network. Without torch: a config is read without it."""

from pathlib import Path

from pydantic import Field, model_validator

from nas.attacks import AttackSettings, Pgd
from nas.training import Training


class Retraining(Training):
    """Long training of a picked network; what is not set is taken from `training`."""

    seed: int = Field(0, ge=0)
    """Weights, batches and noise differ by it (`--set retrain.seed=1 --name again`): one training of a network is no
    measure of the network. 0: drawn from `search.seed` alone."""
    validate_every: int = Field(5, ge=1)
    """Epochs between validations; the best averaged weights by validated robust accuracy are kept."""
    validation_attack: AttackSettings = Pgd(steps=10)
    """Attack of these validations."""
    teacher: Path | None = None
    """Folder of a retrained network, RUN/retrained/NUMBER, whose predictions are mixed with the labels, or take their
    place: a larger, robust one (nas/training/methods.py). Without `consistency` and `label_smoothing`."""
    teacher_weight: float = Field(1.0, gt=0, le=1)
    """Share of the teacher's predictions in the targets; the labels have the rest. 1: RSLAD (Zi 2021). What it brings:
    docs/cifar10.md."""

    @model_validator(mode="after")
    def _learns_from_one(self) -> "Retraining":
        for name in ("consistency", "label_smoothing"):
            if self.teacher is not None and getattr(self, name):
                raise ValueError(f"retrain.{name}: a teacher takes the place of the labels; set retrain.{name} to 0")
        return self
