"""The alarm for catastrophic overfitting: a training whose own attack no longer finds what a stronger one finds.

Training with few attack steps can end in a network that withstands these few steps and nothing else (Wong 2020, section
5.4). Small networks are not spared. So every epoch but the first ones is followed by a look at held-out images: how
many of those that withstand the attack of the training fall to PGD-10. Where it is more than two thirds, the epoch is
undone and made again with twice the steps; so it is where more than a quarter fall and significantly fewer images
withstand PGD-10 than after an earlier epoch. The share alone does not tell below two thirds: one step of TRADES from
noise misses two fifths all along, and its network is none the worse (docs/robustness.md).
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from nas.attacks.losses import misclassified
from nas.attacks.settings import FORWARD
from nas.attacks.threat import ThreatModel
from nas.base.seeding import make_generator
from nas.data.domain import CropFlip
from nas.data.split import Split
from nas.networks.view import View
from nas.training.batch import Batch
from nas.training.inner import ascended
from nas.training.settings import InnerAttack
from nas.training.starts import Memory, start_of
from nas.training.stored import Resumable, restore_, snapshot

Log = TypeVar("Log")
"""Means over an epoch, of whatever is trained."""
REFERENCE = InnerAttack(steps=10, start="uniform", loss="cross_entropy")
"""PGD-10: a training with fewer steps is watched."""
OPEN = 2 / 3
"""Share of the images that withstand the attack of the training; if more fall to the reference, the gap is open."""
OPENING = 1 / 4
"""The same, where the network withstands the reference less than it did: by two standard errors of the count."""
LEAST, MOST = 32, 256
"""Held-out images that are looked at: one for every 32 training images, within these."""
WARM_UP = 4
"""First epoch behind which is looked, and not before a third of the training: a network that has learned little falls
to any stronger attack, whatever it is trained with (digits, TRADES-5: up to all of the images that
withstand the attack of the training fall in the first three of ten epochs; later, of 24 networks, at most 48 %)."""
ENOUGH = 8
"""Images that must withstand the attack of the training for a share to say anything."""


@dataclass(frozen=True)
class Gap:
    """What the attack of a training misses."""

    withstood: int
    """Held-out images that are classified correctly under the attack of the training."""
    fell: int
    """Those of them that PGD-10 fools."""
    images: int = 0
    """All that were looked at; 0 where they met one network now and another then, so that counts do not compare."""

    @property
    def share(self) -> float:
        """Part of the images that withstood; 0 where none did."""
        return self.fell / self.withstood if self.withstood else 0.0

    @property
    def remaining(self) -> int:
        """Images that withstand both."""
        return self.withstood - self.fell

    def is_open(self, most: int = 0) -> bool:
        """Whether the training is overfitted to its own attack, where `most` of the images remained at best so far."""
        sinks = bool(self.images) and most - self.remaining > 2 * math.sqrt(most * (1 - most / self.images))
        return self.withstood >= ENOUGH and (self.share > OPEN or (sinks and self.share > OPENING))


def measure_gap(view: View, images: Split, attack: InnerAttack, threat: ThreatModel, memory: Memory, epoch: int) -> Gap:
    """Gap between `attack`, with what its start keeps in `memory`, and PGD-10 on `images`.

    Held-out images have no carried perturbation: a uniform start takes its place. Chance depends on `epoch` alone.
    """
    generator = make_generator(epoch, "alarm", device=images.images.device)
    attack = attack.model_copy(update={"start": "uniform"}) if attack.start == "carried" else attack

    def withstanding(images: Split, attack: InnerAttack) -> Split:
        x, labels = images.inputs(), images.labels
        batch = Batch(x, labels, torch.arange(len(x), device=x.device), CropFlip(0, None, None))
        x_adv = ascended(view, x, labels, start_of(memory, attack, threat, batch, generator), threat, attack)
        return images[(~misclassified(view.logits(x_adv), labels)).nonzero().flatten()]

    withstood = withstanding(images, attack)
    remaining = withstanding(withstood, REFERENCE) if len(withstood) else withstood
    return Gap(len(withstood), len(withstood) - len(remaining), len(images))


def held_out(data: Split, trained: int) -> Split:
    """Images of `data`, which are not trained on, that a training on `trained` images is watched with."""
    return data[: min(max(LEAST, trained // 32), MOST)]


def looks_behind(epoch: int, epochs: int, turns_at: float = 0.0) -> bool:
    """Whether the alarm looks behind the `epoch`-th of `epochs` epochs.

    From the one in which the network begins to compute something else (`turns_at`, a share of the training) it is new,
    and falls to any stronger attack for as long as at the start.
    """
    turn = turn_of(epochs, turns_at)
    return epoch >= max(WARM_UP, epochs / 3) and not (turn and turn <= epoch < turn + WARM_UP)


def turn_of(epochs: int, turns_at: float) -> int:
    """Epoch, counted from 1, in which a training of so many is at its share `turns_at`; 0 where that is 0."""
    return math.ceil(turns_at * epochs - 1e-9)


def alarm_passes(attack: InnerAttack | None, epochs: range, total: int, images: int) -> float:
    """Passes, forward and backward, that the alarm makes at most on `images` images behind `epochs`, of `total`."""
    if attack is None or attack.steps >= REFERENCE.steps:
        return 0
    looks = sum(looks_behind(epoch, total) for epoch in epochs)
    return looks * images * (attack.steps + REFERENCE.steps + 2 * FORWARD)


def attack_of(attack: InnerAttack, doublings: int) -> InnerAttack:
    """`attack` with its steps doubled so often, at most to those of the reference."""
    return attack.model_copy(update={"steps": min(attack.steps << doublings, REFERENCE.steps)}) if doublings else attack


def watch(
    state: Resumable,
    train: Callable[[], Log],
    attack: Callable[[], InnerAttack | None],
    gap: Callable[[InnerAttack, Split], Gap],
    images: Split | None,
    epochs: int,
    turns_at: float = 0.0,
) -> tuple[Log, float | None, tuple[float, ...]]:
    """Calls `train`, which moves `state` on by an epoch, until the `gap` behind it on held-out `images` is closed.

    Returns the log of the last call, the share of the gap (None where nothing is watched: no images, no attack, as many
    steps as the reference has, or too early in `epochs` epochs), and the shares of the epochs that were undone. Each of
    these is made again from the state before it with twice the steps. At the share `turns_at` of the training the
    network becomes another one: what withstood before it says nothing of it.
    """
    undone: list[float] = []
    if state.epoch + 1 == turn_of(epochs, turns_at):
        state.most_withstanding = 0
    if not looks_behind(state.epoch + 1, epochs, turns_at):
        images = None
    while images is not None and (present := attack()) is not None and present.steps < REFERENCE.steps:
        before = snapshot(state)
        log = train()
        found = gap(present, images)
        if not found.is_open(state.most_withstanding):
            state.most_withstanding = max(state.most_withstanding, found.remaining)
            return log, found.share, tuple(undone)
        undone.append(found.share)
        restore_(state, before)
        state.doublings += 1
        state.refresh_()
    return train(), None, tuple(undone)


def alarm_warnings(log: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """What the epochs of a `log` say of the alarm: one warning where it rang."""
    rang = [line for line in log if line.get("undone")]
    if not rang:
        return ()
    first, worst = rang[0], max(share for line in rang for share in line["undone"])
    return (
        f"the training overfitted its own attack in epoch {first['epoch']}: {worst:.0%} of the held-out images that "
        f"withstood it fell to PGD-10; undone, and its steps raised to {rang[-1]['attack_steps']}",
    )
