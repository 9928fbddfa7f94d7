"""Settings of all treatments. Without torch: a config is read without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

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


TREATMENTS: dict[str, type[Settings]] = {"frozen_zeros": FrozenZeros}
"""Settings by name; each has `make`, which returns a Treatment."""

TreatmentSettings = Annotated[Settings, ChosenFrom(TREATMENTS, "treatment")]
