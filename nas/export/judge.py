"""Scores of an exported file itself: natural accuracy, and what stands of it after attacks that need no gradient of it.

Examples made on its parent, the checkpoint, are tried on it, the protocol's own attack is made on it with its parent's
gradients, and Square searches on its own logits. The parent is scored under the same attacks (its own gradients, its
own Square), so that the two numbers can be compared.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nas.attacks import Apgd, Square
from nas.attacks.losses import misclassified
from nas.attacks.result import Attack
from nas.attacks.settings import Noise
from nas.attacks.threat import ThreatModel
from nas.attacks.transfer import Transfer
from nas.base.records import Interval
from nas.base.seeding import make_generator
from nas.data.split import Split
from nas.evaluation import EvaluationSettings, check_attacks
from nas.evaluation.accuracy import wilson_interval
from nas.evaluation.ladder import attacks_of
from nas.export.running import BorrowedView
from nas.networks.view import View, view_of
from nas.runs.checkpoint import Checkpoint, first_images, images_of


@dataclass(frozen=True)
class FileRung:
    """One attack, on the images that stood after those before it."""

    attack: dict[str, Any]
    num_images: int
    broken: int
    robust_accuracy: float
    parent_robust_accuracy: float
    """Of the parent after its own attack of this kind and all before it."""


@dataclass(frozen=True)
class FileScores:
    """Scores of a file and, under the same attacks on the same images, of its parent, the checkpoint."""

    split: str
    num_images: int
    threat: dict[str, Any]
    natural_accuracy: float
    natural_interval: Interval
    robust_accuracy: float
    """Share of images that are classified correctly after every attack of `ladder`."""
    robust_interval: Interval
    parent_natural_accuracy: float
    parent_robust_accuracy: float
    ladder: tuple[FileRung, ...]
    warnings: tuple[str, ...]


BORROWED = "borrowed"
"""Name of an attack on the file that sees gradients of its parent."""
UNSEEN = (
    "the file gives no gradient: its parent's gradients and Square may miss what fools it, so its robust accuracy is "
    "an upper bound"
)


def judged(
    file: View,
    parent: Checkpoint,
    *,
    split_name: str,
    queries: int | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> FileScores:
    """Scores of `file` on the "test" or "validation" images of its `parent`, whose protocol gives the attacks.

    Transferred are `evaluation.attack` and the gradient attacks of the final rung (Auto-PGD where it has none); the
    first of them is then made on the file, with gradients of its parent; then Square, with `queries` in place of the
    protocol's number. `report` gets the name of every attack as it begins. Chance follows from the parent's seed.
    """
    settings = parent.evaluation
    split, cut = first_images(images_of(parent, split_name), split_name, parent.data, settings.final_images)
    check_attacks(settings.ladder, settings.attack, len(parent.class_names), ("final",))
    transferred, direct = _attacks(settings, len(parent.class_names), queries)
    found = _Scoring(file, view_of(parent.network), split, parent.threat, settings.batch_size)
    plan = [
        *((found.transfer, one, "transfer") for one in transferred),
        (found.borrow, transferred[0], "borrowed"),
        *((found.search, one, "") for one in direct),
    ]
    for make, attack, kind in plan:
        name = attack.describe(parent.threat)["name"]
        report(f"{kind} {name}".strip())
        make(attack, partial(make_generator, parent.seed, "export", str(attack)))
    return found.scores(split_name, (*found.gaps(), UNSEEN, *cut, *parent.warnings))


def _attacks(
    settings: EvaluationSettings, num_classes: int, queries: int | None
) -> tuple[tuple[Attack, ...], tuple[Attack, ...]]:
    """Attacks whose examples are transferred, and those that are made on the file."""
    first, others = attacks_of(settings.ladder, settings.attack, "final", num_classes)
    named = [one for one in (first, *others) if one is not None]
    transferred = [one for one in named if not isinstance(one, Square | Noise)]
    if not any(isinstance(one, Apgd) for one in transferred):
        transferred.append(Apgd())
    direct = [one for one in named if isinstance(one, Square | Noise)]
    if not any(isinstance(one, Square) for one in direct):
        direct.append(Square())
    if queries is not None:
        direct = [one.model_copy(update={"queries": queries}) if isinstance(one, Square) else one for one in direct]
    return tuple(transferred), tuple(direct)


class _Scoring:
    """Which images stand, of the file and of its parent."""

    def __init__(self, file: View, parent: View, split: Split, threat: ThreatModel, batch_size: int) -> None:
        self.views, self.threat, self.batch_size = (file, parent), threat, batch_size
        self.x, self.y = split.inputs(), split.labels
        self.natural = tuple(self._right(view, self.x, self.y) for view in self.views)
        self.robust = [right.clone() for right in self.natural]
        self.rungs: list[FileRung] = []

    def transfer(self, attack: Attack, chance: Callable[[], torch.Generator]) -> None:
        """Examples of all images, made on the parent, tried on both."""
        file, parent = self.views
        before, generator = int(self.robust[0].sum()), chance()
        for rows in torch.split(torch.arange(len(self.x)), self.batch_size):
            x, y = self.x[rows], self.y[rows]
            result = attack.run(parent, x, y, self.threat, generator)
            self.robust[0][rows] &= self._right(file, result.adversarial, y)
            self.robust[1][rows] &= ~result.fooled
        self._add(Transfer(self.views[1], attack).describe(self.threat), before)

    def borrow(self, attack: Attack, chance: Callable[[], torch.Generator]) -> None:
        """An attack on the file that sees its parent's gradients, from the starts that its parent met in `transfer`."""
        before, view, generator, robust = int(self.robust[0].sum()), BorrowedView(*self.views), chance(), self.robust[0]
        for rows in torch.split(torch.arange(len(self.x)), self.batch_size):
            robust[rows] &= ~attack.run(view, self.x[rows], self.y[rows], self.threat, generator).fooled
        described = {"name": BORROWED, "attack": attack.describe(self.threat)}
        self._add(described, before)

    def search(self, attack: Attack, chance: Callable[[], torch.Generator]) -> None:
        """An attack without gradients, on what stands of each."""
        before = int(self.robust[0].sum())
        for view, robust in zip(self.views, self.robust, strict=True):
            generator = chance()
            for rows in torch.split(robust.nonzero().flatten(), self.batch_size):
                robust[rows] &= ~attack.run(view, self.x[rows], self.y[rows], self.threat, generator).fooled
        self._add(attack.describe(self.threat), before)

    def gaps(self) -> list[str]:
        """Reasons to doubt the comparison: what Square breaks that transferred examples did not."""
        broken = sum(rung.broken for rung in self.rungs if rung.attack["name"] not in ("transfer", BORROWED))
        if broken <= 0.02 * len(self.x):
            return []
        return [f"Square broke {broken} images that nothing of its parent did: the parent's gradients mislead"]

    def scores(self, split_name: str, warnings: tuple[str, ...]) -> FileScores:
        """All scores."""
        count, threat = len(self.x), self.threat.model_dump(mode="json")
        (natural, parent_natural), (robust, parent_robust) = (
            [int(one.sum()) for one in both] for both in (self.natural, self.robust)
        )
        return FileScores(
            split_name, count, threat, natural / count, wilson_interval(natural, count), robust / count,
            wilson_interval(robust, count), parent_natural / count, parent_robust / count, tuple(self.rungs), warnings,
        )  # fmt: skip

    def _add(self, attack: dict[str, Any], before: int) -> None:
        after, parent_after = (int(robust.sum()) for robust in self.robust)
        count = len(self.x)
        self.rungs.append(FileRung(attack, before, before - after, after / count, parent_after / count))

    def _right(self, view: View, x: Tensor, y: Tensor) -> Tensor:
        parts = zip(torch.split(x, self.batch_size), torch.split(y, self.batch_size), strict=True)
        return torch.cat([~misclassified(view.logits(part), labels) for part, labels in parts])
