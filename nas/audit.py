"""The whole attack ladder and every check on one network: of this project, or anybody's."""

import dataclasses
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from nas.attacks import AutoAttack, Pgd, Transfer
from nas.checkpoint import first_images, load_checkpoint
from nas.config import RunConfig
from nas.data import DataSettings, Split, load_search_data, load_test_data
from nas.errors import CheckpointError, UsageError
from nas.evaluation import EvaluationSettings, score
from nas.records import Evaluation
from nas.seeding import make_generator
from nas.threat import ThreatModel


@dataclass(frozen=True)
class Subject:
    """A network with what it is to be judged on."""

    name: str
    network: nn.Module
    data: DataSettings
    threat: ThreatModel
    evaluation: EvaluationSettings
    seed: int


def checkpoint_subject(folder: Path) -> Subject:
    """Retrained network in `folder`, judged by its own protocol. Raises CheckpointError where there is none."""
    found = load_checkpoint(folder)
    return Subject(str(folder), found.network, found.data, found.threat, found.evaluation, found.seed)


def function_subject(target: str, weights: Path | None, config: RunConfig) -> Subject:
    """Network that the function `target` ("module:function") makes, filled with a safetensors file.

    Data, threat model and attacks are those of `config`. The network takes pixels (N, C, H, W) in [0, 1] and gives
    logits (N, K); it is switched to eval mode. The module is looked for in the working directory, too. Nothing
    is unpickled. Raises UsageError or CheckpointError where one of the parts is not there or does not fit.
    """
    made = _called(target)
    if not isinstance(made, nn.Module):
        raise UsageError(f"{target} returned {type(made).__name__}, not a torch.nn.Module")
    if weights is not None:
        _fill(made, weights)
    return Subject(target, made.eval(), config.data, config.threat, config.evaluation, config.search.seed)


def _called(target: str) -> object:
    """What the function `target` returns. Whatever goes wrong in code that is not ours is a UsageError."""
    module_name, _, function_name = target.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:
        raise UsageError(f"cannot audit {target!r}: {_told(error)}; write module:function, a function that returns the "
                         f"network") from error  # fmt: skip
    try:
        return function()
    except Exception as error:
        raise UsageError(f"{target} failed: {_told(error)}; it is called without arguments") from error


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _fill(network: nn.Module, weights: Path) -> None:
    try:
        network.load_state_dict(safetensors.torch.load_file(weights))
    except FileNotFoundError:
        raise CheckpointError(f"no weights at {weights}") from None
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{weights} is not a safetensors file ({error}); pickled files are not read") from error
    except RuntimeError as error:
        first = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{weights} does not fit the network: {first}") from error


def audit(
    subject: Subject,
    *,
    split_name: str,
    device: torch.device,
    images: int | None = None,
    trust_images: int = 256,
    autoattack: bool = False,
    transfer_from: Sequence[Path] = (),
) -> Evaluation:
    """Everything that this project can say against the robustness of `subject`.

    The ladder's last rung (and AutoAttack's reference implementation where `autoattack` asks for it, and adversarial
    images of the checkpoints `transfer_from`), then every check on `trust_images` images. At most `images` images.
    """
    ladder = subject.evaluation.ladder
    final = (*ladder.final, AutoAttack()) if autoattack else ladder.final
    ladder = ladder.model_copy(update={"trust_images": trust_images, "final": final})
    settings = subject.evaluation.model_copy(update={"ladder": ladder})
    limit, setting = (images, "--images") if images else (settings.final_images, "evaluation.final_images")
    split, cut = first_images(_images(subject.data, split_name), split_name, subject.data, limit, setting)
    split = split.to(device)
    sources = [load_checkpoint(folder).network.to(device) for folder in transfer_from]
    subject.threat.check_fits(split.images.shape[1:])
    network = subject.network.to(device)
    _check_fits(network, split, subject.name)
    found = score(
        network, split, subject.threat, settings,
        make_generator(subject.seed, "audit", split_name, device=device), split_name=split_name, fidelity="final",
        transfers=tuple(Transfer(source, Pgd()) for source in sources),
    ).evaluation  # fmt: skip
    return dataclasses.replace(found, warnings=(*found.warnings, *cut))


def _images(settings: DataSettings, split_name: str) -> Split:
    return load_test_data(settings) if split_name == "test" else load_search_data(settings).validation


@torch.no_grad()
def _check_fits(network: nn.Module, split: Split, name: str) -> None:
    """Raises UsageError where the network cannot take the images, or does not give a row of logits for each."""
    shape = tuple(split.images.shape[1:])
    try:
        logits = network(split[:2].images.float() / 255)
    except Exception as error:
        raise UsageError(f"{name} cannot take images of shape {shape}: {_told(error)}") from error
    classes = int(split.labels.max()) + 1
    if not isinstance(logits, torch.Tensor) or logits.dim() != 2 or logits.shape[1] < classes:
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise UsageError(f"{name} must give logits (images, {classes} or more classes), got {found}")
