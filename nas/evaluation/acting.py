"""Where a threat acts: on the inputs of the network, or on the waveforms that these were computed from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from nas.attacks.threat import ThreatModel
from nas.base.errors import UsageError
from nas.data.split import Split
from nas.networks.through import Composed, Through
from nas.networks.view import View


@dataclass(frozen=True)
class Target:
    """What is scored under a threat: points, and the network as it sees them."""

    network: nn.Module
    view: View
    split: Split
    twin: View | None = None
    """Of a quantized network, the same weights without rounding."""


@dataclass
class Targets:
    """What a network is under each threat. Waveforms are read once, and only where a threat acts on them."""

    inputs: Target
    _waveforms: Target | None = field(default=None, init=False)

    def under(self, threat: ThreatModel) -> Target:
        """Target of `threat`. Raises UsageError or DataError where there are no waveforms to act on.

        At waveforms the network takes the features that the front end gives, in float32 and not rounded: those that it
        was trained on are at most half of a stored step, 1/510, from them.
        """
        if threat.acts_on == "inputs":
            return self.inputs
        if self._waveforms is None:
            network, view, split, twin = (
                self.inputs.network, self.inputs.view, self.inputs.split, self.inputs.twin
            )  # fmt: skip
            check_origin(split, "threat")
            assert split.origin is not None
            front_end = split.origin.front_end().to(split.images.device)
            self._waveforms = Target(
                Composed(front_end, network), Through(view, front_end), split.at_origin(),
                None if twin is None else Through(twin, front_end),
            )  # fmt: skip
        return self._waveforms


def check_threats(own: ThreatModel, further: Mapping[str, ThreatModel], split: Split) -> None:
    """Raises UsageError where a threat of a config has nothing to act on in `split`, or allows more than there is."""
    for name, threat in {"threat": own, **{f"evaluation.threats.{name}": one for name, one in further.items()}}.items():
        if threat.acts_on == "waveforms":
            check_origin(split, name)
            assert split.origin is not None
            threat.check_fits(split.origin.shape, name)
        else:
            threat.check_fits(split.images.shape[1:], name)


def check_origin(split: Split, name: str) -> None:
    """Raises UsageError, with the field `name`, where `split` comes from no waveforms."""
    if split.origin is None:
        raise UsageError(
            f"{name}.acts_on: waveforms are those of recordings (data set speech_folder), which these images are not; "
            f"leave it out"
        )
