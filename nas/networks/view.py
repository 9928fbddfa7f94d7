"""The network as an attack sees it: logits and the gradient with respect to the pixels, nothing else.

An attack needs neither parameter gradients nor batch-norm as a layer of its own: in eval mode it is an affine
map that folds into the convolution before it. `FoldedView` keeps folded copies of the weights and walks the
layers by hand, forwards and backwards; `AutogradView` does the same for any module at autograd's price. Both
give the logits of the network in eval mode.

Letters: N images, C channels, H × W pixels, K classes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from math import prod
from typing import Protocol

import torch
from torch import Tensor, nn

from nas.networks.arithmetic import Arithmetic, arithmetic_of
from nas.networks.images import flipped
from nas.networks.layer import Layer, folded_weight, layers_of
from nas.networks.mode import evaluation_mode
from nas.networks.rounding import Head, LayerGrids, grids_of, rounds_any
from search_spaces import NetworkSpec
from search_spaces.network import Network

Slope = Callable[[Tensor], Tensor]
"""Derivative of each image's loss with respect to its logits: (N, K) to (N, K)."""


class View(Protocol):
    """A network in eval mode, frozen as it was at the last `refold_`."""

    def logits(self, x: Tensor) -> Tensor:
        """Logits (N, K) of pixels (N, C, H, W), without a graph."""

    def gradient(self, x: Tensor, slope: Slope) -> tuple[Tensor, Tensor]:
        """Logits (N, K), and the gradient (N, C, H, W) of the loss whose derivative by the logits is `slope`."""

    def refold_(self) -> None:
        """Takes over the network's present weights and statistics."""

    def in_use(self) -> AbstractContextManager[None]:
        """Inside, several threads may call the view; entered by one, as they share the network and its mode."""

    @property
    def chunk_size(self) -> int | None:
        """Images whose activations stay in a core's cache together; None: any number."""


def view_of(network: nn.Module | View, dtype: torch.dtype | None = None) -> View:
    """The fastest view of `network`: folded where every layer can be folded, else by autograd; a view as it is.

    A folded view computes in `dtype` (the network's when left out), apart from normalisation and classifier.
    """
    if not isinstance(network, nn.Module):
        return network
    layers = layers_of(network)
    if layers is None:
        return AutogradView(network)
    assert isinstance(network, Network)
    return FoldedView(network, layers, dtype or network.classifier.weight.dtype)


@dataclass
class _Folded:
    """Weights of one layer with its batch-norm in them."""

    layer: Layer
    matrix: Tensor
    """Of the folded weight, as the arithmetic wants it."""
    bias: Tensor
    turned: Tensor | None
    """The flipped kernel, for layers whose backward pass is a convolution with it."""
    grids: LayerGrids


_Kept = tuple[Tensor, Tensor | None, Tensor]
"""Of a layer: its input, its own output where that is added to another, its last output; all before their rounding."""


class FoldedView:
    """View of a `Network` whose blocks are convolution, batch-norm and ReLU6, with residuals."""

    def __init__(self, network: Network, layers: Sequence[Layer], dtype: torch.dtype) -> None:
        self._network, self._layers, self._rounds = network, layers, rounds_any(network, layers)
        grids, step = grids_of(layers)
        self._head = Head(network, step)
        self._folded = [_fold(*pair, arithmetic_of(layers), dtype) for pair in zip(layers, grids, strict=True)]
        self._dtype = dtype
        self.chunk_size = max(8, CACHE_BYTES // _largest_step(network.spec))
        self.refold_()

    def in_use(self) -> AbstractContextManager[None]:
        """Changes nothing: the view has weights of its own."""
        return nullcontext()

    @property
    def _arithmetic(self) -> Arithmetic:  # not an attribute: a view can be copied, a module cannot
        return arithmetic_of(self._layers)

    @torch.no_grad()
    def refold_(self) -> None:
        """W ← w · γ / √(σ² + ε) and b ← β − μ · γ / √(σ² + ε), in place; in steps of the grids, where tensors have."""
        arithmetic = self._arithmetic
        if self._rounds:
            grids, step = grids_of(self._layers)
            self._head = Head(self._network, step)
            for folded, found in zip(self._folded, grids, strict=True):
                folded.grids = found
        for folded in self._folded:
            norm = folded.layer.norm
            assert norm.running_mean is not None, "batch-norm without running statistics was let through"
            weight, scale = folded_weight(folded.layer)
            bias = torch.addcmul(norm.bias, norm.running_mean, scale, value=-1)
            if not folded.grids.is_float:
                weight, bias = weight * folded.grids.gain, bias / folded.grids.own.step
            folded.matrix.copy_(arithmetic.matrix_of(folded.layer, weight))
            folded.bias.copy_(bias)
            if folded.turned is not None:
                folded.turned.copy_(flipped(folded.layer, weight))

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """Logits (N, K) of pixels (N, C, H, W)."""
        return self._head.logits(self._taken(self._forward(x, None)[-1])[1])

    @torch.no_grad()
    def gradient(self, x: Tensor, slope: Slope) -> tuple[Tensor, Tensor]:
        """Logits, and the gradient of the loss by the pixels; activations live only until it returns."""
        kept: list[_Kept] = []
        stored, last = self._forward(x, kept)
        clamped, features = self._taken(stored)
        logits = self._head.logits(features)
        return logits, self._backward(self._head.back(slope(logits), clamped), x, kept, last)

    def _forward(self, x: Tensor, kept: list[_Kept] | None) -> tuple[Tensor, Tensor]:
        """The last tensor as it is stored, and as it was before it was rounded.

        `kept` gets what the backward pass needs of every layer; without it, the second result is of no use.
        """
        normalization = self._network.normalization
        h = (x - normalization.mean) / normalization.std
        arithmetic = self._arithmetic
        h, convolve = arithmetic.enter(h.to(self._dtype)), arithmetic.convolve
        before = residual = h
        for folded in self._folded:
            layer = folded.layer
            if layer.opens_residual:
                residual = h
            output = convolve(layer, h, folded.matrix, folded.bias)
            inner, last, stored = folded.grids.stored(output, residual, in_place=kept is None)
            if kept is not None:
                kept.append((before, inner, last))
            if layer.projects:
                residual = stored
            else:
                h, before = stored, last
        return h, before

    def _taken(self, stored: Tensor) -> tuple[Tensor, Tensor]:
        return self._head.taken(self._arithmetic.pool(stored).to(self._head.weight.dtype))

    def _backward(self, pooled: Tensor, x: Tensor, kept: list[_Kept], last: Tensor) -> Tensor:
        """Gradient by the pixels, from the one by the averages of the last tensor."""
        arithmetic = self._arithmetic
        gradient = residual = arithmetic.unpool(pooled.to(self._dtype), last)
        for folded, (h, inner, output) in zip(self._folded[::-1], kept[::-1], strict=True):
            layer = folded.layer
            behind, added = folded.grids.back(residual if layer.projects else gradient, inner, output)
            residual = residual if added is None else added
            before = arithmetic.convolve_back(layer, behind, h, folded.matrix, folded.turned)
            gradient = gradient.add_(before) if layer.projects else before
            if layer.opens_residual:
                gradient.add_(residual)
        return arithmetic.leave(gradient.to(pooled.dtype), x) / self._network.normalization.std


def _fold(layer: Layer, grids: LayerGrids, arithmetic: Arithmetic, dtype: torch.dtype) -> _Folded:
    """Room for the folded weights of `layer`."""
    weight = layer.conv.weight.detach()
    turned = flipped(layer, weight).contiguous(memory_format=torch.channels_last) if layer.flips else None
    matrix = arithmetic.matrix_of(layer, weight).clone()
    bias = torch.empty_like(layer.norm.bias.detach())
    return _Folded(layer, matrix.to(dtype), bias.to(dtype), None if turned is None else turned.to(dtype), grids)


CACHE_BYTES = 8_000_000
"""Activations of one chunk. Between 2 and 60 MB the speed was the same within noise on an AMD EPYC core."""


def _largest_step(spec: NetworkSpec) -> int:
    """Bytes of the largest input and output of one layer, for one image in float32."""
    size, largest = spec.input_shape[1:], 0
    for block in spec.blocks:
        for conv, before, after in block.layers(size):
            largest = max(largest, conv.in_channels * prod(before) + conv.out_channels * prod(after))
            size = after
    return 4 * largest


def _at_least_float32(logits: Tensor) -> Tensor:
    """A network of low precision gives its logits in it."""
    return logits if logits.dtype.itemsize >= 4 else logits.float()


class AutogradView:
    """View of any module. Switches it to eval mode while it is in use, and back."""

    chunk_size = None

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._is_in_use = False

    def refold_(self) -> None:
        """Nothing: the network itself is used."""

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """The network in eval mode without parameter gradients; modes and flags come back after."""
        if self._is_in_use:
            yield
            return
        with evaluation_mode(self._network):
            self._is_in_use = True
            try:
                yield
            finally:
                self._is_in_use = False

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """Logits (N, K) of pixels (N, C, H, W)."""
        with self.in_use():
            logits: Tensor = self._network(x)
        return _at_least_float32(logits)

    def gradient(self, x: Tensor, slope: Slope) -> tuple[Tensor, Tensor]:
        """Logits, and the gradient of the loss by the pixels; zero where the logits do not depend on them smoothly."""
        with self.in_use(), torch.enable_grad():
            x = x.detach().requires_grad_()
            logits: Tensor = _at_least_float32(self._network(x))
            if not logits.requires_grad:  # the network detaches, rounds or calls code of its own
                return logits, torch.zeros_like(x).detach()
            (gradient,) = torch.autograd.grad(logits, x, slope(logits.detach()), materialize_grads=True)
        return logits.detach(), gradient


@dataclass(frozen=True)
class Scaled:
    """`view` with its logits times `factor`. It classifies alike, so a sound attack must fool the same images."""

    view: View
    factor: float

    def logits(self, x: Tensor) -> Tensor:
        """Logits (N, K) of pixels (N, C, H, W), scaled."""
        return self.factor * self.view.logits(x)

    def gradient(self, x: Tensor, slope: Slope) -> tuple[Tensor, Tensor]:
        """Scaled logits, and the gradient of the loss of the scaled logits by the pixels."""
        logits, gradient = self.view.gradient(x, lambda logits: self.factor * slope(self.factor * logits))
        return self.factor * logits, gradient

    def refold_(self) -> None:
        """Takes over the network's present weights and statistics."""
        self.view.refold_()

    def in_use(self) -> AbstractContextManager[None]:
        """That of `view`."""
        return self.view.in_use()

    @property
    def chunk_size(self) -> int | None:
        """That of `view`."""
        return self.view.chunk_size
