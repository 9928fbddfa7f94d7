"""The fast gradient sign method (Goodfellow 2015): one full step from the image itself."""

from torch import Tensor, nn

from nas.attacks.gradient import projected_gradient, watched_gradient
from nas.attacks.losses import LOSSES, misclassified
from nas.attacks.result import AttackResult
from nas.attacks.threat import Threat
from nas.networks.view import View, view_of


def run(network: nn.Module | View, x: Tensor, labels: Tensor, threat: Threat) -> AttackResult:
    """The adversarial images and whether they (or the clean ones) are misclassified. Uses no chance."""
    view = view_of(network)
    gradient, clean, stuck = watched_gradient(view, labels, LOSSES["cross_entropy"])
    x_adv = projected_gradient(gradient, x, x, threat, steps=1, step_size=threat.epsilon)
    fooled = clean | misclassified(view.logits(x_adv), labels)
    return AttackResult(x_adv, fooled, stuck & ~fooled)
