"""The whole attack ladder and every check on one network: of this project, or anybody's."""

import dataclasses
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas.attacks import AutoAttack, Pgd
from nas.attacks.threat import ThreatModel
from nas.attacks.transfer import Transfer
from nas.base.errors import UsageError
from nas.base.records import Evaluation
from nas.base.seeding import make_generator
from nas.data import DataSettings
from nas.data.datasets import at_root, check_same_classes, load_search_data, load_test_data
from nas.data.split import Split
from nas.evaluation import EvaluationSettings, check_attacks
from nas.evaluation.acting import check_threats
from nas.evaluation.course import AttackReport, Course
from nas.evaluation.evaluate import score
from nas.networks.stored import fill_foreign_
from nas.runs.checkpoint import Checkpoint, first_images, images_of, load_checkpoint, with_gaps
from nas.runs.config import RunConfig
from search_spaces.network import Network


class Foreign(nn.Module):
    """A network that is not of this project, behind the one door through which its code is called.

    It gets a copy of its input, as some normalise in place, and whatever it raises is a UsageError that names it.
    """

    def __init__(self, name: str, network: nn.Module) -> None:
        super().__init__()
        self.name, self.network = name, network

    def forward(self, x: Tensor) -> Any:
        """What the network gives for pixels (N, C, H, W)."""
        try:
            return self.network(x.clone())
        except Exception as error:
            raise UsageError(
                f"{self.name} cannot take images of shape {tuple(x.shape[1:])}, {len(x)} at once: {_told(error)}; it "
                f"must take any number of them, with pixels in [0, 1]"
            ) from error


@dataclass(frozen=True)
class Subject:
    """A network with what it is to be judged on."""

    name: str
    network: nn.Module
    data: DataSettings
    threat: ThreatModel
    evaluation: EvaluationSettings
    seed: int
    trained: Checkpoint | None = None
    """What is known of a network that `nas retrain` made."""


def checkpoint_subject(folder: Path, root: Path | None = None) -> Subject:
    """Retrained network in `folder`, judged by its own protocol, on its data in the folder `root` if that is given.

    Raises CheckpointError where there is none.
    """
    found = load_checkpoint(folder)
    found = dataclasses.replace(found, data=at_root(found.data, root))
    return Subject(str(folder), found.network, found.data, found.threat, found.evaluation, found.seed, found)


def function_subject(target: str, weights: Path | None, config: RunConfig) -> Subject:
    """Network that the function `target` ("module:function") makes, filled with a safetensors file.

    Data, threat model and attacks are those of `config`. The network takes pixels (N, C, H, W) in [0, 1] and gives
    logits (N, K); it is switched to eval mode. The module is looked for in the working directory, too. Nothing
    is unpickled. Raises UsageError or CheckpointError where one of the parts is not there or does not fit. What the
    code prints goes to sys.stdout.
    """
    made = _called(target)
    if not isinstance(made, nn.Module):
        raise UsageError(f"{target} returned {type(made).__name__}, not a torch.nn.Module")
    if weights is not None:
        fill_foreign_(made, weights)
    made.eval()
    network = made if type(made) is Network else Foreign(target, made)
    return Subject(target, network, config.data, config.threat, config.scoring, config.search.seed)


def _called(target: str) -> object:
    """What the function `target` returns. Whatever goes wrong in code that is not ours is a UsageError."""
    module_name, _, function_name = target.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (Exception, SystemExit) as error:
        raise UsageError(f"cannot audit {target!r}: {_told(error)}; write module:function, a function that returns the "
                         f"network") from error  # fmt: skip
    try:
        return function()
    except (Exception, SystemExit) as error:
        raise UsageError(f"{target} failed: {_told(error)}; it is called without arguments") from error


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def audit(
    subject: Subject,
    *,
    split_name: str,
    device: torch.device,
    images: int | None = None,
    trust_images: int = 256,
    autoattack: bool = False,
    transfer_from: Sequence[Path] = (),
    report: Callable[[AttackReport], None] = lambda _: None,
) -> Evaluation:
    """Everything that this project can say against the robustness of `subject`.

    The ladder's last rung (and AutoAttack's reference implementation where `autoattack` asks for it, and adversarial
    images of the checkpoints `transfer_from`), then every check on `trust_images` images. At most `images` images.
    `report` gets every attack as it begins and ends. Raises UsageError where a network does not fit the images, or
    fails under attack.
    """
    ladder = subject.evaluation.ladder
    final = (*ladder.final, AutoAttack()) if autoattack else ladder.final
    ladder = ladder.model_copy(update={"trust_images": trust_images, "final": final})
    settings = subject.evaluation.model_copy(update={"ladder": ladder})
    limit, setting = (images, "--images") if images else (settings.final_images, "evaluation.final_images")
    split, cut = first_images(_images(subject, split_name), split_name, subject.data, limit, setting)
    split = split.to(device)
    check_threats(subject.threat, settings.threats, split)
    sources = {str(folder): _source(folder, subject).network.to(device) for folder in transfer_from}
    network = subject.network.to(device)
    for name, one in {**sources, subject.name: network}.items():
        classes = _check_fits(one, split, name)
    check_attacks(ladder, settings.attack, classes, ("final",))
    try:
        found = score(
            network, split, subject.threat, settings,
            make_generator(subject.seed, "audit", split_name, device=device), split_name=split_name, fidelity="final",
            transfers=tuple(Transfer(source, Pgd()) for source in sources.values()), course=Course(report),
        ).evaluation  # fmt: skip
    except RuntimeError as error:  # autograd's, about what their code does to its gradients
        if not isinstance(network, Foreign):
            raise
        raise UsageError(f"the attack on {subject.name} failed: {_told(error)}") from error
    found = dataclasses.replace(found, warnings=(*found.warnings, *cut))
    return with_gaps(found, split, subject.trained.class_names) if subject.trained else found


def _images(subject: Subject, split_name: str) -> Split:
    if subject.trained is not None:
        return images_of(subject.trained, split_name)
    return load_test_data(subject.data) if split_name == "test" else load_search_data(subject.data).validation


def _source(folder: Path, subject: Subject) -> Checkpoint:
    """Checkpoint in `folder`, whose adversarial images are tried. Raises DataError where it is of other classes."""
    found = load_checkpoint(folder)
    if subject.trained is not None:
        check_same_classes(subject.trained.class_names, found.class_names)
    return found


@torch.no_grad()
def _check_fits(network: nn.Module, split: Split, name: str) -> int:
    """Number of logits of the network. Raises UsageError where it does not give a row of them for each image.

    Ours would take images of any size, and grey ones for coloured.
    """
    shape = tuple(split.images.shape[1:])
    if isinstance(network, Network) and network.spec.input_shape != shape:
        raise UsageError(f"{name} is a network for images of shape {network.spec.input_shape}, these are {shape}")
    logits = (network if isinstance(network, Foreign) else Foreign(name, network))(split[:2].inputs())
    classes = int(split.labels.max()) + 1
    if not isinstance(logits, Tensor) or logits.dim() != 2 or logits.shape[1] < classes:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UsageError(f"{name} must give logits (images, {classes} or more classes), got {found}")
    return logits.shape[1]
