"""A finished network on disk: model.safetensors, genotype.json, evaluation.json. Enough to evaluate it anywhere."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from nas.assets.manifold.codes import on_manifold
from nas.assets.manifold.keeping import loaded
from nas.assets.manifold.settings import FILE as MANIFOLD
from nas.assets.manifold.settings import FOLDER
from nas.attacks import ATTACKS, AttackSettings
from nas.attacks.threat import ThreatModel
from nas.base.errors import CheckpointError, DataError, UsageError
from nas.base.files import write_atomic, write_json
from nas.base.records import Evaluation, Fidelity
from nas.base.seeding import make_generator
from nas.base.settings import Settings
from nas.data import DataSettings
from nas.data.datasets import absent_classes, check_same_classes, load_search_data, load_test_data
from nas.data.split import Split
from nas.evaluation import EvaluationSettings, check_attacks
from nas.evaluation.course import AttackReport, Course
from nas.evaluation.evaluate import evaluate
from nas.networks.build import stored_network
from nas.networks.stored import save_weights, tensors_of
from nas.networks.treatments import TreatmentSettings
from nas.runs.parts import load_parts
from search_spaces import NetworkSpec
from search_spaces.network import Network

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
    data_fingerprint: str | None = None
    """Names the training and validation images; None in checkpoints of versions that did not store it."""
    treatments: tuple[Settings, ...] = ()
    """Settings of what was done to the network (nas/networks/treatments)."""
    warnings: tuple[str, ...] = ()
    """What is to be known of its training."""
    manifold: Path | None = None
    """File of the manifold that threats of its evaluation act on; in the folder of a checkpoint there is a copy."""


def save_checkpoint(folder: Path, checkpoint: Checkpoint, extra: Mapping[str, Any]) -> None:
    """Writes the weights and the description of `checkpoint` into `folder`; `extra` adds to the description."""
    save_weights(folder / WEIGHTS, checkpoint.network)
    if checkpoint.manifold is not None:
        write_atomic(folder / MANIFOLD, checkpoint.manifold.read_bytes())
    spec = checkpoint.network.spec
    write_json(folder / DESCRIPTION, {
        "schema": SCHEMA,
        "genotype": dict(checkpoint.genotype),
        "key": spec.key,
        "spec": dataclasses.asdict(spec),
        "class_names": checkpoint.class_names,
        "data_fingerprint": checkpoint.data_fingerprint,
        "data": checkpoint.data.model_dump(mode="json"),
        "threat": checkpoint.threat.model_dump(mode="json"),
        "evaluation": checkpoint.evaluation.model_dump(mode="json"),
        "seed": checkpoint.seed,
        "treatments": [one.model_dump(mode="json") for one in checkpoint.treatments],
        "warnings": checkpoint.warnings,
        **extra,
    })  # fmt: skip


def load_checkpoint(folder: Path) -> Checkpoint:
    """Checkpoint in `folder`, network in eval mode on the CPU. Nothing is unpickled.

    Raises CheckpointError where a file is missing, damaged, or of something else.
    """
    path = folder / DESCRIPTION
    try:
        described = json.loads(path.read_bytes())
        if described.get("schema") != SCHEMA:
            raise ValueError(f"schema {described.get('schema')!r}, this version reads {SCHEMA}")
        beside = described.get("plugin_folder")
        load_parts(described.get("plugins", ()), Path(beside) if beside else None)
        treatments = _TREATMENTS.validate_python(described.get("treatments", ()))
        checkpoint = Checkpoint(
            network=stored_network(NetworkSpec.from_dict(described["spec"]), folder / WEIGHTS, treatments),
            genotype=described["genotype"],
            class_names=tuple(described["class_names"]),
            data=TypeAdapter(DataSettings).validate_python(described["data"]),
            threat=ThreatModel(**described["threat"]),
            evaluation=EvaluationSettings(**described["evaluation"]),
            seed=int(described["seed"]),
            data_fingerprint=described.get("data_fingerprint"),
            treatments=treatments,
            warnings=tuple(described.get("warnings", ())),
            manifold=folder / MANIFOLD if (folder / MANIFOLD).is_file() else None,
        )
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(
            f"no checkpoint in {folder} (it needs {WEIGHTS} and {DESCRIPTION}); `nas retrain RUN` makes one"
        ) from None
    except (ValidationError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} does not describe a network of this project ({error})") from error
    return checkpoint


_TREATMENTS: TypeAdapter[tuple[Settings, ...]] = TypeAdapter(tuple[TreatmentSettings, ...])


def images_of(checkpoint: Checkpoint, split_name: str) -> Split:
    """The "test" or "validation" images for `checkpoint`. Test images need no training images beside them.

    Raises DataError, with the difference, where classes, shape or validation images are not those of its training.
    """
    if split_name == "test":
        split = load_test_data(checkpoint.data, checkpoint.class_names)
    else:
        data = load_search_data(checkpoint.data)
        check_same_classes(data.class_names, checkpoint.class_names)
        if checkpoint.data_fingerprint not in (None, data.fingerprint):
            raise DataError(
                f"the training and validation images are not those of the retraining (fingerprint {data.fingerprint}, "
                f"was {checkpoint.data_fingerprint}): images it was trained on may be among them; restore the data, or "
                f"take the test images"
            )
        split = data.validation
    check_shape(checkpoint, split)
    return split if checkpoint.manifold is None else on_manifold(split, loaded(checkpoint.manifold))


def manifold_in(run: Path) -> Path | None:
    """File of the manifold of the run in the folder `run`, where it has one."""
    path = run / FOLDER / MANIFOLD
    return path if path.is_file() else None


def check_shape(checkpoint: Checkpoint, split: Split) -> None:
    """Raises DataError where the network takes images of another shape."""
    found, wanted = tuple(split.images.shape[1:]), tuple(checkpoint.network.spec.input_shape)
    if found != wanted:
        raise DataError(f"the images are {'×'.join(map(str, found))} (channels, height, width), the network takes "
                        f"{'×'.join(map(str, wanted))}; take data of its kind")  # fmt: skip


def evaluate_checkpoint(
    checkpoint: Checkpoint,
    *,
    split_name: str,
    attack: AttackSettings | None,
    device: torch.device,
    report: Callable[[AttackReport], None] = lambda _: None,
    kept: Path | None = None,
) -> Evaluation:
    """Scores on the "test" or "validation" images: the ladder's last rung, or one other attack alone.

    The same checkpoint gives the same numbers every time (on one device type). `report` gets every attack as it begins
    and ends. What each has given is written to the file `kept`; where it is there already, the same scoring goes on
    from it. The caller removes it.
    """
    settings = checkpoint.evaluation
    if attack is not None:
        settings = settings.model_copy(update={"attack": attack})
    fidelity: Fidelity = "final" if attack is None else "attack"
    check_attacks(settings.ladder, settings.attack, len(checkpoint.class_names), (fidelity,))
    split, cut = first_images(images_of(checkpoint, split_name), split_name, checkpoint.data, settings.final_images)
    network = checkpoint.network.to(device)
    generator = make_generator(checkpoint.seed, "evaluation", split_name, device=device)
    name = "" if kept is None else _scoring_name(checkpoint, settings, split, split_name, device)
    found = evaluate(
        network, split.to(device), checkpoint.threat, settings, generator, split_name=split_name, fidelity=fidelity,
        course=Course(report, kept, name),
    )  # fmt: skip
    found = dataclasses.replace(found, warnings=(*found.warnings, *cut, *checkpoint.warnings))
    return with_gaps(found, split, checkpoint.class_names)


def _scoring_name(
    checkpoint: Checkpoint, settings: EvaluationSettings, split: Split, split_name: str, device: torch.device
) -> str:
    """Names all that a scoring depends on: weights, images, attacks, threat, seed."""
    facts = [settings.model_dump(mode="json"), checkpoint.threat.model_dump(mode="json"), checkpoint.seed, split_name]
    digest = hashlib.sha256(json.dumps([*facts, device.type]).encode())
    for tensor in (*tensors_of(checkpoint.network).values(), split.images, split.labels):
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()


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


def with_gaps(evaluation: Evaluation, split: Split, class_names: Sequence[str]) -> Evaluation:
    """`evaluation` with a warning of the classes that `split` has no image of."""
    absent = absent_classes(split, class_names)
    if not absent:
        return evaluation
    named = ", ".join(absent[:3]) + ", …" * (len(absent) > 3)
    text = f"no image of {len(absent)} of {len(class_names)} classes ({named})"
    return dataclasses.replace(evaluation, warnings=(*evaluation.warnings, text))


def other_attack(own: AttackSettings, name: str, changes: Mapping[str, Any]) -> AttackSettings | None:
    """The attack `name` (default: `own`'s) with `changes`; None where neither is given.

    Raises UsageError for an unknown name or setting.
    """
    if not name and not changes:
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
