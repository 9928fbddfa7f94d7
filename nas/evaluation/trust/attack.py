"""Checks of the attack: it kept to the threat model, and others would not have found more."""

from nas.attacks import Fgsm, Noise, Pgd, Square
from nas.attacks.result import Attack
from nas.base.records import Check
from nas.evaluation.classes import chance_of
from nas.evaluation.float_twin import TWIN, WITHOUT_GRADIENTS
from nas.evaluation.trust.probe import Probe, exceeds, verdict
from nas.networks.view import Scaled

QUERIES = 100
"""Of the black-box attack, where the ladder ends without one."""


def threat_model(probe: Probe) -> Check:
    """Every adversarial image is in the ball and in the domain."""
    box = f"[{probe.threat.low:g}, {probe.threat.high:g}]"
    within = probe.excess <= 1e-5 * max(1.0, probe.threat.epsilon) and probe.outside <= 0
    return verdict(
        "threat_model", within,
        f"every adversarial image is within epsilon and in {box}",
        f"adversarial images left the threat model: by {probe.excess:.3g} beyond epsilon, {probe.outside:.3g} beyond "
        f"{box}",
        {"beyond_epsilon": min(probe.excess, 1e30), "beyond_box": min(probe.outside, 1e30)},
    )  # fmt: skip


def reach(probe: Probe) -> Check:
    """The steps of at least one attack can cross the ball."""
    share = max(attack.reach(probe.threat) for attack in probe.attacks)
    return verdict(
        "reach", share >= 1,
        "the attacks' steps can cross the ball",
        f"the attacks' steps reach only {100 * share:.0f} % of the ball's diameter: they are too weak; raise steps or "
        f"step size",
        {"diameters": share},
    )  # fmt: skip


def monotone(probe: Probe) -> Check:
    """FGSM and PGD of few steps do not break more images than all attacks together."""
    natural, robust = probe.head(probe.scores.natural), probe.head(probe.scores.robust)
    weak: dict[str, Attack] = {"fgsm": Fgsm(), "few_steps": Pgd(steps=max(2, probe.steps // 4))}
    counts = {name: probe.broken(attack, natural) for name, attack in weak.items()}
    counts["ladder"] = int((natural & ~robust).sum())
    surplus = max(counts[name] - counts["ladder"] for name in weak)
    return verdict(
        "monotone", not exceeds(surplus, len(probe.x)),
        "no weaker attack breaks more images",
        f"a weaker attack breaks {surplus} images of {len(probe.x)} more than the attacks: they are broken or masked",
        {f"broken_by_{name}": count for name, count in counts.items()},
    )  # fmt: skip


def converged(probe: Probe) -> Check:
    """Many more steps, of a tenth of epsilon, break hardly more than all attacks (Carlini 2019)."""
    longer = Pgd(steps=5 * probe.steps, step_size=probe.threat.epsilon / 10)
    more = probe.broken(longer, probe.head(probe.scores.robust))
    return verdict(
        "converged", not exceeds(more, len(probe.x), 0.02),
        "more steps break hardly more images",
        f"{longer.steps} steps break {more} images of {len(probe.x)} more than the attacks: they have not converged",
        {"broken_by_more_steps": more, "images": len(probe.x)},
    )  # fmt: skip


def logit_scale(probe: Probe) -> Check:
    """Multiplying the logits by 1/100 or 100, or a loss that ignores their scale, uncovers nothing.

    Some gap is usual: a margin loss is the better attack on many honest networks (Croce & Hein 2020). 5 points
    beyond doubt are not. A quantized network has met an attack with rescaled logits before; what it broke counts, too.
    """
    standing = probe.head(probe.scores.robust)
    more = {
        "logits_divided": probe.broken(probe.usual(), standing, Scaled(probe.view, 0.01)),
        "logits_multiplied": probe.broken(probe.usual(), standing, Scaled(probe.view, 100.0)),
        "margin_loss": probe.broken(probe.usual("margin"), standing),
    }
    largest = max(more, key=lambda name: more[name])
    broken, count = more[largest], len(probe.x)
    met = sum(rung.broken for rung in probe.ladder if rung.attack["name"] == "rescaled")
    if exceeds(met, len(probe.scores.robust), 0.05):
        largest, broken, count = "logits_rescaled", met, len(probe.scores.robust)
    return verdict(
        "logit_scale", not exceeds(broken, count, 0.05),
        "the result does not depend on the scale of the logits",
        f"{largest.replace('_', ' ')}: {broken} images of {count} more are broken; the logits' scale masks gradients",
        more | ({largest: broken} if largest not in more else {}),
    )  # fmt: skip


def large_epsilon(probe: Probe) -> Check:
    """In a ball that reaches uniform grey, accuracy falls to chance: the largest class's share (Carlini 2019)."""
    farthest, box = probe.domain.high - probe.domain.grey, probe.threat.high - probe.threat.low
    epsilon = farthest / box * probe.threat.diameter(probe.x.shape[1:])
    natural = probe.head(probe.scores.natural)
    everything = probe.threat.model_copy(update={"epsilon": epsilon})
    left = int(natural.sum()) - probe.broken(probe.usual(), natural, threat=everything)
    return verdict(
        "large_epsilon", not exceeds(left, len(probe.x), chance_of(probe.y)),
        f"accuracy falls to chance at epsilon = {epsilon:.3g}",
        f"{left} of {len(probe.x)} images stand at epsilon = {epsilon:.3g}, where any image is in reach: gradients are "
        f"masked",
        {"epsilon": epsilon, "standing": left, "images": len(probe.x)},
    )  # fmt: skip


def noise(probe: Probe) -> Check:
    """Random noise breaks no image that the attack could not."""
    more = probe.broken(Noise(), probe.head(probe.scores.robust))
    return verdict(
        "noise", not exceeds(more, len(probe.x)),
        "random noise finds nothing that the attacks missed",
        f"random noise breaks {more} of {len(probe.x)} images that the attacks could not: their gradients mislead",
        {"broken": more, "images": len(probe.x)},
    )  # fmt: skip


def black_box(probe: Probe) -> Check:
    """Attacks without gradients break hardly more than those with (Athalye 2018)."""
    count = len(probe.scores.robust)
    names = [rung.attack["name"] for rung in probe.ladder]
    last = max((index for index, name in enumerate(names) if name not in WITHOUT_GRADIENTS), default=len(names))
    made = [r for r in probe.ladder[last + 1 :] if r.attack["name"] != "noise" and r.attack.get("source") != TWIN]
    if not made:
        count = len(probe.x)
    more = sum(rung.broken for rung in made) if made else probe.broken(
        Square(queries=QUERIES), probe.head(probe.scores.robust)
    )  # fmt: skip
    return verdict(
        "black_box", not exceeds(more, count),
        "attacks without gradients find hardly more",
        f"attacks without gradients break {more} of {count} images that those with gradients could not: gradients are "
        f"masked",
        {"broken": more, "images": count},
    )  # fmt: skip
