"""Formats that a network is exported to: what each writes, and how what it wrote is run."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from nas.base.errors import UsageError
from nas.export.c_code import INFERENCE, arena_of, c_header, inference_source
from nas.export.integers import IntNetwork
from nas.export.onnx_files import onnx_float, onnx_int8
from nas.export.running import ForwardView, opened, simulated_view
from nas.export.sources.robust_tiny_torch import load
from nas.export.tflite import tflite_file
from nas.export.torch_file import LOADER, loader_source, torch_bytes
from nas.networks.plain import PlainNetwork


@dataclass(frozen=True)
class Content:
    """What a format makes of a network."""

    file: bytes
    beside: Mapping[str, bytes] = field(default_factory=dict)
    """Further files by name, for the same folder."""
    operators: tuple[str, ...] = ()
    """Of a TFLite file, in the order they run."""
    arena_bytes: int | None = None
    """Memory for the tensors of one image, where the format fixes it."""


@dataclass(frozen=True)
class FileFormat:
    """One way to write a network."""

    file_name: str
    """Default name."""
    is_int8: bool
    write: Callable[[PlainNetwork, IntNetwork | None, Mapping[str, str]], Content]
    run: Callable[[Path, IntNetwork | None], ForwardView]
    """View of the written file; C code is run as its simulation, which the tests compare bit for bit."""


def _int8(network: IntNetwork | None) -> IntNetwork:
    assert network is not None, "an int8 format is given the integer network"
    return network


def _tflite(_: PlainNetwork, network: IntNetwork | None, facts: Mapping[str, str]) -> Content:
    found = tflite_file(_int8(network), json.dumps(dict(facts)))
    return Content(found.content, operators=found.operators, arena_bytes=found.arena_bytes)


def _c(_: PlainNetwork, network: IntNetwork | None, facts: Mapping[str, str]) -> Content:
    text = "\n".join(f"{name}: {value}" for name, value in facts.items())
    header = c_header(_int8(network), text).encode()
    return Content(header, {INFERENCE: inference_source()}, arena_bytes=arena_of(_int8(network)).size)


def _torch_view(path: Path) -> ForwardView:
    network = load(str(path))
    return ForwardView(torch.no_grad()(network), network.facts)


FORMATS: dict[tuple[str, bool], FileFormat] = {
    ("onnx", False): FileFormat(
        "model.onnx", False, lambda plain, _, facts: Content(onnx_float(plain, facts)), lambda path, _: opened(path)
    ),
    ("onnx", True): FileFormat(
        "model_int8.onnx",
        True,
        lambda _, network, facts: Content(onnx_int8(_int8(network), facts)),
        lambda path, _: opened(path),
    ),
    ("tflite", True): FileFormat("model.tflite", True, _tflite, lambda path, _: opened(path)),
    ("c", True): FileFormat("network.h", True, _c, lambda _, network: simulated_view(_int8(network))),
    ("torch", False): FileFormat(
        "network.safetensors",
        False,
        lambda plain, _, facts: Content(torch_bytes(plain, facts), {LOADER: loader_source()}),
        lambda path, _: _torch_view(path),
    ),
}
"""By name and whether it is int8."""
NAMES = tuple(dict.fromkeys(name for name, _ in FORMATS))


def format_of(name: str, int8: bool) -> FileFormat:
    """Format `name`; as int8 where `int8` says so or it has no other. Raises UsageError where there is none."""
    found = FORMATS.get((name, int8)) or FORMATS.get((name, True))
    if found is None:
        known = f"allowed: {', '.join(NAMES)}"
        reason = f"format {name} is float only: leave out --int8" if name in NAMES else f"unknown format {name!r}"
        raise UsageError(f"{reason} ({known})")
    return found
