"""Where a threat acts: on the inputs of the network, or on what these come from: waveforms, codes of a manifold."""

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
    """What a network is under each threat. Origins are read once, and only where a threat acts on them."""

    inputs: Target
    _others: dict[str, Target] = field(default_factory=dict, init=False)

    def under(self, threat: ThreatModel) -> Target:
        """Target of `threat`. Raises UsageError or DataError where there is nothing for it to act on.

        At waveforms the network takes the features that the front end gives, in float32 and not rounded: those that it
        was trained on are at most half of a stored step, 1/510, from them. On a manifold it takes what the decoder
        makes of a code, so its natural accuracy there is that on reconstructed images.
        """
        place = threat.acts_on
        if place == "inputs":
            return self.inputs
        if place not in self._others:
            network, view, split, twin = (
                self.inputs.network, self.inputs.view, self.inputs.split, self.inputs.twin
            )  # fmt: skip
            check_origin(split, place, "threat")
            front_end = split.origins[place].front_end().to(split.images.device)
            self._others[place] = Target(
                Composed(front_end, network), Through(view, front_end), split.at_origin(place),
                None if twin is None else Through(twin, front_end),
            )  # fmt: skip
        return self._others[place]


def check_threats(own: ThreatModel, further: Mapping[str, ThreatModel], split: Split) -> None:
    """Raises UsageError where a threat of a config has nothing to act on in `split`, or allows more than there is."""
    for name, threat in {"threat": own, **{f"evaluation.threats.{name}": one for name, one in further.items()}}.items():
        if threat.acts_on == "manifold":
            continue  # it is made later, and the config says that there is one
        if threat.acts_on != "inputs":
            check_origin(split, threat.acts_on, name)
            threat.check_fits(split.origins[threat.acts_on].shape, name)
        else:
            threat.check_fits(split.images.shape[1:], name)


def check_origin(split: Split, place: str, name: str) -> None:
    """Raises UsageError, with the field `name`, where `split` has no origin `place`."""
    if place not in split.origins:
        raise UsageError(f"{name}.acts_on: {MISSING[place]}")


MISSING = {
    "waveforms": "waveforms are those of recordings (data set speech_folder), which these images are not; leave it out",
    "manifold": "these images have no codes on a manifold: a run with `manifold: {name: pca}` makes one, in its "
    "folder, and a network retrained in it has a copy (manifold.safetensors); restore it, or leave the threat out",
}
"""What is wrong where an origin is not there."""
