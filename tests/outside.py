"""What a user's own module may add: a space with a block and an activation of its own, a measure and a treatment."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from nas.base.settings import Settings
from nas.measures import MEASURES, Attacked, Measure
from nas.networks.treatments import TREATMENTS
from nas.networks.treatments.treatment import Treatment
from search_spaces import SPACES, BlockSpec, Choice, ConvSpec, NetworkSpec, SearchSpace, SpaceEntry
from search_spaces.blocks import BLOCKS
from search_spaces.spec import CONVOLUTIONS


def silu_convolutions(block: BlockSpec) -> tuple[ConvSpec, ...]:
    return (ConvSpec(block.in_channels, block.out_channels, block.kernel_size, block.stride),)


def silu_block(block: BlockSpec) -> nn.Module:
    (conv,) = block.convolutions
    kernel = nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, bias=False
    )  # fmt: skip
    return nn.Sequential(kernel, nn.BatchNorm2d(conv.out_channels), nn.SiLU())


@dataclass(frozen=True)
class SiluRows:
    """Rows of convolution, batch-norm and SiLU."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    name: Literal["silu_rows"] = "silu_rows"
    widths: tuple[int, ...] = (4, 8)
    rows: int = 2


def spec_of(rows: int, input_shape: tuple[int, int, int], classes: int, values: dict[str, Any]) -> NetworkSpec:
    channels = [input_shape[0], *(values[f"width_{row}"] for row in range(rows))]
    blocks = (BlockSpec("silu", row, channels[row], channels[row + 1], channels[row + 1], 3, 2) for row in range(rows))
    return NetworkSpec(input_shape, classes, tuple(blocks))


def silu_rows(settings: SiluRows, input_shape: tuple[int, int, int], classes: int) -> SearchSpace:
    choices = tuple(Choice(f"width_{row}", settings.widths) for row in range(settings.rows))
    return SearchSpace(
        "silu_rows", choices, input_shape, classes, partial(spec_of, settings.rows, input_shape, classes)
    )


def least_logit(attacked: Attacked) -> torch.Tensor:
    return attacked.adversarial_logits.amin(1)


class Small(Settings):
    """Keeps the classifier's weights within [-largest, largest]."""

    name: Literal["small"] = "small"
    largest: float = 0.05

    def make(self) -> Treatment:
        return SmallClassifier(self.largest)


class SmallClassifier(Treatment):
    steps: torch.Tensor

    def __init__(self, largest: float) -> None:
        super().__init__()
        self.largest = largest

    def prepare_(self, network: Any, generator: torch.Generator) -> None:
        self.register_buffer("steps", torch.zeros(()))

    @torch.no_grad()
    def after_step_(self, network: Any, progress: torch.Tensor) -> None:
        network.classifier.weight.clamp_(-self.largest, self.largest)
        self.steps += 1


CONVOLUTIONS["silu"] = silu_convolutions
BLOCKS["silu"] = silu_block
SPACES["silu_rows"] = SpaceEntry(SiluRows, silu_rows)
TREATMENTS["small"] = Small
MEASURES["least_logit"] = Measure("least_logit", "maximize", "logits", "least logit under attack", 10.0,
                                  compute=least_logit, worst=-20.0, low=-float("inf"))  # fmt: skip
