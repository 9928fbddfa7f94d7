"""The empirical Lipschitz constant of Mousavi 2023, a lower bound.

The proved upper bound of the trained network is in `nas.evaluation.certified`.
"""

import torch
from torch import Tensor


def slopes(
    logits: Tensor, logits_adv: Tensor, x: Tensor, x_adv: Tensor, logit_norm: float, pixel_norm: float
) -> Tensor:
    """‖f(x) − f(x̂)‖ / ‖x − x̂‖ of each image (Mousavi 2023, eq. 6, before the mean), shape (N,).

    0 where x̂ = x.
    """
    moved = torch.linalg.vector_norm(logits - logits_adv, ord=logit_norm, dim=1)
    distance = torch.linalg.vector_norm((x - x_adv).flatten(1), ord=pixel_norm, dim=1)
    return torch.where(distance > 0, moved / distance.clamp_min(1e-12), 0.0)
