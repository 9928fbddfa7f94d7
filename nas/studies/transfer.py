"""How adversarial images of one network fool another: between a supernet and its subnets (TAM-NAS 2021)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from nas.attacks.result import Attack, AttackResult
from nas.attacks.threat import Threat, ThreatModel
from nas.attacks.transfer import Transfer
from nas.data.split import Split
from nas.evaluation import wilson_interval


@dataclass(frozen=True)
class _Made:
    """`attack` with what it has already found: its images are tried on many networks and made once."""

    attack: Attack
    result: AttackResult

    def describe(self, threat: Threat) -> dict[str, Any]:
        return self.attack.describe(threat)

    def run(self, *_: object) -> AttackResult:
        return self.result

    def reach(self, threat: Threat) -> float:
        return self.attack.reach(threat)

    def passes(self, num_classes: int) -> float:
        return 0.0


def transfer_matrix(
    networks: Mapping[str, nn.Module],
    split: Split,
    threat: ThreatModel,
    attack: Attack,
    generator: Callable[[str], torch.Generator],
    report: Callable[[str], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """A row for each pair of `networks` (in eval mode): accuracy of `target` on images made against `source`.

    Where both are the same, the attack itself; else its last images, in which an image that the target gets wrong when
    clean counts as fooled (`Transfer`). With a 95 % Wilson interval over the images of `split`. Every source's images
    come from the same noise, `generator(source)`. `report` gets each source that is done.
    """
    x, labels = split.inputs(), split.labels
    rows = []
    for source, made_on in networks.items():
        made = attack.run(made_on, x, labels, threat, generator(source))
        for target, network in networks.items():
            tried = Transfer(made_on, _Made(attack, made))
            result = made if source == target else tried.run(network, x, labels, threat, generator(source))
            standing = int((~result.fooled).sum())
            interval = wilson_interval(standing, len(labels))
            rows.append({
                "source": source, "target": target, "accuracy": standing / len(labels), "low": interval.low,
                "high": interval.high, "images": len(labels),
            })  # fmt: skip
        report(source)
    return rows
