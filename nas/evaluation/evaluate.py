"""The protocol that turns a trained network into an Evaluation.

Letters: N images, K classes.
"""

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from nas.attacks import AttackSettings, Pgd
from nas.data import Split
from nas.evaluation.accuracy import wilson_interval
from nas.evaluation.certified import certified_lipschitz
from nas.evaluation.instability import instability
from nas.evaluation.lipschitz import lipschitz_bound_log10, slopes
from nas.evaluation.steepest import steepest_slopes
from nas.records import Evaluation
from nas.settings import Settings
from nas.threat import ThreatModel
from search_spaces.network import Network


class EvaluationSettings(Settings):
    """How a trained network is scored."""

    attack: AttackSettings = Pgd()
    """The attack behind robust accuracy, instability and the empirical Lipschitz constant."""
    batch_size: int = Field(256, ge=1, le=65_536)
    """Images attacked at once; with l2 or several restarts it also changes which noise each image gets."""
    max_images: int | None = Field(None, ge=10)
    """Score on the first so many images only (the splits are shuffled within classes); all when left out."""
    lipschitz_steps: int = Field(0, ge=0, le=10_000)
    """Steps that ascend the ratio of eq. 6 itself, for `lipschitz_maximised`; 0: not measured."""
    lipschitz_restarts: int = Field(1, ge=0, le=100)
    """Random starts of it, beside the one from the attack's last iterate."""


@dataclass(frozen=True)
class _Scores:
    """Per-image results; every field has shape (N,)."""

    natural: Tensor
    robust: Tensor
    instability: Tensor
    instability_scaled: Tensor
    lipschitz: Tensor
    lipschitz_scaled: Tensor
    steepest: Tensor
    finite: Tensor
    stuck: Tensor


def evaluate(
    network: Network,
    split: Split,
    threat: ThreatModel,
    settings: EvaluationSettings,
    generator: torch.Generator,
    *,
    split_name: str,
) -> Evaluation:
    """Scores of `network` (in eval mode, float32) on the images of `split`.

    All attack noise comes from `generator`, on the device of the images. Raises ValueError for a network
    in training mode: its batch-norm would make images depend on each other.
    """
    if any(module.training for module in network.modules()):
        raise ValueError("a network is scored in eval mode; call .eval() first")
    chosen = split[: settings.max_images] if settings.max_images else split
    batches = [_score(network, b, threat, settings, generator) for b in chosen.batches(settings.batch_size)]
    columns = {name: torch.cat([getattr(b, name) for b in batches]).cpu() for name in _Scores.__annotations__}
    scores = _Scores(**columns)
    count = len(chosen)
    natural, robust = int(scores.natural.sum()), int(scores.robust.sum())
    return Evaluation(
        split=split_name,
        num_images=count,
        natural_accuracy=natural / count,
        natural_interval=wilson_interval(natural, count),
        robust_accuracy=robust / count,
        robust_interval=wilson_interval(robust, count),
        instability=_mean(scores.instability),
        instability_scaled=_mean(scores.instability_scaled),
        lipschitz_bound_log10=lipschitz_bound_log10(network.spec),
        lipschitz_certified_log10=_certified(network),
        lipschitz_maximised=_mean(scores.steepest) if settings.lipschitz_steps else None,
        lipschitz_empirical=_mean(scores.lipschitz),
        lipschitz_empirical_scaled=_mean(scores.lipschitz_scaled),
        attack=settings.attack.describe(threat),
        threat=threat.model_dump(),
        warnings=tuple(_warnings(scores, network.spec.num_classes, settings.attack.reach(threat))),
    )


def _score(
    network: Network,
    batch: Split,
    threat: ThreatModel,
    settings: EvaluationSettings,
    generator: torch.Generator,
) -> _Scores:
    x, y = batch.images.float() / 255, batch.labels
    result = settings.attack.run(network, x, y, threat, generator)
    x_adv = result.adversarial
    excess = float((threat.distance(x_adv, x) - threat.epsilon).max())
    assert excess <= 1e-5 * max(1.0, threat.epsilon), f"the attack left the ball by {excess}"
    assert 0 <= float(x_adv.min()) <= float(x_adv.max()) <= 1, "the attack left [0, 1]"
    with torch.no_grad():
        logits, logits_adv = network(x), network(x_adv)
    finite = logits.isfinite().all(1) & logits_adv.isfinite().all(1)
    natural = (logits.argmax(1) == y) & logits.isfinite().all(1)
    kl = instability(logits, logits_adv)
    distance = (x_adv - x).abs().amax(dim=(1, 2, 3))
    return _Scores(
        natural=natural,
        robust=natural & ~result.fooled & finite,
        instability=kl,
        instability_scaled=torch.where(distance > 0, kl / distance.clamp_min(1e-12), 0.0),
        lipschitz=slopes(logits, logits_adv, x, x_adv, 2, 2),
        lipschitz_scaled=slopes(logits, logits_adv, x, x_adv, 1, torch.inf),
        steepest=steepest_slopes(
            network, x, x_adv, threat, settings.lipschitz_steps, settings.lipschitz_restarts, generator
        )
        if settings.lipschitz_steps
        else torch.zeros_like(kl),
        finite=finite,
        stuck=result.stuck,
    )


def _certified(network: Network) -> float | None:
    """log10 of the certified Lipschitz constant; None where there is no certificate."""
    try:
        return certified_lipschitz(network).log10
    except ValueError:
        return None


def _mean(values: Tensor) -> float:
    """Mean over the images where the value is finite; 0 where none is (a warning says so)."""
    finite = values[values.isfinite()]
    return float(finite.double().mean()) if len(finite) else 0.0


def _warnings(scores: _Scores, num_classes: int, reach: float) -> list[str]:
    """Reasons to doubt the scores, in words."""
    count = len(scores.natural)
    warnings = []
    if not scores.finite.all():
        broken = int((~scores.finite).sum())
        warnings.append(f"logits of {broken} of {count} images are not finite; these count as not robust")
    if scores.stuck.any():
        stuck = int(scores.stuck.sum())
        warnings.append(
            f"gradients of {stuck} of {count} unfooled images vanish or are not finite: the attack could not "
            f"climb there, robust accuracy may be masked"
        )
    if reach < 1:
        warnings.append(
            f"the attack's steps reach only {100 * reach:.0f} % of the ball's diameter: it is too weak; raise its "
            f"steps or step size"
        )
    if scores.natural.double().mean() <= 1.5 / num_classes:
        warnings.append("natural accuracy is near chance: the network has hardly learned")
    if count < 100:
        warnings.append(f"only {count} images: the intervals are wide")
    return warnings
