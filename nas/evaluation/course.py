"""How far the attacks of a scoring have come: what is left to do, and results on disk from which a killed one goes on.

Work is counted in passes: one image, forward and backward through the network.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from nas.attacks.result import Attack
from nas.base.files import write_atomic
from nas.base.records import Fidelity, Rung, from_json, to_json
from nas.evaluation.float_twin import RUNGS, twin_passes
from nas.evaluation.ladder import attacks_of
from nas.evaluation.scores import ImageScores, from_tensors
from nas.evaluation.settings import EvaluationSettings

CHECK_PASSES = 10
"""Of the deep checks for each of their images and each gradient step of their attacks, about (nas/evaluation/trust)."""


@dataclass(frozen=True)
class AttackReport:
    """An attack of a scoring that begins, or has ended."""

    attack: Mapping[str, Any]
    """Description of the attack."""
    rung: Rung | None
    """What it gave; None where it begins."""
    seconds_left: float | None
    """Of the whole scoring, about, from the speed of the attacks so far; None before the first has ended."""


Report = Callable[[AttackReport], None]


def ignore(report: AttackReport) -> None:
    """Receives reports that nobody wants."""


@dataclass(frozen=True)
class Made:
    """A scoring after some of its attacks: all that the others depend on."""

    images: ImageScores
    rungs: tuple[Rung, ...]
    excess: float
    outside: float
    random_state: Tensor
    """Of the generator."""


@dataclass
class Course:
    """The attacks of one scoring: reports each, and keeps what it gave in a file where there is a `path`."""

    report: Report = ignore
    path: Path | None = None
    """File of the results so far; the caller removes it."""
    name: str = ""
    """Names the scoring; results of another one are not gone on with."""
    passes: float = field(default=0.0, init=False)
    """Made by this process."""
    seconds: float = field(default=0.0, init=False)
    """That they took."""
    _began: float = field(default=0.0, init=False)

    def under(self, threat: str) -> "Course":
        """Course of the same network's scoring under the further `threat`, which its reports name; keeps no file."""
        return Course(lambda found: self.report(replace(found, attack={**found.attack, "threat": threat})))

    def begin(self, attack: Mapping[str, Any], passes_left: float) -> None:
        """Reports that `attack` begins, with `passes_left` to the end of the scoring."""
        self._began = perf_counter()
        self.report(AttackReport(attack, None, self._seconds(passes_left)))

    def end(self, made: Made, passes: float, passes_left: float) -> None:
        """Keeps and reports what an attack of so many `passes` has `made`, with `passes_left` to the end."""
        self.seconds += perf_counter() - self._began
        self.passes += passes
        if self.path is not None:
            tensors = made.images.tensors()
            facts = {"name": self.name, "rungs": [to_json(rung) for rung in made.rungs],
                     "excess": made.excess, "outside": made.outside}  # fmt: skip
            tensors["random_state"] = made.random_state
            write_atomic(self.path, safetensors.torch.save(tensors, {"facts": json.dumps(facts)}))
        self.report(AttackReport(made.rungs[-1].attack, made.rungs[-1], self._seconds(passes_left)))

    def resumed(self) -> Made | None:
        """What this scoring has made so far; None where nothing (whole) of it is in the file."""
        if self.path is None or not self.path.is_file():
            return None
        try:
            with safetensors.safe_open(self.path, "pt") as file:
                facts = json.loads(file.metadata()["facts"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dictionary
            if facts["name"] != self.name:
                return None
            state = tensors.pop("random_state")
            rungs = tuple(from_json(Rung, rung) for rung in facts["rungs"])
            return Made(from_tensors(tensors), rungs, facts["excess"], facts["outside"], state)
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError):
            return None  # attacked again

    def _seconds(self, passes: float) -> float | None:
        return passes * self.seconds / self.passes if self.passes else None


def first_passes(attack: Attack, settings: EvaluationSettings, num_classes: int) -> float:
    """Passes for one image of a rung's first `attack`, where instability and slopes are measured."""
    slopes = settings.lipschitz_steps * (1 + settings.lipschitz_restarts)
    return attack.passes(num_classes) + 1 + slopes


def scoring_passes(
    attacks: Sequence[Attack],
    settings: EvaluationSettings,
    num_classes: int,
    count: int,
    standing: int,
    *,
    has_first: bool,
    check_steps: int,
) -> float:
    """Passes of `attacks` in turn, and of deep checks with `check_steps` (0: none); at most, as images fall on the way.

    Attacks meet `standing` images; where the rung's first one is among them (`has_first`), that one meets all `count`.
    """
    passes = float(CHECK_PASSES * check_steps * min(settings.ladder.trust_images, count))
    for index, attack in enumerate(attacks):
        if has_first and index == 0:
            passes += count * first_passes(attack, settings, num_classes)
        else:
            passes += standing * attack.passes(num_classes)
    return passes


def check_steps(fidelity: Fidelity) -> int:
    """Gradient steps of the attacks that the deep checks of rung `fidelity` make; 0 where it has no such checks."""
    return {"front": 10, "final": 20}.get(fidelity, 0)


def rung_passes(
    fidelity: Fidelity,
    settings: EvaluationSettings,
    num_classes: int,
    count: int,
    standing: int,
    *,
    is_quantized: bool = False,
) -> float:
    """Passes of a scoring of `count` images on one rung, of which `standing` meet the attacks after the first.

    Those under further threats are among them, and those that only a quantized network meets.
    """
    first, others = attacks_of(settings.ladder, settings.attack, fidelity, num_classes)
    attacks = others if first is None else (first, *others)
    own = scoring_passes(
        attacks, settings, num_classes, count, standing, has_first=first is not None, check_steps=check_steps(fidelity)
    )
    if is_quantized:  # the first attack is made on the float twin, too (nas/measures/float_twin.py)
        own += count * first.passes(num_classes) if first is not None else 0.0
        own += standing * twin_passes(num_classes) if fidelity in RUNGS else 0.0
    return own + further_passes(fidelity, settings, num_classes, count, standing, is_quantized=is_quantized)


def further_passes(
    fidelity: Fidelity,
    settings: EvaluationSettings,
    num_classes: int,
    count: int,
    standing: int,
    *,
    is_quantized: bool = False,
) -> float:
    """Those passes of a rung that all its further threats take: each begins anew, as it has no rung below."""
    first, others = attacks_of(settings.ladder, settings.attack, fidelity, num_classes)
    alone = settings.model_copy(update={"lipschitz_steps": 0})
    own = scoring_passes(
        (first or settings.attack, *others), alone, num_classes, count, standing, has_first=True,
        check_steps=check_steps(fidelity),
    )  # fmt: skip
    twin = standing * twin_passes(num_classes) if is_quantized and fidelity in RUNGS else 0.0
    return len(settings.threats) * (own + twin)
