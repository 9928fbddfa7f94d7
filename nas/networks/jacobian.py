"""Penalty on the Jacobian of a network, or of its blocks, by random projections (Hoffman, Roberts, Yaida 2019).

Written for autograd through the module, so that treatments which change its forward pass are differentiated, too. The
module is in eval mode for that long, and batch-norm has the statistics μ, σ of these images: constants to the gradient
by the pixels, as in training mode an image's gradient would hold what it does to the others of its batch (in Hoffman's
code it does); functions of the weights to the gradient by the parameters. With the running statistics, constants to
both, kernels shrink ahead of them: on digits (a network of half width, 8 epochs of cross-entropy, λ = 0.01), natural
accuracy .92 and R 158 in place of .98 and 21; without the penalty .98 and 558.

Letters: N images, C channels, H × W pixels, K classes, n projections.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from nas.networks.mode import eval_mode
from nas.networks.twice import cheap_twice
from search_spaces.network import Network


def output_penalty(network: Network, x: Tensor, projections: int, generator: torch.Generator) -> Tensor:
    """Estimate of ½ · mean_i ‖J_i‖_F², J_i (K, C·H·W) the Jacobian of the logits of image i by its pixels; a scalar.

    Hoffman 2019, eq. 8: (K / 2n) Σ ‖∂(v·f(x_i)) / ∂x_i‖², v uniform on the unit sphere of R^K and drawn for every
    image and projection, as E[v vᵀ] = I / K. Unbiased; on 8×8 maps, one costs
    about four steps without attack (docs/quantized.md).

    Args:
        network: In whatever mode; in the same after. Its parameters get gradients of what is returned.
        x: Images (N, C, H, W).
        projections: n. The variance falls as 1 / n.
        generator: Of `x`'s device.
    """
    with eval_mode(network):
        x = x.detach().requires_grad_()
        with cheap_twice():
            logits: Tensor = network(x)
        return logits.shape[1] / 2 * _squared_gain(logits, x, projections, generator)


def block_penalty(network: Network, x: Tensor, projections: int, generator: torch.Generator) -> Tensor:
    """Estimate of ½ · mean_i Σ_b ‖J_ib‖_F² / d_b, a scalar: every block by itself.

    J_ib (d_b, d_b−1) is the Jacobian of what block b makes of image i by what it was given; the first block takes the
    pixels, normalisation included, and the last one is pooling and classifier. Divided by its d_b outputs, ‖J‖_F² is
    the mean squared norm of its rows, the gain of a direction v drawn on the unit sphere of R^d_b, E ‖vᵀ J‖²: large
    and small maps weigh the same, and a block's term does not depend on the number of others.

    Ayaz 2023 and Zakariyya 2025 (arXiv 2503.08973) regularise per layer; their equation was not at hand, and the norm
    by outputs, the blocks as layers and the sum over them are ours.
    """
    found, given = x.new_zeros(()), x.detach().requires_grad_()
    with eval_mode(network):
        for block in _blocks(network):
            with cheap_twice():
                made = block(given)
            found = found + _squared_gain(made, given, projections, generator) / 2
            given = made
    return found


def _blocks(network: Network) -> Iterator[Callable[[Tensor], Tensor]]:
    """The forward pass of `network` in pieces: normalisation with the first block, the others, pooling and classifier.

    A block is a module that is called, with whatever a treatment has put into it.
    """
    first, *others = network.features
    yield lambda x: first(network.normalization(x))
    yield from others
    yield lambda features: network.classifier(features.mean(dim=(2, 3)))


def _squared_gain(outputs: Tensor, inputs: Tensor, projections: int, generator: torch.Generator) -> Tensor:
    """(1/n) Σ mean_i ‖∂(v·y_i) / ∂x_i‖² for `outputs` y and `inputs` x, v on the unit sphere: mean_i ‖J_i‖_F² / d."""
    found = inputs.new_zeros(())
    for _ in range(projections):
        direction = torch.randn(outputs.shape, generator=generator, device=outputs.device, dtype=outputs.dtype)
        direction /= direction.flatten(1).norm(dim=1).view(-1, *[1] * (outputs.dim() - 1))
        (gradient,) = torch.autograd.grad(outputs, inputs, direction, create_graph=True, materialize_grads=True)
        found = found + gradient.square().sum() / len(inputs)
    return found / projections
