"""From a plain network to integers: grids of the activations, then weights and biases.

What the network rounds itself (treatment `quantize`) keeps its grids and levels, in int8. All else is rounded here:
every tensor's range is its smallest and largest value on the calibration images, 0 included; behind ReLU6 it
begins at 0. A weight's scale is its channel's largest magnitude over 127. (Percentiles of the activations in place of
the extremes kept no more predictions on digits, and adversarial images reach further than clean ones.)
"""

from dataclasses import replace
from math import prod

import numpy as np
import torch
from torch import Tensor

from nas.base.errors import UsageError
from nas.export.integers import (
    HIGH,
    INT8,
    LOW,
    PIXEL_GRID,
    Floats,
    Grid,
    IntConv,
    IntDense,
    IntMean,
    IntNetwork,
    Ints,
    IntSum,
)
from nas.export.levels import Coded, coded, fine_unit, grid_of
from nas.networks.plain import PlainConv, PlainGrid, PlainNetwork, PlainSum, shapes_of, walked

CALIBRATION_IMAGES = 512
"""First training images, in which classes have their overall shares."""
BATCH, BATCH_VALUES = 64, 2**24
"""Images that are walked at once: at most BATCH, and fewer where their tensors have more than BATCH_VALUES values."""
LARGEST_BIAS = 2**29
"""Of an integer bias: what a convolution adds to it stays within 32 bits."""


def quantized(network: PlainNetwork, images: Tensor, fine: bool = False) -> IntNetwork:
    """The integer network of `network`, calibrated on pixels `images` (N, C, H, W) in [0, 1].

    The normalisation is folded into the convolutions that take the image; these are padded with the stored value
    nearest to the mean, which is what the float network's zeros mean there. With `fine`, weights that the network
    rounds itself have units beyond int8, so that biases and products are rounded less: for formats that store levels.
    Raises UsageError where numbers do not fit 32-bit accumulators.
    """
    network = _entered(network)
    ranges = _ranges(network, images)
    if network.levels is not None and network.average_grid is not None:  # one level of each: logits are no finer
        least = network.average_grid.step * float(network.weight.abs().max())
        ranges[-1] = (min(ranges[-1][0], -least), max(ranges[-1][1], least))
    own = [None, *(step.grid for step in network.steps), network.average_grid, None]
    grids = [PIXEL_GRID, *map(_grid, own[1:], ranges[1:])]
    steps: list[IntConv | IntSum | IntMean | IntDense] = []
    for index, step in enumerate(network.steps):
        output = grids[index + 1]
        if isinstance(step, PlainSum):
            steps.append(IntSum(step.left, step.right, output, step.relu6))
        else:
            steps.append(_conv(network, step, grids[step.source], output, fine))
    mean, logits = grids[-2:]
    steps.append(IntMean(len(network.steps), mean, _mean_unit(network)))
    steps.append(_classifier(network, len(steps), mean, logits, fine))
    return IntNetwork(network.spec.input_shape, tuple(steps))


def _mean_unit(network: PlainNetwork) -> int:
    """`IntMean.unit`: 1, but HIGH where the averages have few levels, and the sums stay within 32 bits."""
    grid, count = network.average_grid, prod(shapes_of(network)[-1][1:])
    few = grid is not None and grid.high - grid.low < HIGH - LOW - 1
    return HIGH if few and count * 255 * HIGH < 2**31 else 1


def _classifier(network: PlainNetwork, source: int, mean: Grid, logits: Grid, fine: bool) -> IntDense | IntConv:
    """The linear layer; a 1×1 convolution where its weights are on grids of their own, a scale for each class."""
    bias = network.bias.numpy()
    if network.levels is not None:
        unit = fine_unit(network.levels, logits) if fine else 0
        found = coded(network.weight.numpy(), network.levels, np.abs(bias) / (mean.scale * LARGEST_BIAS), unit)
        biases = _biases(found, bias, mean, logits, "the classifier")
        border = np.full(network.weight.shape[1], mean.zero, np.int8)
        weight = found.weight[:, :, None, None]
        return IntConv(source, weight, found.scales, biases, (1, 1), (0, 0), 1, border, logits, False, found.coding)
    largest = float(network.weight.abs().max()) / HIGH
    scale = float(np.float32(max(largest, float(network.bias.abs().max()) / (mean.scale * LARGEST_BIAS)))) or 1.0
    weight = np.clip(np.rint(network.weight.numpy() / scale), -HIGH, HIGH).astype(np.int8)
    whole = np.rint(bias / (scale * mean.scale)).astype(np.int64)
    _check_fits(weight, whole, scale * mean.scale / logits.scale, "the classifier")
    return IntDense(source, weight, scale, whole.astype(np.int32), logits)


def _entered(network: PlainNetwork) -> PlainNetwork:
    """`network` with a first step that normalises, where a sum takes the image itself: it cannot be folded there.

    Convolutions take its output, too, but for those whose weights are on grids that hold for pixels only.
    """
    if not any(isinstance(step, PlainSum) and 0 in (step.left, step.right) for step in network.steps):
        return network
    channels = len(network.mean)
    first = PlainConv(
        0, torch.ones(channels, 1, 1, 1, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64),
        (1, 1), (0, 0), channels, relu6=False,
    )  # fmt: skip
    moved = (
        replace(step, left=step.left + 1, right=step.right + 1)
        if isinstance(step, PlainSum)
        else replace(step, source=step.source + (step.source > 0 or step.levels is None))
        for step in network.steps
    )
    return replace(network, steps=(first, *moved))


@torch.no_grad()
def _ranges(network: PlainNetwork, images: Tensor) -> list[tuple[float, float]]:
    """Smallest and largest value of every tensor, of the averages and of the logits."""
    found: list[tuple[float, float]] = []
    values = sum(prod(shape) for shape in shapes_of(network))
    for part in torch.split(images, max(1, min(BATCH, BATCH_VALUES // values))):
        here = [(float(tensor.min()), float(tensor.max())) for tensor in walked(network, part)]
        found = [(min(a, c), max(b, d)) for (a, b), (c, d) in zip(found, here, strict=True)] if found else here
    return found


def _grid(own: PlainGrid | None, found: tuple[float, float]) -> Grid:
    """The network's own grid, or 256 levels of the range `found`, extended to hold 0, which one of them stands for."""
    if own is not None:
        return grid_of(own)
    low, high = min(found[0], 0.0), max(found[1], 0.0)
    scale = float(np.float32(max(high - low, 1e-6) / (HIGH - LOW)))
    return Grid(scale, int(np.clip(round(LOW - low / scale), LOW, HIGH)))


def _conv(network: PlainNetwork, step: PlainConv, source: Grid, output: Grid, fine: bool) -> IntConv:
    weight, bias = step.weight.numpy(), step.bias.numpy()
    border = np.full(weight.shape[1] * step.groups, source.zero, np.int8)
    if step.source == 0:
        weight, bias, border = _with_normalisation(network, step)
    least = np.abs(bias) / (source.scale * LARGEST_BIAS)
    if step.levels is None:
        found = _to_int8(weight, least)
    else:
        found = coded(weight, step.levels, least, fine_unit(step.levels, output) if fine else 0)
    biases = _biases(found, bias, source, output, "a convolution")
    return IntConv(
        step.source, found.weight, found.scales, biases, step.stride, step.padding, step.groups, border, output,
        step.relu6, found.coding,
    )  # fmt: skip


def _to_int8(weight: Floats, least: Floats) -> Coded:
    """Weights (O, …) of 8 bits, with scales (O,) of at least `least`."""
    scales = np.maximum(np.abs(weight).max((1, 2, 3)) / HIGH, least).astype(np.float32)
    scales[scales == 0] = 1  # neither weights nor a bias
    whole = scales.astype(np.float64)[:, None, None, None]
    return Coded(np.clip(np.rint(weight / whole), -HIGH, HIGH).astype(np.int8), scales, INT8)


def _biases(found: Coded, bias: Floats, source: Grid, output: Grid, name: str) -> Ints:
    """int32 biases in steps of input times weight. Raises UsageError where accumulators do not fit."""
    whole = found.scales.astype(np.float64)
    biases = np.rint(bias / (whole * source.scale)).astype(np.int64)
    _check_fits(found.weight, biases, whole * source.scale / output.scale, name)
    return biases.astype(np.int32)


def _with_normalisation(network: PlainNetwork, step: PlainConv) -> tuple[Floats, Floats, Ints]:
    """Weights and bias for pixels in place of normalised ones, and the stored value nearest to each channel's mean.

    w · (x − m) / s = (w / s) · x − Σ (w / s) · m.
    """
    mean, std = network.mean.numpy(), network.std.numpy()
    levels = np.clip(np.rint(mean * 255), 0, 255)
    per_channel = (-1, 1, 1, 1) if step.groups > 1 else (1, -1, 1, 1)
    weight = step.weight.numpy() / std.reshape(per_channel)
    bias = step.bias.numpy() - (weight * mean.reshape(per_channel)).sum((1, 2, 3))
    return weight, bias, (levels + LOW).astype(np.int8)


def _check_fits(weight: Ints, bias: Ints, multiplier: Floats | float, name: str) -> None:
    """Raises UsageError where an accumulator, shifted as the multiplier needs it, passes 32 bits."""
    axes = tuple(range(1, weight.ndim))
    largest = 255 * np.abs(weight.astype(np.int64)).sum(axes) + np.abs(bias)
    if (largest * np.maximum(np.exp2(np.ceil(np.log2(multiplier))), 1) >= 2**31).any():
        raise UsageError(
            f"the weights of {name} are too large for 32-bit accumulators (a multiplier of {np.max(multiplier):.3g}); "
            "train with more weight decay, or export float ONNX"
        )
