"""Losses as pure functions of logits. Letters: N images, K classes."""

from torch import Tensor
from torch.nn import functional as F


def kl_divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p ‖ q) of each row in nats from log-probabilities (N, K), shape (N,).

    Log-probabilities on both sides: with a probability target, the gradient with respect to that target
    is NaN as soon as softmax underflows to 0.
    """
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)


def trades_loss(logits: Tensor, logits_adv: Tensor, labels: Tensor, beta: float) -> Tensor:
    """CE(f(x), y) + β · mean KL(f(x) ‖ f(x̂)), a scalar (Zhang 2019, eq. 5; the clean side is not detached)."""
    robust = kl_divergence(F.log_softmax(logits, 1), F.log_softmax(logits_adv, 1)).mean()
    return F.cross_entropy(logits, labels) + beta * robust
