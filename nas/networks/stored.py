"""Weights on disk: safetensors, written atomically, never unpickled. Round trips are bit-exact."""

from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor, nn

from nas.base.errors import CheckpointError
from nas.base.files import write_atomic


def save_weights(path: Path, network: nn.Module, facts: Mapping[str, str] | None = None) -> None:
    """Writes parameters and buffers of `network`, those of its treatments included, to `path`; `facts` beside them."""
    save_tensors(path, tensors_of(network), facts)


def load_weights(path: Path, network: nn.Module) -> None:
    """Fills `network` with the weights of `path`.

    Raises CheckpointError where the file is missing, damaged or does not fit the network.
    """
    fill_(network, read_weights(path), path)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of `path` by name, on the CPU. Raises CheckpointError where the file is missing or damaged."""
    try:
        return safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise CheckpointError(f"no weights at {path}") from None
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged or not a safetensors file ({error})") from error


def save_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, str] | None = None) -> None:
    """Writes `tensors`, from whatever device, and `facts` to `path`, atomically."""
    whole = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, safetensors.torch.save(whole, None if facts is None else dict(facts)))


def tensors_of(network: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """Parameters and buffers of `network` by name, live, each name behind `prefix`."""
    return {f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}


def not_finite(network: nn.Module) -> list[str]:
    """Names of the tensors of `network` that hold a value that is not finite."""
    return [name for name, tensor in network.state_dict().items() if not tensor.isfinite().all()]


def fill_(network: nn.Module, source: Mapping[str, Tensor], path: Path, prefix: str = "") -> None:
    """Copies every tensor of `source` (read from `path`) under `prefix` into the same name of `network`, in place.

    Raises CheckpointError where names or shapes differ.
    """
    target = network.state_dict()
    found = {name.removeprefix(prefix): tensor for name, tensor in source.items() if name.startswith(prefix)}
    shapes = {name: tuple(tensor.shape) for name, tensor in target.items()}
    others = {name: tuple(tensor.shape) for name, tensor in found.items()}
    if shapes != others:
        differing = sorted(name for name in shapes.keys() | others.keys() if shapes.get(name) != others.get(name))
        name = differing[0]
        raise CheckpointError(
            f"{path} holds another network: {len(differing)} tensors differ, first {name} "
            f"(file {others.get(name, 'none')}, network {shapes.get(name, 'none')})"
        )
    for name, tensor in found.items():
        target[name].copy_(tensor)


def fill_foreign_(network: nn.Module, path: Path) -> None:
    """Fills a network that is not of this project with the safetensors file `path`, as torch's `load_state_dict` does.

    Raises CheckpointError where the file is missing, not a safetensors file, or does not fit.
    """
    try:
        network.load_state_dict(safetensors.torch.load_file(path))
    except FileNotFoundError:
        raise CheckpointError(f"no weights at {path}") from None
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} is not a safetensors file ({error}); pickled files are not read") from error
    except RuntimeError as error:
        first = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{path} does not fit the network: {first}") from error
