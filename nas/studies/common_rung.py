"""Scores under the common rung: what trials that met different rungs of the attack ladder are compared by.

A search attacks members of its front with four attacks, all others with the first alone, and a sweep makes one of its
own; robust accuracy is the worst case over what was made. A difference, a rank or a mean over trials that met different
attacks is partly one of the attacks, so every verb that compares trials takes its scores from here.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.base.errors import CheckpointError, UsageError
from nas.base.records import Evaluation, Fidelity, Rung, TrialRecord, TrialState
from nas.data.facts import brief, read_facts
from nas.measures import MEASURES, Measure, scores_of

if TYPE_CHECKING:
    from torch import Tensor

    from nas.evaluation.scores import ImageScores

Attacks = tuple[str, ...]
"""Descriptions of attacks as JSON, in the order in which they were made."""


def last_iterate() -> list[Measure]:
    """Measures that come from an attack's last iterates, not from all attacks so far or from the network alone."""
    return [one for one in MEASURES.values() if one.compute is not None or (one.images and not one.interval)]


@dataclass(frozen=True)
class Common:
    """Trained trials of one or several runs, scored under the same attacks on as many images."""

    runs: tuple[tuple[TrialRecord, ...], ...]
    """Of each run; their evaluations hold the common scores. Scores that cannot be had are NaN."""
    met_more: int
    """Trials that met further attacks, which do not count."""

    @property
    def attacks(self) -> Attacks:
        """Those that count."""
        return _made(self.evaluation)

    @cached_property
    def evaluation(self) -> Evaluation:
        """One of the evaluations: its attacks, threat model and number of images are those of all."""
        return next(evaluation_of(record) for records in self.runs for record in records)

    @property
    def words(self) -> str:
        """What was left out; empty where nothing was."""
        trials = f"{self.met_more} of {sum(map(len, self.runs))} trials"
        return f"{trials} met further attacks, which do not count here" if self.met_more else ""


def at_common_rung(runs: Sequence[tuple[Path, Sequence[TrialRecord]]], needed: Collection[str] = ()) -> Common:
    """Trials trained to their end (none that reuse another's result), scored after the highest rung that all have met.

    `runs` are pairs of the folder of all trials and records. The highest rung is the longest series of attacks that
    begins the ladder of all trials or, where none does, the one attack that all last iterates come from (its scores
    image by image are read from the trials' folders). Raises UsageError where no attack is common to all, where they
    differ in threat model or images, or where a score in `needed` cannot be had.
    """
    trained = [
        (folder, [r for r in records if r.state is TrialState.COMPLETE and r.reused_from is None])
        for folder, records in runs
    ]
    pairs = [(folder, record) for folder, records in trained for record in records]
    if not pairs:
        return Common(tuple(() for _ in runs), 0)
    _check_same_protocol(pairs)
    attacks = _highest(pairs)
    met_more = sum(attacks != _made(evaluation_of(record)) for _, record in pairs)
    found = tuple(
        tuple(replace(record, evaluation=evaluation_after(record, folder, attacks)) for record in records)
        for folder, records in trained
    )
    for (folder, _), records in zip(trained, found, strict=True):
        for record in records:
            _check_has(record, folder, needed)
    return Common(found, met_more)


def evaluation_of(record: TrialRecord) -> Evaluation:
    """Evaluation of a trained trial."""
    assert record.evaluation is not None, "complete trials are evaluated"
    return record.evaluation


def first_attack(record: TrialRecord) -> Attacks:
    """The attack that every candidate of a run meets, at halting's stages of epochs as well."""
    return _made(evaluation_of(record))[:1]


def evaluation_after(record: TrialRecord, folder: Path, attacks: Attacks, repeat: int = 0) -> Evaluation:
    """Evaluation of a trained trial as if no other than `attacks`, which it has met, had been made.

    `repeat` says which of its trainings the evaluation is of (0: the search's own).

    Where its last iterates come from another attack and their scores image by image are not in `folder` (of all
    trials), the scores of `last_iterate` are NaN; balanced robust accuracy is None, as no rung of the ladder has it.
    Raises UsageError where robust accuracy itself needs that file.
    """
    evaluation = evaluation_of(record)
    made, own = _made(evaluation), _key(evaluation.attack)
    if attacks == made:
        return evaluation
    fidelity: Fidelity = "attack" if own in attacks else "screen"
    alone = replace(evaluation, warnings=(), checks=(), fidelity=fidelity, balanced_robust_accuracy=None)
    if made[: len(attacks)] != attacks:
        rung = _rung_alone(evaluation, _images(record, folder, evaluation.fidelity, repeat), record, folder)
        return _cut(alone, (rung,))
    cut = _cut(alone, evaluation.ladder[: len(attacks)])
    if own in attacks:
        return cut
    from nas.evaluation.measured import means
    from nas.evaluation.scores import finite_mean

    images = _images(record, folder, "screen", repeat)
    classic: dict[str, Any] = {
        one.name: nan if images is None else finite_mean(getattr(images, one.images))
        for one in last_iterate()
        if one.images and getattr(evaluation, one.name) is not None
    }
    scores = dict.fromkeys(evaluation.scores, nan) if images is None else means(images.measured)
    return replace(cut, attack=cut.ladder[-1].attack, scores=scores, **classic)


def standing_after(record: TrialRecord, folder: Path, attacks: Attacks, repeat: int = 0) -> "Tensor | None":
    """Which images (N,) withstand `attacks`, as `evaluation_after` counts them; bool, None where no file tells.

    Files are kept after the first rung of a ladder and after its last one.
    """
    evaluation = evaluation_of(record)
    made = _made(evaluation)
    at_own = attacks == (_key(evaluation.attack),)
    if not at_own and attacks not in (made, made[:1]):
        return None
    fidelity: Fidelity = evaluation.fidelity if attacks == made or at_own else "screen"
    images = _images(record, folder, fidelity, repeat)
    if images is None:
        return None
    return images.robust if attacks == made or not at_own else images.natural & ~images.fell


def check_same_images(runs: Mapping[str, Path]) -> None:
    """Raises UsageError, with the difference, where run folders were made on other images than the first one."""
    (first, folder), *others = runs.items()
    facts = read_facts(folder / "data.json")
    for name, other in others:
        found = read_facts(other / "data.json")
        differing = [key for key in facts if key in found and facts[key] != found[key]]
        if differing:
            parts = "; ".join(f"{key} {brief(facts[key])} against {brief(found[key])}" for key in differing)
            raise UsageError(
                f"{first} and {name} were made on different images ({parts}): their scores cannot be compared; "
                f"compare runs with the same data set and the same settings under data"
            )


def _key(attack: Mapping[str, Any]) -> str:
    return json.dumps(attack, sort_keys=True)


def _made(evaluation: Evaluation) -> Attacks:
    """Attacks in order; results from before there was a ladder have one."""
    return tuple(_key(rung.attack) for rung in evaluation.ladder) or (_key(evaluation.attack),)


def _highest(pairs: Sequence[tuple[Path, TrialRecord]]) -> Attacks:
    """The most attacks that all trials can be scored by. Raises UsageError where there are none."""
    examples: dict[tuple[Attacks, str], str] = {}
    for folder, record in pairs:
        evaluation = evaluation_of(record)
        met = _made(evaluation), _key(evaluation.attack)
        examples.setdefault(met, f"trial {record.number} in {folder.parent} met {_names(met[0])}")
    options = [{(own,), *(made[:count] for count in range(1, len(made) + 1))} for made, own in examples]
    common = set.intersection(*options)
    if not common:
        raise UsageError(
            f"no attack is common to all trials ({'; '.join(examples.values())}): compare trials that met the same "
            f"one; sweep the networks of both runs (sweep.front_of), or search with evaluation.ladder.screen=null"
        )
    return max(common, key=len)


def _names(attacks: Attacks) -> str:
    described = [json.loads(attack) for attack in attacks]
    return " + ".join(f"{one['name']}-{one['steps']}" if "steps" in one else one["name"] for one in described)


def _check_same_protocol(pairs: Sequence[tuple[Path, TrialRecord]]) -> None:
    folder, first = pairs[0]
    wanted = _protocol(evaluation_of(first))
    for other, record in pairs:
        found = _protocol(evaluation_of(record))
        if found != wanted:
            raise UsageError(
                f"trial {record.number} in {other.parent} was scored on {found}, trial {first.number} in "
                f"{folder.parent} on {wanted}: their scores cannot be compared; compare runs with the same threat, "
                f"data and evaluation.max_images"
            )


def _protocol(evaluation: Evaluation) -> str:
    threat = ", ".join(f"{key} {value:.6g}" if isinstance(value, float) else f"{key} {value}"
                       for key, value in evaluation.threat.items())  # fmt: skip
    return f"{evaluation.num_images} {evaluation.split} images ({threat})"


def _cut(evaluation: Evaluation, ladder: tuple[Rung, ...]) -> Evaluation:
    """`evaluation` with the robust accuracy after `ladder`."""
    last = ladder[-1]
    return replace(
        evaluation, ladder=ladder, robust_accuracy=last.robust_accuracy, robust_interval=last.robust_interval
    )


def _rung_alone(evaluation: Evaluation, images: "ImageScores | None", record: TrialRecord, folder: Path) -> Rung:
    """The attack that the last iterates come from, as if it had been the only one."""
    from nas.evaluation import wilson_interval

    if images is None:
        raise UsageError(
            f"trial {record.number} in {folder.parent} met several attacks, and its scores image by image "
            f"(images_{evaluation.fidelity}.safetensors), which tell them apart, are missing or damaged: it cannot be "
            f"compared with trials that met {_names((_key(evaluation.attack),))} alone; restore the file"
        )
    standing, natural = images.natural & ~images.fell, int(images.natural.sum())
    count, robust = len(standing), int(standing.sum())
    return Rung(evaluation.attack, natural, natural - robust, robust / count, wilson_interval(robust, count))


def _images(record: TrialRecord, folder: Path, fidelity: Fidelity, repeat: int = 0) -> "ImageScores | None":
    """Scores image by image after a rung; None where they are missing, damaged or of another evaluation."""
    from nas.evaluation.scores import load_scores
    from nas.runs.trial_files import images_path, trial_folder

    try:
        images = load_scores(images_path(trial_folder(folder, record.number, repeat), fidelity))
    except CheckpointError:
        return None
    return images if len(images.robust) == evaluation_of(record).num_images else None


def _check_has(record: TrialRecord, folder: Path, needed: Collection[str]) -> None:
    found = scores_of(evaluation_of(record))
    missing = [one.name for one in last_iterate() if one.name in needed and isnan(found.get(one.name, 0.0))]
    if missing:
        raise UsageError(
            f"trial {record.number} in {folder.parent} met stronger attacks than others; its {missing[0]} under the "
            f"attack that all have met needs trials/{record.number:05d}/images_screen.safetensors, which is missing or "
            f"damaged: restore that file"
        )
