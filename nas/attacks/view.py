"""The network as an attack sees it: logits and the gradient with respect to the pixels, nothing else.

An attack needs neither parameter gradients nor batch-norm as a layer of its own: in eval mode it is an affine
map that folds into the convolution before it. `FoldedView` keeps folded copies of the weights and walks the
layers by hand, forwards and backwards; `AutogradView` does the same for any module at autograd's price. Both
give the logits of the network in eval mode.

Letters: N images, C channels, H × W pixels, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.attacks.mode import evaluation_mode
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

    @property
    def chunk_size(self) -> int | None:
        """Images whose activations stay in a core's cache together; None: any number."""


def view_of(network: nn.Module) -> View:
    """The fastest view of `network`: folded where every layer can be folded, else by autograd."""
    layers = _layers(network) if isinstance(network, Network) else None
    if layers is None:
        return AutogradView(network)
    assert isinstance(network, Network)
    return FoldedView(network, layers)


@dataclass
class _Layer:
    """One convolution with its batch-norm, and the folded copy of both."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d
    relu6: bool
    opens_residual: bool
    closes_residual: bool
    weight: Tensor
    bias: Tensor
    flipped: Tensor | None
    """Kernel of the convolution that is the backward pass by the input, where one exists (stride 1)."""

    @property
    def is_pointwise(self) -> bool:
        return self.conv.kernel_size == (1, 1) and self.conv.stride == (1, 1) and self.conv.groups == 1


class FoldedView:
    """View of a `Network` whose blocks are convolution, batch-norm and ReLU6, with residuals."""

    def __init__(self, network: Network, layers: list[_Layer]) -> None:
        self._network = network
        self._layers = layers
        self.chunk_size = max(8, CACHE_BYTES // _largest_step(network.spec))
        self.refold_()

    @torch.no_grad()
    def refold_(self) -> None:
        """W ← w · γ / √(σ² + ε) and b ← β − μ · γ / √(σ² + ε), in place."""
        for layer in self._layers:
            norm = layer.norm
            assert norm.running_var is not None, "batch-norm without running statistics was let through"
            assert norm.running_mean is not None, "batch-norm without running statistics was let through"
            scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            torch.mul(layer.conv.weight, scale[:, None, None, None], out=layer.weight)
            torch.addcmul(norm.bias, norm.running_mean, scale, value=-1, out=layer.bias)
            if layer.flipped is not None:
                turned = layer.weight.flip(2, 3)
                layer.flipped.copy_(turned if layer.conv.groups > 1 else turned.transpose(0, 1))

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """Logits (N, K) of pixels (N, C, H, W)."""
        return self._classify(self._forward(x)[-1])

    @torch.no_grad()
    def gradient(self, x: Tensor, slope: Slope) -> tuple[Tensor, Tensor]:
        """Logits, and the gradient of the loss by the pixels; activations live only until it returns."""
        outputs = self._forward(x)
        logits = self._classify(outputs[-1])
        return logits, self._backward(slope(logits), outputs)

    def _forward(self, x: Tensor) -> list[Tensor]:
        """Input of every layer, then the output of the last one."""
        normalization = self._network.normalization
        h = (x - normalization.mean) / normalization.std
        h = h.contiguous(memory_format=torch.channels_last)
        outputs, residual = [h], h
        for layer in self._layers:
            if layer.opens_residual:
                residual = h
            h = _convolve(layer, h)
            if layer.relu6:
                h.clamp_(0, 6)
            if layer.closes_residual:
                h.add_(residual)
            outputs.append(h)
        return outputs

    def _classify(self, features: Tensor) -> Tensor:
        classifier = self._network.classifier
        return F.linear(features.mean(dim=(2, 3)), classifier.weight, classifier.bias)

    def _backward(self, slope: Tensor, outputs: list[Tensor]) -> Tensor:
        last = outputs[-1]
        pooled = slope @ self._network.classifier.weight / (last.shape[2] * last.shape[3])
        gradient = torch.empty_like(last).copy_(pooled[:, :, None, None].expand_as(last))
        residual = gradient
        for layer, x, output in zip(self._layers[::-1], outputs[-2::-1], outputs[:0:-1], strict=True):
            if layer.closes_residual:
                residual = gradient
            if layer.relu6:
                torch.ops.aten.hardtanh_backward.grad_input(gradient, output, 0.0, 6.0, grad_input=gradient)
            gradient = _convolve_back(layer, gradient, x.shape[2:])
            if layer.opens_residual:
                gradient.add_(residual)
        return gradient / self._network.normalization.std


def _convolve(layer: _Layer, x: Tensor) -> Tensor:
    if layer.is_pointwise:  # a matrix product over pixels: a third faster than a convolution on a CPU
        count, channels, height, width = x.shape
        pixels = x.permute(0, 2, 3, 1).reshape(-1, channels)
        product = torch.addmm(layer.bias, pixels, layer.weight.flatten(1).t())
        return product.view(count, height, width, -1).permute(0, 3, 1, 2)
    conv = layer.conv
    return F.conv2d(x, layer.weight, layer.bias, conv.stride, conv.padding, conv.dilation, conv.groups)


def _convolve_back(layer: _Layer, gradient: Tensor, size: torch.Size) -> Tensor:
    """Gradient by the input of a layer, of `size` (H, W), from the gradient by its output."""
    conv = layer.conv
    if layer.is_pointwise:
        count, channels, height, width = gradient.shape
        pixels = gradient.permute(0, 2, 3, 1).reshape(-1, channels)
        return (pixels @ layer.weight.flatten(1)).view(count, height, width, -1).permute(0, 3, 1, 2)
    if layer.flipped is not None:  # up to twice as fast as the library's backward pass on a CPU
        return F.conv2d(gradient, layer.flipped, None, 1, conv.padding, 1, conv.groups)
    (kernel, _), (stride, _), (padding, _) = conv.kernel_size, conv.stride, (int(p) for p in conv.padding)
    extra = [n - ((g - 1) * stride - 2 * padding + kernel) for n, g in zip(size, gradient.shape[2:], strict=True)]
    return F.conv_transpose2d(gradient, layer.weight, None, stride, padding, extra, conv.groups)


def _layers(network: Network) -> list[_Layer] | None:
    """Layers of `network` in order, or None where one is not convolution + batch-norm [+ ReLU6]."""
    layers: list[_Layer] = []
    for block, module in zip(network.spec.blocks, network.features, strict=True):
        leaves = [leaf for leaf in module.modules() if not list(leaf.children())]
        first = len(layers)
        while leaves:
            conv, norm, leaves = leaves[0], leaves[1] if len(leaves) > 1 else None, leaves[2:]
            if not (isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)):
                return None
            plain = conv.bias is None and conv.padding_mode == "zeros" and conv.dilation == (1, 1)
            square = all(len(set(pair)) == 1 for pair in (conv.kernel_size, conv.stride, conv.padding))
            known_groups = conv.groups == 1 or conv.groups == conv.in_channels == conv.out_channels
            if not (plain and square and known_groups and norm.affine and norm.track_running_stats):
                return None
            relu6 = bool(leaves) and isinstance(leaves[0], nn.ReLU6)
            leaves = leaves[1:] if relu6 else leaves
            layers.append(_layer(conv, norm, relu6))
        if len(layers) - first != len(block.convolutions):
            return None
        layers[first].opens_residual = layers[-1].closes_residual = block.has_residual
    return layers


def _layer(conv: nn.Conv2d, norm: nn.BatchNorm2d, relu6: bool) -> _Layer:
    weight = torch.empty_like(conv.weight, requires_grad=False)
    flipped = None
    if conv.stride == (1, 1) and conv.kernel_size[0] == 2 * int(conv.padding[0]) + 1 > 1:
        shape = weight.shape if conv.groups > 1 else weight.transpose(0, 1).shape
        flipped = torch.empty(shape, dtype=weight.dtype, device=weight.device, memory_format=torch.channels_last)
    return _Layer(conv, norm, relu6, False, False, weight, torch.empty_like(norm.bias, requires_grad=False), flipped)


CACHE_BYTES = 8_000_000
"""Activations of one chunk. Between 2 and 60 MB the speed was the same within noise on an AMD EPYC core."""


def _largest_step(spec: NetworkSpec) -> int:
    """Bytes of the largest input and output of one layer, for one image in float32."""
    _, height, width = spec.input_shape
    largest = 0
    for block in spec.blocks:
        for conv in block.convolutions:
            inputs = conv.in_channels * height * width
            height, width = conv.output_size(height), conv.output_size(width)
            largest = max(largest, inputs + conv.out_channels * height * width)
    return 4 * largest


class AutogradView:
    """View of any module. Switches it to eval mode while it is used, and back."""

    chunk_size = None

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def refold_(self) -> None:
        """Nothing: the network itself is used."""

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """Logits (N, K) of pixels (N, C, H, W)."""
        with evaluation_mode(self._network):
            logits: Tensor = self._network(x)
        return logits

    def gradient(self, x: Tensor, slope: Slope) -> tuple[Tensor, Tensor]:
        """Logits, and the gradient of the loss by the pixels."""
        with evaluation_mode(self._network), torch.enable_grad():
            x = x.detach().requires_grad_()
            logits: Tensor = self._network(x)
            (gradient,) = torch.autograd.grad(logits, x, slope(logits.detach()))
        return logits.detach(), gradient
