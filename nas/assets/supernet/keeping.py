"""The supernet of a run: trained once, kept in its folder, taken from there ever after."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from nas.assets.asset import has_asset
from nas.assets.supernet.settings import SupernetTraining
from nas.assets.supernet.training import SupernetLog, start_supernet, train_supernet_epoch
from nas.assets.supernet.weights import Names, Supernet, load_supernet, save_supernet
from nas.attacks.threat import ThreatModel
from nas.base.seeding import make_generator
from nas.data.datasets import SearchData
from nas.training.alarm import held_out
from nas.training.resumable import EpochFile, Saved, resume_, train_until
from nas.training.settings import naming_facts
from search_spaces import SearchSpace

FOLDER, WEIGHTS = "supernet", "supernet.safetensors"
"""Of a run: where its supernet is."""
STATE, LOG = "state.safetensors", "log.jsonl"
Report = Callable[[SupernetLog, int], None]
"""Called with every finished epoch, and how many there are."""


def has_supernet(folder: Path) -> bool:
    """Whether the run in `folder` has a supernet that is trained to its end."""
    return has_asset(folder, FOLDER, WEIGHTS)


@dataclass(frozen=True)
class SupernetAsset:
    """The supernet of a run: an `nas.assets.asset.Asset`."""

    space: SearchSpace
    data: SearchData
    threat: ThreatModel
    settings: SupernetTraining
    seed: int
    device: torch.device
    """Where it is trained."""
    report: Report
    kind = FOLDER
    file = WEIGHTS

    def load(self, path: Path, *, taken: bool) -> Supernet:
        """The supernet in `path`, frozen. Raises CheckpointError where it is of another space, width, data or threat.

        And where it was trained otherwise, but for one that is `taken`.
        """
        which: Literal["built", "trained"] = "built" if taken else "trained"
        supernet = self._untrained()
        load_supernet(path, supernet, getattr(self._names, which), which)
        return supernet.requires_grad_(False)

    def make_(self, place: Path) -> None:
        """Trains to the end, from the last finished epoch on, and leaves the averaged weights in `place`."""
        settings, data = self.settings, self.data.train.to(self.device)
        watched = held_out(self.data.validation, len(data)).to(self.device)
        generator = make_generator(self.seed, "supernet training", device=self.device)
        state = start_supernet(self._untrained().to(self.device), settings, generator, self.seed)
        log, saved = EpochFile(place / LOG), Saved(place / STATE, self._names.trained)

        def train() -> dict[str, Any]:
            return dataclasses.asdict(train_supernet_epoch(state, data, settings, self.threat, watched))

        resume_(state, saved, log)
        train_until(
            state, settings.epochs, train, log, saved,
            done=lambda facts: self.report(SupernetLog(**facts), settings.epochs),
        )  # fmt: skip
        save_supernet(place / WEIGHTS, state.network if state.average is None else state.average, self._names)
        saved.path.unlink()

    def _untrained(self) -> Supernet:
        generator = make_generator(self.seed, "supernet")
        return Supernet(self.space, self.settings.width, generator, self.data.mean, self.data.std)

    @property
    def _names(self) -> Names:
        return _names(self.space, self.data, self.threat, self.settings)


def _names(space: SearchSpace, data: SearchData, threat: ThreatModel, settings: SupernetTraining) -> Names:
    """What the supernet can build and learned from; and that together with how it was trained.

    Not its seed, which is fixed within a run.
    """
    ends = [space.spec(genotype).key for genotype in (space.smallest(), space.largest())]
    choices = [[choice.name, *map(str, choice.options)] for choice in space.choices]
    left_out = ("taken_from", "track_every_epoch", "cuda_graphs")
    shown = {name: value for name, value in naming_facts(settings).items() if name not in left_out}
    what = [space.name, choices, ends, settings.width, data.fingerprint, threat.model_dump(mode="json")]
    built, trained = (hashlib.sha256(json.dumps(text).encode()).hexdigest() for text in (what, [*what, shown]))
    return Names(built, trained)
