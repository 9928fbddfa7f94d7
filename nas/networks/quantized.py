"""Modules whose weights or outputs are rounded, in place of those of a network (nas/networks/treatments/quantize.py).

Each is a subclass of what it replaces, with its parameters and their names: weights are kept in float, and rounded in
every pass. What is rounded is what an integer network stores between its operators: the output of every convolution
(with its batch-norm and ReLU6), of every sum, and the averages that the classifier takes.
"""

import copy
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.networks.grids import (
    FLOAT_BITS,
    RELU6_RANGE,
    WeightGrid,
    levels_of,
    range_factor,
    rounded_values,
    rounded_weight,
)
from search_spaces.blocks import Shortcut

Step = Tensor | float
"""Distance of two neighbours of a grid: a number, or on a GPU, which nothing shall wait for, a tensor ()."""


class Switch:
    """Whether quantization has begun, as the treatment that it belongs to says. No module: it owns nothing."""

    def __init__(self, treatment: Any) -> None:
        self._treatment = treatment

    @property
    def is_on(self) -> bool:
        """Reads no tensor where quantization begins with the training."""
        return self._treatment.start == 0 or bool(self._treatment.begun)

    @property
    def spread(self) -> Tensor:
        """Width () of the interval around 1/2 that noise is drawn from now, from 1 down to 0."""
        spread: Tensor = self._treatment.spread
        return spread


class Rounding:
    """What rounds a tensor to low · step … high · step."""

    low: int
    high: int
    switch: Switch

    @property
    def step(self) -> Step:
        """Step of the grid."""
        raise NotImplementedError

    def rounded(self, x: Tensor) -> Tensor:
        """`x` on the grid; as it is before quantization has begun."""
        return rounded_values(x, self.step, self.low, self.high) if self.switch.is_on else x


LEAST_ROOT = 1e-20
"""Root mean square of values that are all 0, for a step that can be divided by."""


class RunningRange(Rounding):
    """Rounding to a range that follows the root mean square of the values seen in training mode.

    `mean_square` () moves only after a step of the optimiser (`move_`), so that all passes of a step have one grid.
    """

    mean_square: Tensor
    seen: Tensor
    training: bool

    def _begin_(self, bits: int, signed: bool) -> None:
        assert isinstance(self, nn.Module)
        self.high = 2 ** (bits - signed) - 1
        self.low = -self.high if signed else 0
        self.factor = range_factor(self.high) / self.high
        self.register_buffer("mean_square", torch.ones(()))  # what batch-norm makes
        self.register_buffer("seen", torch.zeros(2), persistent=False)

    @property
    def step(self) -> Step:
        """Factor · √mean_square, above 0 even where all values were 0."""
        if self.mean_square.device.type == "cpu":
            return float(max(self.mean_square.item() ** 0.5, LEAST_ROOT) * self.factor)
        return self.mean_square.sqrt().clamp_min(LEAST_ROOT) * self.factor

    def observed(self, x: Tensor) -> Tensor:
        """`x` on the grid; in training mode, it counts for the next one."""
        if self.training:
            self.observe_(x.detach())
        return self.rounded(x)

    def observe_(self, x: Tensor, unit: Step = 1.0, batches: int = 1) -> None:
        """Adds the mean square of x · unit, the values of so many batches of one size."""
        mean = torch.linalg.vector_norm(x).square_() * (unit * unit * (batches / x.numel()))
        self.seen[0].add_(mean)
        self.seen[1].add_(batches)

    @torch.no_grad()
    def move_(self, momentum: float) -> None:
        """Moves the mean square by the share `momentum` towards that of the values seen since the last call."""
        total, batches = self.seen.unbind()
        change = (total / batches.clamp_min(1) - self.mean_square) * (momentum * batches.clamp_max(1))
        self.mean_square.add_(change)
        self.seen.zero_()


M = TypeVar("M", bound=Any)


def _become(module: nn.Module, kind: type[M], switch: Switch) -> M:
    """`module` as one of the subclass `kind`, in place: its parameters, and their names, stay where they are."""
    module.__class__ = kind
    made = cast(M, module)
    made.switch = switch
    return made


class QuantConv2d(nn.Conv2d):
    """A convolution with rounded weights.

    `input_scale` (1, I, 1, 1) divides the weights while they are rounded: the standard deviations by which the images
    were divided, which deployment folds into this kernel. `noise` in [0, 1), shaped as the weight, rounds it in
    training mode.
    """

    grid: WeightGrid
    switch: Switch
    input_scale: Tensor | None
    noise: Tensor | None

    @classmethod
    def of(
        cls, conv: nn.Conv2d, grid: WeightGrid, input_scale: Tensor | None, noise: Tensor | None, on: Switch
    ) -> None:
        """Makes it of `conv`, in place."""
        made = _become(conv, cls, on)
        made.grid = grid
        made.register_buffer("input_scale", input_scale)
        made.register_buffer("noise", noise)

    def kernel(self, drawn: bool = False) -> Tensor:
        """Weight as the convolution takes it, with its noise where `drawn`; its gradient is that of the weight."""
        if not self.switch.is_on:
            return self.weight
        noise = None
        if drawn and self.noise is not None:
            noise = (self.noise - 0.5) * self.switch.spread + 0.5
        if self.input_scale is None:
            return rounded_weight(self.weight, self.grid, noise)
        return rounded_weight(self.weight / self.input_scale, self.grid, noise) * self.input_scale

    def levels(self) -> Tensor | None:
        """Integers of what is scored (O, I / groups, k_h, k_w); None before quantization has begun."""
        if not self.switch.is_on:
            return None
        return levels_of(self.weight if self.input_scale is None else self.weight / self.input_scale, self.grid)[0]

    def forward(self, x: Tensor) -> Tensor:
        """Output of the convolution with the rounded kernel."""
        out: Tensor = self._conv_forward(x, self.kernel(self.training), self.bias)
        return out


class QuantBatchNorm2d(RunningRange, nn.BatchNorm2d):
    """Batch-norm without an activation behind it, its output rounded."""

    @classmethod
    def of(cls, norm: nn.BatchNorm2d, bits: int, switch: Switch) -> None:
        """Makes it of `norm`, in place."""
        _become(norm, cls, switch)._begin_(bits, signed=True)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised and rounded."""
        return self.observed(nn.BatchNorm2d.forward(self, x))


class QuantReLU6(Rounding, nn.ReLU6):
    """ReLU6 rounded to 2^b levels between 0 and 6."""

    @classmethod
    def of(cls, relu6: nn.Module, bits: int, switch: Switch) -> None:
        """Makes it of `relu6`, in place."""
        made = _become(relu6, cls, switch)
        made.low, made.high = 0, 2**bits - 1

    @property
    def step(self) -> Step:
        """6 / (2^b − 1)."""
        return RELU6_RANGE / self.high

    def forward(self, x: Tensor) -> Tensor:
        """Clamped to [0, 6] and rounded."""
        return self.rounded(x) if self.switch.is_on else nn.ReLU6.forward(self, x)


class QuantShortcut(RunningRange, Shortcut):
    """A block whose sum with its input is rounded."""

    @classmethod
    def of(cls, block: Shortcut, bits: int, switch: Switch) -> None:
        """Makes it of `block`, in place."""
        _become(block, cls, switch)._begin_(bits, signed=True)

    def forward(self, x: Tensor) -> Tensor:
        """Rounded output (N, C', H', W')."""
        return self.observed(Shortcut.forward(self, x))


class QuantLinear(RunningRange, nn.Linear):
    """The classifier with a rounded input and rounded weights; its output stays as it is."""

    grid: WeightGrid
    rounds_input: bool

    @classmethod
    def of(cls, linear: nn.Linear, grid: WeightGrid, bits: int, signed: bool, switch: Switch) -> None:
        """Makes it of `linear`, in place; FLOAT_BITS leave weights or input as they are."""
        made = _become(linear, cls, switch)
        made.grid, made.rounds_input = grid, bits != FLOAT_BITS
        made._begin_(bits if made.rounds_input else 8, signed)

    def kernel(self) -> Tensor:
        """Weight as it is multiplied; its gradient is that of the weight."""
        return rounded_weight(self.weight, self.grid) if self.grid != FLOAT_BITS and self.switch.is_on else self.weight

    def levels(self) -> Tensor | None:
        """Integers of the weight (K, C); None where it is not rounded."""
        return levels_of(self.weight, self.grid)[0] if self.grid != FLOAT_BITS and self.switch.is_on else None

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) of features (N, C)."""
        return F.linear(self.observed(x) if self.rounds_input else x, self.kernel(), self.bias)


ROUNDED_PARTS: dict[type[nn.Module], type[nn.Module]] = {
    QuantConv2d: nn.Conv2d,
    QuantBatchNorm2d: nn.BatchNorm2d,
    QuantReLU6: nn.ReLU6,
    QuantShortcut: Shortcut,
    QuantLinear: nn.Linear,
}
"""Rounding modules, and what each replaces."""


@torch.no_grad()
def degenerate_grids(network: nn.Module, x: Tensor) -> dict[str, str]:
    """What is wrong with the grids of `network` (in eval mode) on the images `x` (N, C, H, W), by the layer's name.

    Weights that are all zero or not finite; steps that are no positive number; values of which more than half lie
    beyond their range; values of which fewer than one in a thousand are others than those of the first image.
    """
    watched, faults = copy.deepcopy(network), {}
    for name, module in watched.named_modules():
        if isinstance(module, QuantConv2d | QuantLinear) and not _carries(module.kernel()):
            faults[name] = "its weights are all zero or not finite"
        elif isinstance(module, Rounding):
            setattr(module, "rounded", _watching(name, module, faults))  # noqa: B010 - a method of its type
    watched(x)
    return faults


def _carries(weight: Tensor) -> bool:
    return bool(weight.isfinite().all() and weight.any())


def _watching(name: str, module: Rounding, faults: dict[str, str]) -> Callable[[Tensor], Tensor]:
    """Rounds as `module` does, and adds what is wrong with its grid to `faults`."""
    rounded = module.rounded

    def watch(x: Tensor) -> Tensor:
        out, step = rounded(x), float(module.step)
        if not 0 < step < torch.inf:
            faults[name] = f"the step of its grid is {step:g}"
            return out
        beyond = x > (module.high + 0.5) * step
        if module.low < 0:
            beyond |= x < (module.low - 0.5) * step
        if (share := float(beyond.double().mean())) > 0.5:
            faults[name] = f"{share:.0%} of its values lie beyond its range"
        elif len(x) > 1 and float((out != out[:1]).double().mean()) < 1e-3:
            faults[name] = "its values are those of one image, whatever the image"
        return out

    return watch
