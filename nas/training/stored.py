"""Training states on disk: all that a training needs to go on bit for bit."""

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from nas.base.errors import CheckpointError
from nas.base.metadata import read_metadata
from nas.networks.stored import fill_, read_weights, save_tensors, tensors_of

_MEMORY = "memory."
_COUNTERS = ("epoch", "step", "doublings", "most_withstanding")
_OPTIMIZER = {"momentum_buffer": "momentum", "exp_avg": "mean", "exp_avg_sq": "square", "step": "steps"}
"""Names in a file of what SGD and Adam keep for every parameter."""
_LATER = ("doublings", "most_withstanding")
"""Counters that states of older versions lack."""


class Resumable(Protocol):
    """A training that can be interrupted."""

    @property
    def network(self) -> nn.Module:
        """What is trained."""

    @property
    def average(self) -> nn.Module | None:
        """Its averaged copy."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """SGD or Adam, whose state goes along."""

    memory: dict[str, Tensor]
    """What else is kept between steps (a method's own tensors), by name; live."""
    generator: torch.Generator
    epoch: int
    step: int
    doublings: int
    """How often the alarm has doubled the steps of the attack (nas/training/alarm.py)."""
    most_withstanding: int
    """Most images that the alarm saw withstand its reference after an epoch."""

    def refresh_(self) -> None:
        """Computes anew what follows from the weights and the counters."""


def save_training(path: Path, state: Resumable, fingerprint: str) -> None:
    """Writes all of `state` to `path`, atomically; `fingerprint` names what is being trained, and how."""
    save_tensors(path, _tensors_of_training(state), {"fingerprint": fingerprint})


def load_training(path: Path, state: Resumable, fingerprint: str) -> None:
    """Restores `state` (as it was made before its first epoch) from `path`.

    Raises CheckpointError where the file is damaged or was written for another `fingerprint`.
    """
    tensors = read_weights(path)
    if read_metadata(path).get("fingerprint") != fingerprint:
        raise CheckpointError(
            f"{path} belongs to another training (network, data or settings differ); remove its folder to start afresh"
        )
    _restore_(state, tensors, path)


def snapshot(state: Resumable) -> dict[str, Tensor]:
    """Copies of all that changes during the training, on its device, for `restore_`."""
    return {name: tensor.clone() for name, tensor in _tensors_of_training(state).items()}


def restore_(state: Resumable, saved: dict[str, Tensor]) -> None:
    """Takes `state` back to where `saved`, its `snapshot`, was made."""
    _restore_(state, saved, Path("a snapshot"))


def _tensors_of_training(state: Resumable) -> dict[str, Tensor]:
    tensors = tensors_of(state.network, "network.")
    if state.average is not None:
        tensors |= tensors_of(state.average, "average.")
    for index, parameter in enumerate(_parameters(state)):
        for kept, name in _OPTIMIZER.items():
            if (tensor := state.optimizer.state[parameter].get(kept)) is not None:
                tensors[f"{name}.{index}"] = tensor
    tensors |= {f"{_MEMORY}{name}": tensor for name, tensor in state.memory.items()}
    tensors["generator"] = state.generator.get_state()
    return tensors | {name: torch.tensor(getattr(state, name)) for name in _COUNTERS}


def _restore_(state: Resumable, tensors: dict[str, Tensor], path: Path) -> None:
    fill_(state.network, tensors, path, "network.")
    if state.average is not None:
        fill_(state.average, tensors, path, "average.")
    for index, parameter in enumerate(_parameters(state)):
        state.optimizer.state.pop(parameter, None)
        for kept, name in _OPTIMIZER.items():
            if (tensor := tensors.get(f"{name}.{index}")) is not None:
                # The fused optimiser goes through memory in order: the buffer must lie there like its parameter.
                like = parameter if tensor.shape == parameter.shape else tensor
                state.optimizer.state[parameter][kept] = torch.empty_like(like, requires_grad=False).copy_(tensor)
    state.memory.clear()
    for name in tensors:
        if name.startswith(_MEMORY):
            state.memory[name.removeprefix(_MEMORY)] = tensors[name].to(state.generator.device)
    try:
        state.generator.set_state(tensors["generator"])
        for name in _COUNTERS:
            setattr(state, name, int(tensors[name] if name in tensors or name not in _LATER else 0))
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path} is incomplete ({error}); remove its folder to start afresh") from error
    state.refresh_()


def _parameters(state: Resumable) -> list[Tensor]:
    return [p for group in state.optimizer.param_groups for p in group["params"]]
