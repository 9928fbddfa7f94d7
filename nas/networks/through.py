"""A network behind a differentiable map of its input: the adversary moves z, the network sees x = g(z).

g may be a decoder (attacks on a manifold), a JPEG, the features of a waveform. Autograd walks g alone; the network
keeps the backward pass of its own view. Epsilon and bounds are those of z, so the threat of such an attack is a ball
of nas/attacks/balls.py with the bounds of z.

Letters: N points, K classes; z of any shape (N, …), x (N, C, H, W).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from nas.networks.view import AutogradView, Slope, View


class Through:
    """View of the network of `view` at g(z), which treats each point by itself.

    A module as `g` is in eval mode while in use, its parameters without gradients; modes and flags come back after. A
    plain function must not change what it reads, as several threads call it.
    """

    def __init__(self, view: View, g: Callable[[Tensor], Tensor]) -> None:
        self._view, self._g = view, g
        self._mode = AutogradView(g) if isinstance(g, nn.Module) else None

    def logits(self, z: Tensor) -> Tensor:
        """Logits (N, K) of the network at g(z), without a graph."""
        with self.in_use(), torch.no_grad():
            return self._view.logits(self._g(z))

    def gradient(self, z: Tensor, slope: Slope) -> tuple[Tensor, Tensor]:
        """Logits (N, K), and the gradient by z (N, …): that by the pixels, pulled back through g.

        Zero where g detaches or rounds.
        """
        with self.in_use():
            with torch.enable_grad():
                z = z.detach().requires_grad_()
                x = self._g(z)
            logits, ascent = self._view.gradient(x.detach(), slope)
            if not x.requires_grad:
                return logits, torch.zeros_like(z).detach()
            (gradient,) = torch.autograd.grad(x, z, ascent, materialize_grads=True)
        return logits, gradient

    def refold_(self) -> None:
        """Takes over the network's present weights and statistics; g is used as it is."""
        self._view.refold_()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """That of the view, with g in eval mode."""
        with self._view.in_use(), self._mode.in_use() if self._mode else nullcontext():
            yield

    @property
    def chunk_size(self) -> int | None:
        """That of the view."""
        return self._view.chunk_size


class Composed(nn.Module):
    """`network` at g(z): a module whose view is `Through(view of network, g)`, for what looks at modules."""

    def __init__(self, g: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.g, self.network = g, network

    def forward(self, z: Tensor) -> Tensor:
        """Logits (N, K) of the network at g(z)."""
        logits: Tensor = self.network(self.g(z))
        return logits
