"""Training states and weights on disk: safetensors, written atomically, never unpickled."""

from pathlib import Path
from typing import Protocol

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from nas.base.errors import CheckpointError
from nas.base.files import write_atomic
from search_spaces.network import Network

_COUNTERS = ("epoch", "step")


class Resumable(Protocol):
    """A training that can be interrupted."""

    @property
    def network(self) -> nn.Module:
        """What is trained."""

    @property
    def average(self) -> nn.Module | None:
        """Its averaged copy."""

    optimizer: torch.optim.SGD
    generator: torch.Generator
    epoch: int
    step: int

    def refresh_(self) -> None:
        """Computes anew what follows from the weights."""


def save_weights(path: Path, network: Network) -> None:
    """Writes parameters and buffers of `network` to `path`, atomically."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_atomic(path, safetensors.torch.save(tensors))


def load_weights(path: Path, network: Network) -> None:
    """Fills `network` with the weights of `path`.

    Raises CheckpointError where the file is missing, damaged or does not fit the network.
    """
    _fill(network.state_dict(), read_weights(path), "", path)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of `path` by name, on the CPU. Raises CheckpointError where the file is missing or damaged."""
    try:
        return safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise CheckpointError(f"no weights at {path}") from None
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged or not a safetensors file ({error})") from error


def save_training(path: Path, state: Resumable, fingerprint: str) -> None:
    """Writes all of `state` to `path`, atomically; `fingerprint` names what is being trained, and how."""
    tensors = {f"network.{name}": tensor for name, tensor in state.network.state_dict().items()}
    if state.average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in state.average.state_dict().items()}
    for index, parameter in enumerate(_parameters(state)):
        momentum = state.optimizer.state[parameter].get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum.{index}"] = momentum
    tensors["generator"] = state.generator.get_state()
    tensors |= {name: torch.tensor(getattr(state, name)) for name in _COUNTERS}
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, safetensors.torch.save(tensors, {"fingerprint": fingerprint}))


def load_training(path: Path, state: Resumable, fingerprint: str) -> None:
    """Restores `state` (as it was made before its first epoch) from `path`.

    Raises CheckpointError where the file is damaged or was written for another `fingerprint`.
    """
    tensors = read_weights(path)
    with safetensors.safe_open(path, "pt") as file:
        found = (file.metadata() or {}).get("fingerprint")
    if found != fingerprint:
        raise CheckpointError(
            f"{path} belongs to another training (network, data or settings differ); remove its folder to start afresh"
        )
    _fill(state.network.state_dict(), tensors, "network.", path)
    if state.average is not None:
        _fill(state.average.state_dict(), tensors, "average.", path)
    for index, parameter in enumerate(_parameters(state)):
        if f"momentum.{index}" in tensors:
            # The fused optimiser goes through memory in order: the buffer must lie there like its parameter.
            momentum = torch.empty_like(parameter, requires_grad=False).copy_(tensors[f"momentum.{index}"])
            state.optimizer.state[parameter]["momentum_buffer"] = momentum
    try:
        state.generator.set_state(tensors["generator"])
        for name in _COUNTERS:
            setattr(state, name, int(tensors[name]))
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path} is incomplete ({error}); remove its folder to start afresh") from error
    state.refresh_()


def _parameters(state: Resumable) -> list[Tensor]:
    return [p for group in state.optimizer.param_groups for p in group["params"]]


def _fill(target: dict[str, Tensor], source: dict[str, Tensor], prefix: str, path: Path) -> None:
    """Copies every tensor of `source` under `prefix` into the same name of `target`, in place."""
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
