"""What an attack ascends: the loss of each image and its derivative by the image's logits, the slope.

Written out rather than left to autograd, so that every view can use them, and so that a slope is exact where
autograd's cancels. Letters: N images, K classes, z logits, y label, π the classes from the highest logit down.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.attacks.settings import LossName
from nas.base.errors import UsageError


@dataclass(frozen=True)
class Loss:
    """A loss of each image, of logits (N, K) and labels (N,)."""

    value: Callable[[Tensor, Tensor], Tensor]
    """Loss of each image, shape (N,)."""
    slope: Callable[[Tensor, Tensor], Tensor]
    """Its derivative by the logits, shape (N, K)."""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each image in nats, shape (N,)."""
    return F.cross_entropy(logits, labels, reduction="none")


def cross_entropy_slope(logits: Tensor, labels: Tensor) -> Tensor:
    """Derivative of each image's cross-entropy by its logits, p − onehot(y) with p = softmax(z), shape (N, K).

    At the label it is computed as −Σ_{j≠y} p_j: in float32, p_y − 1 is exactly 0 as soon as the margin passes 17,
    and a confident network would look as if its gradient had vanished. The sum survives up to a margin of 87.
    """
    index = labels[:, None]
    others = logits.softmax(1).scatter_(1, index, 0)
    return others.scatter_(1, index, -others.sum(1, keepdim=True))


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """max_{j≠y} z_j − z_y of each image, shape (N,): positive where the image is misclassified."""
    return _runner_up(logits, labels).values - _at(logits, labels)


def margin_slope(logits: Tensor, labels: Tensor) -> Tensor:
    """Derivative of the margin by the logits, shape (N, K): 1 at the best other class, −1 at the label."""
    return _onehot(logits, _runner_up(logits, labels).indices) - _onehot(logits, labels)


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Difference of logits ratio, (max_{j≠y} z_j − z_y) / (z_π1 − z_π3), shape (N,) (Croce & Hein 2020, eq. 6).

    Like the margin, but the same for logits times any factor. Raises UsageError for fewer than 3 classes.
    """
    return _quotient(logits, *_dlr_terms(logits, labels))


def dlr_slope(logits: Tensor, labels: Tensor) -> Tensor:
    """Derivative of the DLR loss by the logits, shape (N, K). It is 0 where the label ranks third."""
    return _quotient_slope(logits, *_dlr_terms(logits, labels))


def targeted_dlr(targets: Tensor) -> Loss:
    """The loss (z_t − z_y) / (z_π1 − (z_π3 + z_π4) / 2) for `targets` t (N,) (Croce & Hein 2020, eq. 7).

    Value and slope raise UsageError for fewer than 4 classes.
    """
    return Loss(
        lambda logits, labels: _quotient(logits, *_targeted_terms(logits, labels, targets)),
        lambda logits, labels: _quotient_slope(logits, *_targeted_terms(logits, labels, targets)),
    )


LOSSES: dict[LossName, Loss] = {
    "cross_entropy": Loss(cross_entropy, cross_entropy_slope),
    "margin": Loss(margin, margin_slope),
    "dlr": Loss(dlr, dlr_slope),
}


def kl_divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p ‖ q) of each row in nats from log-probabilities (N, K), shape (N,).

    Log-probabilities on both sides: with a probability target, the gradient with respect to that target
    is NaN as soon as softmax underflows to 0.
    """
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)


def misclassified(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether each image is not classified as its label; logits that are not finite count as wrong."""
    return (logits.argmax(1) != labels) | ~logits.isfinite().all(1)


_TINY = 1e-12
"""Keeps a quotient finite where the highest logits are equal; the authors' own value."""


def _dlr_terms(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Rows a and b (N, K) with DLR = a·z / b·z."""
    _need_classes(logits, 3, "the DLR loss")
    first, _, third = logits.topk(3).indices.T
    return margin_slope(logits, labels), _onehot(logits, first) - _onehot(logits, third)


def _targeted_terms(logits: Tensor, labels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Rows a and b (N, K) with targeted DLR = a·z / b·z."""
    _need_classes(logits, 4, "the targeted DLR loss")
    first, _, third, fourth = logits.topk(4).indices.T
    middle = (_onehot(logits, third) + _onehot(logits, fourth)) / 2
    return _onehot(logits, targets) - _onehot(logits, labels), _onehot(logits, first) - middle


def _quotient(logits: Tensor, above: Tensor, below: Tensor) -> Tensor:
    return (above * logits).sum(1) / ((below * logits).sum(1) + _TINY)


def _quotient_slope(logits: Tensor, above: Tensor, below: Tensor) -> Tensor:
    """Derivative of the quotient, a / (b·z) − b (a·z) / (b·z)²."""
    divisor = (below * logits).sum(1, keepdim=True) + _TINY
    return above / divisor - below * ((above * logits).sum(1, keepdim=True) / divisor**2)


def _need_classes(logits: Tensor, needed: int, what: str) -> None:
    if logits.shape[1] < needed:
        raise UsageError(
            f"{what} compares at least {needed} classes, the network has {logits.shape[1]}; "
            f"use loss: margin or loss: cross_entropy"
        )


def _runner_up(logits: Tensor, labels: Tensor) -> torch.return_types.max:
    """Highest logit of each image apart from its label's, and its class."""
    return logits.scatter(1, labels[:, None], -torch.inf).max(1)


def _at(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None]).flatten()


def _onehot(logits: Tensor, classes: Tensor) -> Tensor:
    return torch.zeros_like(logits).scatter_(1, classes[:, None], 1)
