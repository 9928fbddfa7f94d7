"""Loads a network that `nas export --format torch` wrote; needs torch and safetensors alone.

network = load("network.safetensors")
logits = network(pixels)  # (N, C, H, W) in [0, 1] to (N, K)

SPDX-License-Identifier: MIT
"""

import json
from typing import Any

from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F


class RobustTiny(nn.Module):
    """Convolutions with batch-norm folded in, ReLU6 and sums; averages; one linear layer."""

    def __init__(self, facts: dict[str, str], tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self.facts = facts
        self.steps: list[dict[str, Any]] = json.loads(facts["steps"])
        for name, values in tensors.items():
            self.register_buffer(name.replace(".", "_"), values)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) of pixels (N, C, H, W) in [0, 1]."""
        get = self.get_buffer
        tensors = [(x - get("mean").view(1, -1, 1, 1)) / get("std").view(1, -1, 1, 1)]
        for index, step in enumerate(self.steps):
            if step["kind"] == "sum":
                out = tensors[step["left"]] + tensors[step["right"]]
            else:
                weight, bias = get(f"conv_{index}_weight"), get(f"conv_{index}_bias")
                out = F.conv2d(
                    tensors[step["source"]], weight, bias, step["stride"], step["padding"], 1, step["groups"]
                )
            tensors.append(out.clamp(0, 6) if step["relu6"] else out)
        features = tensors[-1].mean(dim=(2, 3))
        return F.linear(features, get("classifier_weight"), get("classifier_bias"))


def load(path: str) -> RobustTiny:
    """Network in the file `path`, on the CPU, in eval mode. Its metadata is in `facts`."""
    with safe_open(path, "pt") as file:
        facts = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
    return RobustTiny(facts, tensors).eval().requires_grad_(False)
