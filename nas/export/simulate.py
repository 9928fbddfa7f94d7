"""The integer network in numpy, value by value what TFLite's reference kernels compute.

Layout (N, H, W, C), as on the device. Products of a convolution are summed by matrix products of floats, which are
exact as long as no sum passes 2^24 (float32) or 2^53 (float64).
"""

from functools import reduce
from operator import add

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from nas.export.fixed_point import (
    ADD_SHIFT,
    conv_multiplier,
    dense_multiplier,
    mean_multiplier,
    multiplied,
    multiplied_once,
    sum_multipliers,
)
from nas.export.integers import Grid, IntConv, IntDense, IntMean, IntNetwork, Ints, IntStep, IntSum


def simulated(network: IntNetwork, q: Ints) -> Ints:
    """int8 logits (N, K) for images `q`, int8 (N, C, H, W) as `to_levels` gives."""
    return every_tensor(network, q)[-1].reshape(len(q), -1)


def every_tensor(network: IntNetwork, q: Ints) -> list[Ints]:
    """int8 (N, H, W, C) of every tensor for images `q`."""
    grids, tensors = network.grids, [np.ascontiguousarray(q.transpose(0, 2, 3, 1))]
    for step in network.steps:
        tensors.append(_run(step, tensors, grids))
    return tensors


def _run(step: IntStep, tensors: list[Ints], grids: tuple[Grid, ...]) -> Ints:
    if isinstance(step, IntSum):
        return _sum(step, tensors, grids)
    x, grid = tensors[step.source], grids[step.source]
    if isinstance(step, IntMean):
        return _mean(x, grid, step)
    if isinstance(step, IntDense):
        found = x.reshape(len(x), -1).astype(np.int64) - grid.zero
        sums: Ints = (found.astype(np.float64) @ step.weight.T.astype(np.float64)).astype(np.int64) + step.bias
        return _clipped(multiplied_once(sums, dense_multiplier(step, grid)), step.output)[:, None, None]
    padded: Ints = _padded(x, step).astype(np.int16) - grid.zero
    sums = (_depthwise if step.groups > 1 else _convolved)(padded, step)
    return _clipped(multiplied(sums + step.bias, conv_multiplier(step, grid)), step.output)


def _padded(x: Ints, step: IntConv) -> Ints:
    (top, side), (count, height, width, channels) = step.padding, x.shape
    if not top and not side:
        return x
    found = np.empty((count, height + 2 * top, width + 2 * side, channels), np.int8)
    found[:] = step.border
    found[:, top : top + height, side : side + width] = x
    return found


def _windows(x: Ints, step: IntConv) -> Ints:
    """(N, H', W', C, k_h, k_w) of padded `x`, without a copy."""
    found = sliding_window_view(x, step.weight.shape[2:], axis=(1, 2))
    return found[:, :: step.stride[0], :: step.stride[1]]


def _convolved(x: Ints, step: IntConv) -> Ints:
    largest = 255 * int(np.abs(step.weight.astype(np.int64)).sum((1, 2, 3)).max())
    kind = np.float32 if largest < 2**24 else np.float64
    windows = _windows(x.astype(kind), step)
    rows = windows.reshape(-1, step.weight[0].size)
    sums = rows @ step.weight.reshape(len(step.weight), -1).T.astype(kind)
    found: Ints = sums.astype(np.int64).reshape(*windows.shape[:3], -1)
    return found


def _depthwise(x: Ints, step: IntConv) -> Ints:
    windows, weight = _windows(x.astype(np.int32), step), step.weight[:, 0].astype(np.int32)
    rows, columns = weight.shape[1:]
    found: Ints = reduce(add, (windows[..., i, j] * weight[:, i, j] for i in range(rows) for j in range(columns)))
    return found


def _sum(step: IntSum, tensors: list[Ints], grids: tuple[Grid, ...]) -> Ints:
    left, right = grids[step.left], grids[step.right]
    first, second, both = sum_multipliers(left, right, step.output)
    scaled = [
        multiplied((tensors[tensor].astype(np.int64) - grid.zero) << ADD_SHIFT, by)
        for tensor, grid, by in ((step.left, left, first), (step.right, right, second))
    ]
    return _clipped(multiplied(scaled[0] + scaled[1], both), step.output)


def _mean(x: Ints, grid: Grid, step: IntMean) -> Ints:
    count = x.shape[1] * x.shape[2]
    sums = (x.astype(np.int64) - grid.zero).sum((1, 2), keepdims=True) * step.unit
    return _clipped(multiplied(sums, mean_multiplier(grid, step.output, count, step.unit)), step.output)


def _clipped(values: Ints, output: Grid) -> Ints:
    return np.clip(values + output.zero, output.low, output.high).astype(np.int8)
