"""The protocol that turns a trained network into an Evaluation.

Letters: N images, K classes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from nas.attacks.result import Attack, AttackResult
from nas.attacks.threat import ThreatModel
from nas.attacks.transfer import Transfer
from nas.base.records import Check, Evaluation, Fidelity, Rung, ThreatScore
from nas.base.seeding import make_generator
from nas.data.split import Split
from nas.evaluation.accuracy import wilson_interval
from nas.evaluation.acting import Target, Targets, check_origin
from nas.evaluation.certified import certified_lipschitz
from nas.evaluation.classes import balanced_accuracy, chance_of
from nas.evaluation.course import Course, Made, check_steps, further_passes, scoring_passes
from nas.evaluation.float_twin import RUNGS, with_twin
from nas.evaluation.instability import instability
from nas.evaluation.ladder import attacks_of
from nas.evaluation.lipschitz import slopes
from nas.evaluation.measured import Measuring, gaps, means
from nas.evaluation.scores import ImageScores, finite_mean, joined
from nas.evaluation.settings import EvaluationSettings
from nas.evaluation.steepest import steepest_slopes
from nas.evaluation.trust import ATTACK, DEEP, NETWORK, QUANTIZED, Probe
from nas.evaluation.trust.probe import exceeds
from nas.measures import Attacked
from nas.measures.closed_form import lipschitz_bound_log10
from nas.networks.mode import evaluation_mode
from nas.networks.treatments.quantize import float_twin
from nas.networks.view import view_of
from search_spaces import NetworkSpec
from search_spaces.network import Network


@dataclass(frozen=True)
class Scored:
    """What scoring a network gave: means, and the images they are the means of."""

    evaluation: Evaluation
    images: ImageScores


def evaluate(
    network: nn.Module,
    split: Split,
    threat: ThreatModel,
    settings: EvaluationSettings,
    generator: torch.Generator,
    *,
    split_name: str,
    fidelity: Fidelity = "attack",
    course: Course | None = None,
) -> Evaluation:
    """Scores of `network` after one rung of the attack ladder; see `score`."""
    return score(
        network, split, threat, settings, generator, split_name=split_name, fidelity=fidelity, course=course
    ).evaluation


def score(
    network: nn.Module,
    split: Split,
    threat: ThreatModel,
    settings: EvaluationSettings,
    generator: torch.Generator,
    *,
    split_name: str,
    fidelity: Fidelity = "attack",
    before: Scored | None = None,
    transfers: tuple[Transfer, ...] = (),
    course: Course | None = None,
) -> Scored:
    """Scores of `network` in eval mode and float32 on the images of `split`, after the rung `fidelity`.

    `before` is what the same network reached on the same images on a lower rung: its attacks count, too. `transfers`
    are made last. On the rungs `front` and `final`, a quantized network also meets PGD-20 with rescaled logits, and the
    images that PGD-20 makes on its float twin (nas/evaluation/float_twin.py). All chance comes from `generator`, on the
    device of the images. The network comes back in the mode it was handed over in. `course` gets a report of every
    attack; those whose results it has kept are not made again, and what comes after is the same bit for bit.

    The further threats of `settings` are scored after all that, each from its first attack on and with chance derived
    from its name, so no other score depends on them; their results are in `by_threat`, and those of the first that acts
    on a manifold among the measures, too. Raises UsageError where one has nothing to act on.
    """
    training = tuple(name or "the network" for name, module in network.named_modules() if module.training)
    with evaluation_mode(network), _full_precision(split.images.device):
        view, course, by_threat = view_of(network), course or Course(), {}
        on_manifold: dict[str, Tensor] = {}
        twin = float_twin(network)
        for name, other in settings.threats.items():
            if other.acts_on != "inputs":
                check_origin(split, other.acts_on, f"evaluation.threats.{name}")  # before any attack
        targets = Targets(Target(network, view, split, None if twin is None else view_of(twin)))
        scoring = _Scoring(targets.under(threat), threat, settings, generator, course)
        found = scoring.run(fidelity, before, transfers, split_name, training)
        for name, other in settings.threats.items():
            own = make_generator(generator.initial_seed(), "threat", name, device=generator.device)
            alone, reported = settings.under(name, threat), course.under(f"{name}: {other}")
            scoring = _Scoring(targets.under(other), other, alone, own, reported)
            scored = scoring.run(fidelity, None, (), split_name, training)
            by_threat[name] = _threat_score(scored)
            if other.acts_on == "manifold" and not on_manifold:
                on_manifold["on_manifold_accuracy"] = scored.images.robust.double()
                on_manifold["reconstruction_accuracy"] = scored.images.natural.double()
    images = replace(found.images, measured={**found.images.measured, **on_manifold})
    evaluation = replace(found.evaluation, by_threat=by_threat, scores=means(images.measured))
    return Scored(evaluation, images)


class _Scoring:
    """One pass over the rung's attacks, with what the checks want to know of them."""

    def __init__(
        self,
        target: Target,
        threat: ThreatModel,
        settings: EvaluationSettings,
        generator: torch.Generator,
        course: Course,
    ) -> None:
        self.network, self.view, self.split, self.threat = target.network, target.view, target.split, threat
        self.twin = target.twin
        self.settings, self.generator, self.course = settings, generator, course
        self.seed = generator.initial_seed()  # of computed measures, which leave the generator as it is
        self.rungs: list[Rung] = []
        self.excess, self.outside = -threat.epsilon, -1.0  # nothing moved yet
        self.later = 0.0  # passes of the scorings under further threats

    def run(
        self,
        fidelity: Fidelity,
        before: Scored | None,
        transfers: tuple[Transfer, ...],
        split_name: str,
        training: tuple[str, ...],
    ) -> Scored:
        x, y = _pixels(self.split[: max(self.settings.ladder.trust_images, 8)])
        with torch.no_grad():
            logits = self.network(x)
        first, ladder = attacks_of(self.settings.ladder, self.settings.attack, fidelity, logits.shape[1])
        others: tuple[Attack, ...] = ladder
        if self.twin is not None and fidelity in RUNGS:
            others = with_twin(ladder, self.twin)
        if first is None and before is None:
            first = self.settings.attack
        if before is not None:
            self.rungs += before.evaluation.ladder
        steps, count = check_steps(fidelity), len(self.split)
        self.later = further_passes(
            fidelity, self.settings, logits.shape[1], count, count, is_quantized=self.twin is not None
        )
        images = self._made(first, (*others, *transfers), before.images if before else None, logits.shape[1], steps)
        primary = first or self.settings.attack
        probe = Probe(
            self.network, self.view, training, x, y, logits.float(), images, (primary, *others, *transfers),
            self.threat, tuple(self.rungs), self.excess, self.outside, self.generator,
            steps=steps or 10, domain=self.split.domain,
        )  # fmt: skip
        is_deep = steps > 0 and self.settings.ladder.trust_images > 0
        deep = {**DEEP, **(QUANTIZED if self.twin is not None else {})}
        asked = {**(NETWORK if before is None else {}), **ATTACK, **(deep if is_deep else {})}
        checks = _merged(before, [ask(probe) for ask in asked.values()])
        return Scored(self._evaluation(images, primary, fidelity, checks, split_name, before), images)

    def _made(
        self, first: Attack | None, others: Sequence[Attack], images: ImageScores | None, num_classes: int, steps: int
    ) -> ImageScores:
        """Scores of all images after every attack, those that the course has kept left out."""
        attacks, known = [*filter(None, (first,)), *others], len(self.rungs)
        if (kept := self.course.resumed()) is not None:
            images, self.rungs, self.excess, self.outside = kept.images, [*kept.rungs], kept.excess, kept.outside
            self.generator.set_state(kept.random_state)
        count = len(self.split)
        for index in range(len(self.rungs) - known, len(attacks)):
            attack, is_first = attacks[index], index == 0 and first is not None
            standing = int(images.robust.sum()) if images is not None else count
            work = partial(
                scoring_passes, settings=self.settings, num_classes=num_classes, count=count, check_steps=steps
            )
            before = work(attacks[index:], standing=standing, has_first=is_first)
            self.course.begin(attack.describe(self.threat), before + self.later)
            if is_first:
                images = self._attacked(attack, images)
            else:
                assert images is not None, "either the rung has an attack of its own or there is a rung below"
                images = self._climbed(attack, images)
            passes = before - work(attacks[index + 1 :], standing=standing, has_first=False)
            left = work(attacks[index + 1 :], standing=int(images.robust.sum()), has_first=False)
            made = Made(images, tuple(self.rungs), self.excess, self.outside, self.generator.get_state())
            self.course.end(made, passes, left + self.later)
        assert images is not None, "either the rung has an attack of its own or there is a rung below"
        return images

    def _attacked(self, attack: Attack, before: ImageScores | None) -> ImageScores:
        """Scores of all images under `attack`, whose last iterates give instability and slopes."""
        measuring = Measuring(self.settings.measures, self.seed)
        parts = [self._batch(attack, batch, measuring) for batch in self.split.batches(self.settings.batch_size)]
        found = joined(parts, measuring.of_all())
        standing = before.robust if before is not None else found.natural
        scores = found if before is None else found.after(before)
        self._add_rung(attack, standing, scores.robust)
        return scores

    def _climbed(self, attack: Attack, images: ImageScores) -> ImageScores:
        """`images` after `attack` on those that still stand."""
        robust, stuck = images.robust.clone(), images.stuck.clone()
        standing = robust.nonzero().flatten()
        for part in torch.split(standing, self.settings.batch_size):
            if len(part):
                x, y = _pixels(self.split[part.to(self.split.labels.device)])
                result = self._run(attack, x, y)
                robust[part] = ~result.fooled.cpu()
                stuck[part] |= result.stuck.cpu()
        self._add_rung(attack, images.robust, robust)
        return replace(images, robust=robust, stuck=stuck)

    def _run(self, attack: Attack, x: Tensor, y: Tensor) -> AttackResult:
        result = attack.run(self.view, x, y, self.threat, self.generator)
        x_adv = result.adversarial
        excess, outside = self.threat.excess(x_adv, x), self.threat.outside(x_adv)
        self.excess, self.outside = max(self.excess, float(excess.max())), max(self.outside, float(outside.max()))
        return result

    def _add_rung(self, attack: Attack, before: Tensor, after: Tensor) -> None:
        count, standing = len(after), int(after.sum())
        attacked = int(before.sum())
        self.rungs.append(
            Rung(attack.describe(self.threat), attacked, attacked - standing, standing / count,
                 wilson_interval(standing, count))
        )  # fmt: skip

    def _batch(self, attack: Attack, batch: Split, measuring: Measuring) -> ImageScores:
        x, y = _pixels(batch)
        result = self._run(attack, x, y)
        x_adv = result.adversarial
        with torch.no_grad():
            logits, logits_adv = self.network(x), self.network(x_adv)
        finite = logits.isfinite().all(1) & logits_adv.isfinite().all(1)
        natural = (logits.argmax(1) == y) & logits.isfinite().all(1)
        kl = instability(logits, logits_adv)
        distance = (x_adv - x).abs().amax(dim=(1, 2, 3))
        steps, restarts = self.settings.lipschitz_steps, self.settings.lipschitz_restarts
        seen = Attacked(
            self.network, self.view, x, y, logits, x_adv, logits_adv, self.threat, self.settings, self.generator, attack
        )
        return ImageScores(
            natural=natural,
            robust=natural & ~result.fooled & finite,
            fell=result.fooled | ~finite,
            stuck=result.stuck,
            finite=finite,
            instability=kl,
            instability_scaled=torch.where(distance > 0, kl / distance.clamp_min(1e-12), 0.0),
            lipschitz=slopes(logits, logits_adv, x, x_adv, 2, 2),
            lipschitz_scaled=slopes(logits, logits_adv, x, x_adv, 1, torch.inf),
            steepest=steepest_slopes(self.view, x, x_adv, self.threat, steps, restarts, self.generator)
            if steps
            else torch.zeros_like(kl),
            measured=measuring.of_batch(seen),
        )

    def _evaluation(
        self,
        images: ImageScores,
        attack: Attack,
        fidelity: Fidelity,
        checks: tuple[Check, ...],
        split_name: str,
        before: Scored | None,
    ) -> Evaluation:
        count, labels = len(images.natural), self.split.labels.cpu()
        natural, robust = int(images.natural.sum()), int(images.robust.sum())
        doubts = [check.words for check in checks if not check.passed]
        spec = getattr(self.network, "spec", None)
        return Evaluation(
            split=split_name,
            num_images=count,
            natural_accuracy=natural / count,
            natural_interval=wilson_interval(natural, count),
            robust_accuracy=robust / count,
            robust_interval=wilson_interval(robust, count),
            instability=finite_mean(images.instability),
            instability_scaled=finite_mean(images.instability_scaled),
            lipschitz_bound_log10=lipschitz_bound_log10(spec) if isinstance(spec, NetworkSpec) else None,
            lipschitz_certified_log10=before.evaluation.lipschitz_certified_log10
            if before
            else _certified(self.network),
            lipschitz_maximised=finite_mean(images.steepest) if self.settings.lipschitz_steps else None,
            lipschitz_empirical=finite_mean(images.lipschitz),
            lipschitz_empirical_scaled=finite_mean(images.lipschitz_scaled),
            attack=attack.describe(self.threat),
            threat=self.threat.model_dump(),
            warnings=(
                *doubts,
                *_weak_first(images),
                *_warnings(images, chance_of(labels), fidelity),
                *gaps(images.measured),
            ),
            fidelity=fidelity,
            ladder=tuple(self.rungs),
            chance=chance_of(labels),
            balanced_natural_accuracy=balanced_accuracy(images.natural, labels),
            balanced_robust_accuracy=balanced_accuracy(images.robust, labels),
            checks=checks,
            scores=means(images.measured),
        )


def _pixels(split: Split) -> tuple[Tensor, Tensor]:
    return split.inputs(), split.labels


def _merged(before: Scored | None, checks: list[Check]) -> tuple[Check, ...]:
    """Checks of the rung below, replaced by those of this one; adversarial images that left the ball stay a failure."""
    found = {check.name: check for check in before.evaluation.checks} if before else {}
    lasting = {name for name, check in found.items() if name == "threat_model" and not check.passed}
    return tuple((found | {check.name: check for check in checks if check.name not in lasting}).values())


def _certified(network: nn.Module) -> float | None:
    """log10 of the certified Lipschitz constant; None where there is no certificate."""
    try:
        return certified_lipschitz(network).log10 if isinstance(network, Network) else None
    except ValueError:
        return None


def _threat_score(scored: Scored) -> ThreatScore:
    """What is kept of a scoring under a further threat."""
    found, images = scored.evaluation, scored.images
    doubts = [check.words for check in found.failed_checks]
    return ThreatScore(
        threat=found.threat,
        num_images=found.num_images,
        robust_accuracy=found.robust_accuracy,
        robust_interval=found.robust_interval,
        ladder=found.ladder,
        warnings=(*doubts, *_warnings(images, found.chance or 0.0, found.fidelity)),
        natural_accuracy=found.natural_accuracy if "acts_on" in found.threat else None,
        failed_checks=tuple(check.name for check in found.failed_checks),
    )


def _weak_first(images: ImageScores) -> list[str]:
    """Why instability and slopes may be too low, if they are."""
    missed, count = int((images.natural & ~images.fell & ~images.robust).sum()), len(images.natural)
    if not exceeds(missed, count, 0.1):
        return []
    return [
        f"the attack behind instability and the empirical Lipschitz constant breaks {missed} of {count} images "
        f"fewer than the ladder: a stronger one would raise them"
    ]


def _warnings(images: ImageScores, chance: float, fidelity: Fidelity) -> list[str]:
    """Reasons to doubt the accuracies that say nothing about the attacks."""
    count = len(images.natural)
    warnings = []
    for name, correct in (("natural", images.natural), ("robust", images.robust)):
        if wilson_interval(int(correct.sum()), count).low <= chance:
            part = "retrain" if fidelity == "final" else "training"
            warnings.append(
                f"{name} accuracy is near chance, {chance:.3f} (always the most frequent class): nothing learned yet: "
                f"raise {part}.epochs or data.limit"
            )
            break  # robust accuracy is no higher
    if count < 100:
        warnings.append(f"only {count} images: the intervals are wide")
    return warnings


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """No autocast and, on a GPU, no TensorFloat-32 in convolutions, whose 10 bits round small gradients away."""
    cudnn = torch.backends.cudnn
    with torch.autocast(device.type, enabled=False):
        if device.type != "cuda":
            yield
            return
        with cudnn.flags(cudnn.enabled, cudnn.benchmark, cudnn.benchmark_limit, cudnn.deterministic, allow_tf32=False):
            yield
