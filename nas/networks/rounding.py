"""Rounding in the hand-written passes.

What flows between the layers of a quantized network is in steps of its tensor's grid: integers, in floating point. The
steps are put into the weights (step of the input over step of the output), so that a layer costs one rounding more than
without quantization. Where nothing is rounded, all steps are 1 and the passes are those of the float network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from torch import Tensor
from torch.nn import functional as F

from nas.networks.arithmetic import clamp_back_
from nas.networks.layer import Layer, kernel_of
from nas.networks.quantized import QuantLinear, Rounding, RunningRange, Step
from search_spaces.network import Network


@dataclass(frozen=True)
class TensorGrid:
    """How a tensor is stored: clamped to `low` … `high` steps, then rounded where `rounds`."""

    step: Step
    low: float
    high: float
    rounds: bool

    @property
    def clamps(self) -> bool:
        """Whether there are bounds."""
        return self.high < inf

    def stored(self, values: Tensor, in_place: bool) -> tuple[Tensor, Tensor]:
        """`values`, clamped in place, and what is stored of them: the same tensor, or, not `in_place`, another."""
        if self.clamps:
            values.clamp_(self.low, self.high)
        if not self.rounds:
            return values, values
        return values, values.round_() if in_place else values.round()

    def back_(self, gradient: Tensor, clamped: Tensor) -> None:
        """In place: `gradient` where `clamped` is strictly between the bounds, else 0; rounding is passed through."""
        if self.clamps:
            clamp_back_(gradient, clamped, self.low, self.high)


FREE, RELU6 = TensorGrid(1.0, -inf, inf, False), TensorGrid(1.0, 0, 6, False)


@dataclass(frozen=True)
class LayerGrids:
    """Grids around a layer: that of its input, of its own output, and of the sum where it closes a residual."""

    before: Step
    """Step of the input."""
    own: TensorGrid
    total: TensorGrid | None
    added: Step
    """Step of what is added to the output in the sum."""
    ranges: tuple[RunningRange | None, RunningRange | None] = (None, None)
    """Of the layer's own output and of the sum, where they follow the values."""

    @property
    def gain(self) -> Step:
        """What the folded weight is multiplied by."""
        return self.before / self.own.step

    @property
    def is_float(self) -> bool:
        """Whether nothing is rounded here, nor what comes in."""
        grids = (self.own, self.own if self.total is None else self.total)
        return not any(grid.rounds for grid in grids) and _is_one(self.before) and _is_one(self.added)

    def stored(
        self, output: Tensor, residual: Tensor, in_place: bool, batches: int = 0
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        """Clamped output before the sum (None where it has no bounds or no sum), what is clamped last, what is stored.

        Changes `output`. With `in_place`, nothing is kept for a backward pass: the first two may be rounded. Running
        ranges count the values as so many `batches`.
        """
        own_range, total_range = self.ranges
        if own_range is not None and batches:
            own_range.observe_(output, self.own.step, batches)
        if self.total is None:
            return None, *self.own.stored(output, in_place)
        clamped, output = self.own.stored(output, in_place)
        if self.is_float and total_range is None:
            return None, *self.total.stored(output.add_(residual), in_place)
        output = output * (self.own.step / self.total.step)
        output.add_(residual * (self.added / self.total.step))
        if total_range is not None and batches:
            total_range.observe_(output, self.total.step, batches)
        return clamped if self.own.clamps else None, *self.total.stored(output, in_place)

    def back(self, gradient: Tensor, inner: Tensor | None, last: Tensor) -> tuple[Tensor, Tensor | None]:
        """Gradient by the convolution's output with its batch-norm, and by what was added (None without a sum).

        From the one by what is stored, which is changed; `inner` and `last` are the first two of `stored`.
        """
        (self.own if self.total is None else self.total).back_(gradient, last)
        if self.total is None:
            return gradient, None
        if self.is_float:
            return gradient, gradient
        residual = gradient * (self.added / self.total.step)
        gradient = gradient * (self.own.step / self.total.step)
        if inner is not None:
            self.own.back_(gradient, inner)
        return gradient, residual


def grids_of(layers: Sequence[Layer]) -> tuple[list[LayerGrids], Step]:
    """Grids of all layers as they are now, and the step of the last tensor."""
    found: list[LayerGrids] = []
    before: Step = 1.0
    shortcut: Step = 1.0
    for layer in layers:
        if layer.opens_residual:
            shortcut = before
        own = _grid(layer.rounding, relu6=layer.relu6 and not layer.closes_residual)
        total = _grid(layer.sum_rounding, layer.relu6) if layer.closes_residual else None
        ranges = (_running(layer.rounding), _running(layer.sum_rounding))
        found.append(LayerGrids(before, own, total, shortcut if total else 1.0, ranges))
        if layer.projects:
            shortcut = own.step
        else:
            before = (total or own).step
    return found, before


def _running(rounding: Rounding | None) -> RunningRange | None:
    return rounding if isinstance(rounding, RunningRange) else None


def _is_one(step: Step) -> bool:
    return isinstance(step, float) and step == 1


def _grid(rounding: Rounding | None, relu6: bool) -> TensorGrid:
    if rounding is None or not rounding.switch.is_on:
        return RELU6 if relu6 else FREE
    return TensorGrid(rounding.step, rounding.low, rounding.high, True)


def rounds_any(network: Network, layers: Sequence[Layer]) -> bool:
    """Whether grids may change from step to step: one of `layers`, or the classifier, rounds what it stores."""
    return isinstance(network.classifier, QuantLinear) or any(layer.rounding for layer in layers)


class Head:
    """The classifier, forwards and backwards, for averages (N, C) in steps of the last tensor."""

    def __init__(self, network: Network, step: Step) -> None:
        classifier = network.classifier
        self.weight, self.bias, self._before = kernel_of(classifier).detach(), classifier.bias, step
        self._quant = classifier if isinstance(classifier, QuantLinear) and classifier.rounds_input else None
        self.grid = _grid(self._quant, relu6=False)
        """Of what the classifier takes."""
        self._gain = step / self.grid.step
        self._plain = _is_one(step) and not self.grid.rounds

    def taken(self, pooled: Tensor, batches: int = 0) -> tuple[Tensor, Tensor]:
        """Clamped averages in steps of their grid, and what the classifier takes; counts them as so many batches."""
        if self._plain and self._quant is None:
            return pooled, pooled
        if self._quant is not None and batches:
            self._quant.observe_(pooled, self._before, batches)
        clamped, rounded = self.grid.stored(pooled * self._gain, in_place=False)
        return clamped, rounded * self.grid.step

    def logits(self, features: Tensor) -> Tensor:
        """Logits (N, K) of what the classifier takes."""
        return F.linear(features, self.weight, self.bias)

    def back(self, slope: Tensor, clamped: Tensor) -> Tensor:
        """Gradient by the averages, from the one by the logits."""
        gradient = slope @ self.weight
        if self._plain:
            return gradient
        self.grid.back_(gradient, clamped)
        return gradient * self._before
