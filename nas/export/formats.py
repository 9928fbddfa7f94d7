"""Formats that a network is exported to: what each writes, and how what it wrote is run."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from nas.base.errors import UsageError
from nas.export.c_code import arena_of, c_header, inference_sources
from nas.export.integers import IntConv, IntNetwork
from nas.export.onnx_files import onnx_float, onnx_int8, stored_bits
from nas.export.running import ForwardView, opened, simulated_view
from nas.export.sources.robust_tiny_torch import load
from nas.export.tflite import tflite_file
from nas.export.torch_file import LOADER, loader_source, torch_bytes
from nas.networks.plain import PlainNetwork


@dataclass(frozen=True)
class Storage:
    """How weights of less than 8 bits are stored."""

    text: str
    num_bytes: int
    """Of weights, biases and scales."""


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
    weights: Storage | None = None
    """Of a network of less than 8 bits."""


@dataclass(frozen=True)
class FileFormat:
    """One way to write a network."""

    file_name: str
    """Default name."""
    is_int8: bool
    write: Callable[[PlainNetwork, IntNetwork | None, Mapping[str, str]], Content]
    run: Callable[[Path, IntNetwork | None], ForwardView]
    """View of the written file; C code is run as its simulation, which the tests compare bit for bit."""
    is_fine: bool = False
    """Whether it stores levels of weights, so that `quantized` may be `fine`."""


def _int8(network: IntNetwork | None) -> IntNetwork:
    assert network is not None, "an int8 format is given the integer network"
    return network


def _float(network: PlainNetwork) -> PlainNetwork:
    """`network`, for a format of floats. Raises UsageError where it rounds activations, which such a file would not."""
    if network.rounds_activations:
        raise UsageError(
            "the network is quantized (treatment quantize): a float file would be another function; choose --format "
            "onnx --int8, --format tflite or --format c, which keep its grids"
        )
    return network


def _storage(network: IntNetwork, bits: Callable[[IntConv], int], text: str) -> Storage | None:
    """With `bits` of each convolution's weights, which `text` gets as its {}; None where there is nothing to say."""
    if not network.is_packed:
        return None
    return Storage(
        text.format(", ".join(map(str, sorted({bits(step) for step in network.steps if isinstance(step, IntConv)})))),
        network.weight_bytes_with(bits),
    )


def _tflite(_: PlainNetwork, network: IntNetwork | None, facts: Mapping[str, str]) -> Content:
    integers = _int8(network)
    found = tflite_file(integers, json.dumps(dict(facts)))
    weights = _storage(integers, lambda _: 8, "int8, of few levels")
    return Content(found.content, operators=found.operators, arena_bytes=found.arena_bytes, weights=weights)


def _onnx_int8(_: PlainNetwork, network: IntNetwork | None, facts: Mapping[str, str]) -> Content:
    integers = _int8(network)
    return Content(onnx_int8(integers, facts), weights=_storage(integers, stored_bits, "integers of {} bits"))


def _c(_: PlainNetwork, network: IntNetwork | None, facts: Mapping[str, str]) -> Content:
    text = "\n".join(f"{name}: {value}" for name, value in facts.items())
    integers = _int8(network)
    header = c_header(integers, text).encode()
    weights = _storage(integers, lambda step: step.coding.bits, "packed, {} bits")
    return Content(header, inference_sources(integers), arena_bytes=arena_of(integers).size, weights=weights)


def _torch_view(path: Path) -> ForwardView:
    network = load(str(path))
    return ForwardView(torch.no_grad()(network), network.facts)


FORMATS: dict[tuple[str, bool], FileFormat] = {
    ("onnx", False): FileFormat(
        "model.onnx",
        False,
        lambda plain, _, facts: Content(onnx_float(_float(plain), facts)),
        lambda path, _: opened(path),
    ),
    ("onnx", True): FileFormat("model_int8.onnx", True, _onnx_int8, lambda path, _: opened(path), True),
    ("tflite", True): FileFormat("model.tflite", True, _tflite, lambda path, _: opened(path)),
    ("c", True): FileFormat("network.h", True, _c, lambda _, network: simulated_view(_int8(network)), True),
    ("torch", False): FileFormat(
        "network.safetensors",
        False,
        lambda plain, _, facts: Content(torch_bytes(_float(plain), facts), {LOADER: loader_source()}),
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
