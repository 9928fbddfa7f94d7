"""Perturbation instability: how far the prediction moves under attack, whatever the label."""

from torch import Tensor
from torch.nn import functional as F

from nas.attacks.losses import kl_divergence


def instability(logits: Tensor, logits_adv: Tensor) -> Tensor:
    """KL(f(x) ‖ f(x̂)) of each image in nats (Mousavi 2023, eq. 3, before the mean), shape (N,)."""
    log_p, log_q = F.log_softmax(logits, 1), F.log_softmax(logits_adv, 1)
    return kl_divergence(log_p, log_q)
