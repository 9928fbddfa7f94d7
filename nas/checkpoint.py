"""A finished network on disk: model.safetensors, genotype.json, evaluation.json. Enough to evaluate it anywhere."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from nas.attacks import ATTACKS, AttackSettings
from nas.data import DataSettings, Split, load_search_data, load_test_data
from nas.errors import CheckpointError, UsageError
from nas.evaluation import EvaluationSettings, evaluate
from nas.files import write_json
from nas.records import Evaluation, Fidelity
from nas.seeding import make_generator
from nas.threat import ThreatModel
from nas.training.checkpoint import load_weights, save_weights
from search_spaces import NetworkSpec
from search_spaces.network import Network, build_network

SCHEMA = 1
WEIGHTS, DESCRIPTION, RESULT = "model.safetensors", "genotype.json", "evaluation.json"


@dataclass(frozen=True)
class Checkpoint:
    """A trained network with everything its evaluation needs."""

    network: Network
    genotype: Mapping[str, Any]
    class_names: tuple[str, ...]
    data: DataSettings
    threat: ThreatModel
    evaluation: EvaluationSettings
    seed: int


def save_checkpoint(folder: Path, checkpoint: Checkpoint, extra: Mapping[str, Any]) -> None:
    """Writes the weights and the description of `checkpoint` into `folder`; `extra` adds to the description."""
    save_weights(folder / WEIGHTS, checkpoint.network)
    spec = checkpoint.network.spec
    write_json(folder / DESCRIPTION, {
        "schema": SCHEMA,
        "genotype": dict(checkpoint.genotype),
        "key": spec.key,
        "spec": dataclasses.asdict(spec),
        "class_names": checkpoint.class_names,
        "data": checkpoint.data.model_dump(mode="json"),
        "threat": checkpoint.threat.model_dump(mode="json"),
        "evaluation": checkpoint.evaluation.model_dump(mode="json"),
        "seed": checkpoint.seed,
        **extra,
    })  # fmt: skip


def load_checkpoint(folder: Path) -> Checkpoint:
    """Checkpoint in `folder`, network in eval mode on the CPU. Nothing is unpickled.

    Raises CheckpointError where a file is missing, damaged, or of something else.
    """
    path = folder / DESCRIPTION
    try:
        described = json.loads(path.read_text())
        if described.get("schema") != SCHEMA:
            raise ValueError(f"schema {described.get('schema')!r}, this version reads {SCHEMA}")
        spec = NetworkSpec.from_dict(described["spec"])
        network = build_network(spec, torch.Generator())
        checkpoint = Checkpoint(
            network=network,
            genotype=described["genotype"],
            class_names=tuple(described["class_names"]),
            data=TypeAdapter(DataSettings).validate_python(described["data"]),
            threat=ThreatModel(**described["threat"]),
            evaluation=EvaluationSettings(**described["evaluation"]),
            seed=int(described["seed"]),
        )
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(
            f"no checkpoint in {folder} (it needs {WEIGHTS} and {DESCRIPTION}); `nas retrain RUN` makes one"
        ) from None
    except (ValidationError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} does not describe a network of this project ({error})") from error
    load_weights(folder / WEIGHTS, network)
    network.requires_grad_(False).eval()
    return checkpoint


def evaluate_checkpoint(
    checkpoint: Checkpoint, *, split_name: str, attack: AttackSettings | None, device: torch.device
) -> Evaluation:
    """Scores on the "test" or "validation" images: the ladder's last rung, or one other attack alone.

    The same checkpoint gives the same numbers every time (on one device type).
    """
    settings = checkpoint.evaluation
    if attack is not None:
        settings = settings.model_copy(update={"attack": attack})
    is_test = split_name == "test"
    split = load_test_data(checkpoint.data) if is_test else load_search_data(checkpoint.data).validation
    split, cut = first_images(split, split_name, checkpoint.data, settings.final_images)
    network = checkpoint.network.to(device)
    generator = make_generator(checkpoint.seed, "evaluation", split_name, device=device)
    fidelity: Fidelity = "final" if attack is None else "attack"
    found = evaluate(
        network, split.to(device), checkpoint.threat, settings, generator, split_name=split_name, fidelity=fidelity
    )
    return dataclasses.replace(found, warnings=(*found.warnings, *cut))


def first_images(
    split: Split, split_name: str, data: DataSettings, limit: int | None, setting: str = "evaluation.final_images"
) -> tuple[Split, tuple[str, ...]]:
    """First `limit` (None: all) images of `split`, and a warning for each setting that leaves some out.

    `setting` is the name of `limit`.
    """
    cut = []
    if split_name == "test" and data.test_limit == len(split):
        cut.append(f"not the whole test set: data.test_limit keeps only {len(split)} test images")
    if limit is not None and limit < len(split):
        cut.append(f"only {limit} of {len(split)} {split_name} images were scored ({setting})")
    return split[:limit], tuple(cut)


def other_attack(own: AttackSettings, name: str, changes: Mapping[str, Any]) -> AttackSettings | None:
    """The attack `name` (default: `own`'s) with `changes`; None where nothing differs from `own`.

    Raises UsageError for an unknown name or setting.
    """
    if name in ("", own.name) and not changes:
        return None
    if name and name not in ATTACKS:
        raise UsageError(f"unknown attack {name!r} (allowed: {', '.join(ATTACKS)})")
    base = own.model_dump() if name in ("", own.name) else {"name": name}
    try:
        return TypeAdapter(AttackSettings).validate_python({**base, **changes})
    except ValidationError as error:
        detail = error.errors()[0]
        setting = detail["loc"][-1]
        if detail["type"] == "extra_forbidden":
            raise UsageError(f"attack {base['name']} has no setting {setting}") from error
        raise UsageError(f"attack {base['name']}, {setting}: {detail['msg']} [got {detail['input']!r}]") from error
