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

    def stage(self, natural_until: float = 0.0) -> str:
        """When robustness is trained, in words, where it is not for the share `natural_until` of the training."""
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


TREATMENTS: dict[str, type[Settings]] = {"frozen_zeros": FrozenZeros, "quantize": Quantize}
"""Settings by name; each has `make`, which returns a Treatment."""

TreatmentSettings = Annotated[Settings, ChosenFrom(TREATMENTS, "treatment")]
