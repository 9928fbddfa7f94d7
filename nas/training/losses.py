"""Losses as pure functions of logits. Letters: N images, K classes."""

from torch import Tensor
from torch.nn import functional as F

from nas.attacks.losses import kl_divergence


def divergence(logits: Tensor, logits_adv: Tensor) -> Tensor:
    """Mean KL(f(x) ‖ f(x̂)), a scalar: TRADES's robust term (Zhang 2019, eq. 5; the clean side is not detached)."""
    return kl_divergence(F.log_softmax(logits, 1), F.log_softmax(logits_adv, 1)).mean()


def trades_loss(logits: Tensor, logits_adv: Tensor, labels: Tensor, beta: float) -> Tensor:
    """CE(f(x), y) + β · mean KL(f(x) ‖ f(x̂)), a scalar."""
    return F.cross_entropy(logits, labels) + beta * divergence(logits, logits_adv)
