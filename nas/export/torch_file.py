"""A float network for PyTorch without this project: safetensors with the graph in its metadata, and a short loader."""

import json
from collections.abc import Mapping
from importlib.resources import files

import safetensors.torch
from torch import Tensor

from nas.networks.plain import PlainNetwork, PlainSum

LOADER = "robust_tiny_torch.py"
"""Module with `load(path)`, written beside the file; it needs torch and safetensors alone."""


def torch_bytes(network: PlainNetwork, facts: Mapping[str, str]) -> bytes:
    """The file: float32 weights with batch-norm folded in; `steps` and `facts` in its metadata."""
    tensors = {"mean": network.mean, "std": network.std}
    steps: list[dict[str, object]] = []
    for index, step in enumerate(network.steps):
        if isinstance(step, PlainSum):
            steps.append({"kind": "sum", "left": step.left, "right": step.right, "relu6": step.relu6})
            continue
        names = ("source", "stride", "padding", "groups", "relu6")
        steps.append({"kind": "conv", **{name: getattr(step, name) for name in names}})
        tensors |= {f"conv_{index}.weight": step.weight, f"conv_{index}.bias": step.bias}
    tensors |= {"classifier.weight": network.weight, "classifier.bias": network.bias}
    stored: dict[str, Tensor] = {name: values.float().contiguous() for name, values in tensors.items()}
    return safetensors.torch.save(stored, {**facts, "steps": json.dumps(steps)})


def loader_source() -> bytes:
    """The loader, a Python module of its own."""
    return files("nas.export").joinpath("sources", LOADER).read_bytes()
