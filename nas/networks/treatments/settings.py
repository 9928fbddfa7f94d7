"""Settings of all treatments. Without torch: a config is read without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from nas.base.registry import ChosenFrom
from nas.base.settings import Settings

if TYPE_CHECKING:
    from nas.networks.treatments.treatment import Treatment


class FrozenZeros(Settings):
    """A fixed random share of the output channels of every convolution has weights of zero."""

    name: Literal["frozen_zeros"] = "frozen_zeros"
    share: float = Field(0.25, ge=0, lt=1)
    """Share of the channels, rounded down in each layer."""

    def make(self) -> Treatment:
        """A treatment of one network."""
        from nas.networks.treatments.frozen_zeros import ZeroMasks

        return ZeroMasks(self.share)


def weight_bits(grid: int | str) -> int:
    """Bits that one weight on `grid` takes: a number of them, "ternary" or "binary"."""
    return grid if isinstance(grid, int) else {"ternary": 2, "binary": 1}[grid]


class Quantize(Settings):
    """Weights and activations of few bits, as an integer network has them, from a share of the training on."""

    name: Literal["quantize"] = "quantize"
    weights: int | Literal["ternary", "binary"] = 8
    """Bits of a weight with batch-norm folded in, 2 to 8 (2: four levels), ternary (2 bits), binary (1 bit) or 32
    (float); each output channel has a scale. A block's own bits (`bits`) come first."""
    activations: int = 8
    """Bits of what is stored between layers, 2 to 8 or 32 (float). A block's own bits come first."""
    stochastic: bool = False
    """Whether ternary weights are drawn in every training step, zero or not with a probability that grows with their
    size; less and less so towards the end, as what is scored is not drawn."""
    start: float = Field(0.0, ge=0, le=1)
    """Share of the training after which it rounds: 0 throughout, so that robustness is trained while quantized; 1 for
    what is scored only, so that it is trained before."""
    momentum: float = Field(0.1, gt=0, le=1)
    """Share of a step's values in the running ranges of tensors without ReLU6."""

    @field_validator("weights", "activations")
    @classmethod
    def _possible_bits(cls, value: int | str, info: ValidationInfo) -> int | str:
        if isinstance(value, int) and not (2 <= value <= 8 or value == 32):
            raise ValueError(f"{info.field_name}: 2 to 8 bits, or 32 for float [got {value}]")
        return value

    @model_validator(mode="after")
    def _noise_is_of_ternary_weights(self) -> Quantize:
        if self.stochastic and self.weights != "ternary":
            raise ValueError(f"stochastic: only ternary weights are drawn [got weights: {self.weights}]")
        return self

    @property
    def weight_bits(self) -> int:
        """Bits of a stored weight."""
        return weight_bits(self.weights)

    def stage(self, method: str, natural_until: float = 0.0) -> str:
        """When a training by `method` trains robustness, in words; not for the share `natural_until` of it."""
        if method == "natural":
            return "never"
        natural = f"natural training until {natural_until:.0%}"
        if natural_until and self.start <= natural_until:
            return f"after quantizing ({natural}, quantized from {self.start:.0%} on)"
        later = f", after {natural}" if natural_until else ""
        if self.start in (0, 1):
            return ("while quantized" if self.start == 0 else "before quantizing") + later
        return f"before quantizing, then while quantized from {self.start:.0%} of the training on{later}"

    def make(self) -> Treatment:
        """A treatment of one network."""
        from nas.networks.treatments.quantize import Quantizer

        return Quantizer(self.weights, self.activations, self.stochastic, self.start, self.momentum)


class Prune(Settings):
    """Weights or hidden channels that become zero in the course of the training, up to a target share, and stay so."""

    name: Literal["prune"] = "prune"
    sparsity: float = Field(0.5, ge=0, le=0.99)
    """Share of the weights of all convolutions and the classifier that are zero at the end, ranked together; of
    channels, the share of each block's hidden ones, rounded down. A block's own (`sparsity`) comes first."""
    of: Literal["weights", "channels"] = "weights"
    """weights: single ones, which saves bytes where they are stored sparsely. channels: those between the convolutions
    of a block, and those of the head; an exported network is smaller by them, and faster."""
    by: Literal["magnitude", "l1", "scores"] = "magnitude"
    """magnitude: what matters least, by LAMP (Lee 2021), or of channels by |γ| · norm of what takes them. l1: the same,
    and what stays shrinks, too. scores: learned ones on frozen weights (HYDRA, Sehwag 2020), of weights alone."""
    start: float = Field(0.2, ge=0, lt=1)
    """Share of the training before which nothing is pruned."""
    end: float = Field(0.7, gt=0, le=1)
    """Share of the training at which the sparsity is reached, on a cubic curve (Zhu & Gupta 2017), and stays; what is
    left of the training has fixed masks. scores: the whole sparsity from `start` on, learned until `end`."""

    bits: int = Field(32, ge=1, le=32)
    """Of a stored weight, for sparse_weight_bytes: as deployment.weight_bits. A `quantize` treatment has its own."""

    @model_validator(mode="after")
    def _can_be_done(self) -> Prune:
        if self.start >= self.end:
            raise ValueError(f"start must be less than end [got {self.start:g} and {self.end:g}]")
        if self.by == "scores" and self.of == "channels":
            raise ValueError("by: scores are learned of weights, not of channels; allowed here: magnitude, l1")
        return self

    def make(self) -> Treatment:
        """A treatment of one network."""
        from nas.networks.treatments.prune import Pruner

        return Pruner(self.sparsity, self.of, self.by, self.start, self.end, self.bits)


TREATMENTS: dict[str, type[Settings]] = {"frozen_zeros": FrozenZeros, "quantize": Quantize, "prune": Prune}
"""Settings by name; each has `make`, which returns a Treatment."""

TreatmentSettings = Annotated[Settings, ChosenFrom(TREATMENTS, "treatment")]
