"""The supernet of a run: trained once, kept in its folder, taken from there ever after."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import torch

from nas.assets.supernet.settings import SupernetTraining
from nas.assets.supernet.training import SupernetLog, start_supernet, train_supernet_epoch
from nas.assets.supernet.weights import Names, Supernet, load_supernet, save_supernet
from nas.attacks.threat import ThreatModel
from nas.base.errors import UsageError
from nas.base.files import write_atomic
from nas.base.seeding import make_generator
from nas.data.datasets import SearchData
from nas.training.stored import load_training, save_training
from search_spaces import SearchSpace

FOLDER = "supernet"
"""Of a run: where its supernet is."""
WEIGHTS, STATE, LOG = "supernet.safetensors", "state.safetensors", "log.jsonl"
Report = Callable[[SupernetLog, int], None]
"""Called with every finished epoch, and how many there are."""


def has_supernet(folder: Path) -> bool:
    """Whether the run in `folder` has a supernet that is trained to its end."""
    return (folder / FOLDER / WEIGHTS).is_file()


def kept_supernet(
    folder: Path,
    space: SearchSpace,
    data: SearchData,
    threat: ThreatModel,
    settings: SupernetTraining,
    seed: int,
    device: torch.device,
    report: Report,
) -> Supernet:
    """The trained supernet of the run in `folder`, on the CPU; frozen.

    Trained there where it is not yet, going on from the last finished epoch after a kill, or copied from the run that
    `settings.taken_from` names. Writes supernet/ in `folder`: supernet.safetensors, log.jsonl. Raises UsageError where
    the other run has none, CheckpointError where a supernet is of another space, width, data or threat or, but for one
    that is taken, was trained otherwise.
    """
    place = folder / FOLDER
    names = _names(space, data, threat, settings)
    supernet = Supernet(space, settings.width, make_generator(seed, "supernet"), data.mean, data.std)
    if settings.taken_from is not None and not has_supernet(folder):
        other = settings.taken_from / FOLDER / WEIGHTS
        if not has_supernet(settings.taken_from):
            raise UsageError(f"supernet.taken_from: {settings.taken_from} has no supernet; train one with `nas search`")
        load_supernet(other, supernet, names.built, "built")  # or it is refused
        place.mkdir(parents=True, exist_ok=True)
        write_atomic(place / WEIGHTS, other.read_bytes())
    if not has_supernet(folder):
        place.mkdir(parents=True, exist_ok=True)
        _train(place, supernet.to(device), data.to(device), threat, settings, seed, names, report)
    supernet = supernet.cpu()
    if settings.taken_from is not None:
        load_supernet(place / WEIGHTS, supernet, names.built, "built")
    else:
        load_supernet(place / WEIGHTS, supernet, names.trained, "trained")
    return supernet.requires_grad_(False)


def _train(
    place: Path, supernet: Supernet, data: SearchData, threat: ThreatModel, settings: SupernetTraining, seed: int,
    names: Names, report: Report,
) -> None:  # fmt: skip
    """Trains to the end and leaves the averaged weights in `place`."""
    generator = make_generator(seed, "supernet training", device=data.train.images.device)
    state = start_supernet(supernet, settings, generator, seed)
    log, lines = place / LOG, list[str]()
    if (place / STATE).exists():
        load_training(place / STATE, state, names.trained)
        lines = log.read_text(encoding="utf-8").splitlines()[: state.epoch]
    while state.epoch < settings.epochs:
        epoch = train_supernet_epoch(state, data.train, settings, threat)
        lines.append(json.dumps(dataclasses.asdict(epoch)))
        # Log before state: a kill in between repeats this epoch, bit for bit.
        write_atomic(log, "".join(f"{line}\n" for line in lines).encode())
        save_training(place / STATE, state, names.trained)
        report(epoch, settings.epochs)
    save_supernet(place / WEIGHTS, state.network if state.average is None else state.average, names)
    (place / STATE).unlink()


def _names(space: SearchSpace, data: SearchData, threat: ThreatModel, settings: SupernetTraining) -> Names:
    """What the supernet can build and learned from; and that together with how it was trained.

    Not its seed, which is fixed within a run.
    """
    ends = [space.spec(genotype).key for genotype in (space.smallest(), space.largest())]
    choices = [[choice.name, *map(str, choice.options)] for choice in space.choices]
    shown = settings.model_dump(mode="json", exclude={"taken_from", "track_every_epoch", "cuda_graphs"})
    what = [space.name, choices, ends, settings.width, data.fingerprint, threat.model_dump(mode="json")]
    built, trained = (hashlib.sha256(json.dumps(text).encode()).hexdigest() for text in (what, [*what, shown]))
    return Names(built, trained)
