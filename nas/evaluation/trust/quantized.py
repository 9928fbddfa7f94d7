"""Checks of quantized networks: their grids hold what the layers give, and their float twin finds no more."""

import torch

from nas.base.records import Check
from nas.evaluation.float_twin import TWIN
from nas.evaluation.trust.probe import Probe, exceeds, verdict
from nas.networks.quantized import degenerate_grids


@torch.no_grad()
def grids(probe: Probe) -> Check:
    """No layer's weights or values are lost on their grid: ranges neither far too small nor far too large."""
    faults = degenerate_grids(probe.network, probe.x)
    first = next((f"{name}: {fault}" for name, fault in faults.items()), "")
    return verdict(
        "grids", not faults,
        "every layer's weights and values fit their grids",
        f"grids of {len(faults)} layers are degenerate (first: {first}): gradients behind them mean little",
        {"layers": len(faults)},
    )  # fmt: skip


def transfer(probe: Probe) -> Check:
    """Adversarial images of the float twin break hardly more images than the attacks on the network itself."""
    count = len(probe.scores.robust)
    more = sum(rung.broken for rung in probe.ladder if rung.attack.get("source") == TWIN)
    return verdict(
        "transfer", not exceeds(more, count),
        "adversarial images of its float twin find hardly more",
        f"adversarial images of its float twin break {more} of {count} images that attacks by its own gradients "
        f"could not: gradients are masked",
        {"broken": more, "images": count},
    )  # fmt: skip
