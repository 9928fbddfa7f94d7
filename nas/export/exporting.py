"""A checkpoint as a file of another format, compared with the checkpoint on real images."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nas.base.errors import CheckpointError, DataError, UsageError
from nas.base.files import write_atomic
from nas.base.records import Costs
from nas.base.settings import Settings
from nas.budgets.costs import Deployment, count_costs
from nas.data.datasets import check_same_classes, load_search_data
from nas.data.domain import PIXELS
from nas.export.formats import FileFormat
from nas.export.integers import IntNetwork
from nas.export.quantize import CALIBRATION_IMAGES, quantized
from nas.networks.plain import PlainNetwork, plain_of
from nas.networks.shrunk import without_zero_channels
from nas.networks.stored import tensors_of
from nas.runs.checkpoint import DESCRIPTION, RESULT, WEIGHTS, Checkpoint, check_shape, images_of
from nas.runs.quantized import bits_text, quantization_of
from search_spaces import NetworkSpec

PARITY = 0.99
"""Smallest share of images on which file and checkpoint have to predict the same class."""
BATCH = 64


@dataclass(frozen=True)
class Exported:
    """A written file, and how it compares with its checkpoint."""

    file: Path
    is_int8: bool
    file_bytes: int
    weight_bytes: int
    """As nas/budgets counts them, at the file's number of bits."""
    split: str
    num_images: int
    agreement: float
    """Share of these images on which file and checkpoint predict the same class."""
    checkpoint_accuracy: float
    """Of the checkpoint on these images."""
    accuracy: float
    """Of the file."""
    logit_difference: float
    """Largest absolute difference of a logit."""
    margin: float
    """Between the two largest logits of the checkpoint, the median over these images."""
    differing_margin: float | None
    """The largest one where file and checkpoint predict different classes; None where they never do."""
    operators: tuple[str, ...]
    arena_bytes: int | None
    peak_activation_bytes: int
    """As nas/budgets counts them, at the file's number of bits."""
    stored_weights: str = ""
    """How weights of less than 8 bits are stored; empty without such weights."""
    stored_weight_bytes: int | None = None
    """What these take in the file, with biases and scales."""


def export(
    checkpoint: Checkpoint,
    folder: Path,
    kind: FileFormat,
    path: Path | None = None,
    split_name: str = "test",
    limit: int | None = None,
) -> Exported:
    """Writes the network of `checkpoint`, which is in `folder`, to `path` (default: into the folder), and runs it.

    It is run on the first `limit` (None: all) images of the split, in which classes have their overall shares.

    Raises UsageError where the format cannot express the network or a package is missing, DataError where the images
    are not those of its training.
    """
    network = without_zero_channels(checkpoint.network)
    plain = plain_of(network)
    split = images_of(checkpoint, split_name)[:limit]
    if split.domain != PIXELS:
        raise UsageError(f"only networks for pixels in [0, 1] can be exported, these inputs are in {split.domain}")
    integers = integers_of(checkpoint, plain, kind.is_fine) if kind.is_int8 else None
    content = kind.write(plain, integers, facts_of(checkpoint, folder, kind.is_int8))
    path = path or folder / kind.file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    for name, source in content.beside.items():
        write_atomic(path.with_name(name), source)
    write_atomic(path, content.file)
    view, count = kind.run(path, integers), len(split)
    with torch.no_grad():
        both = [(view.logits(x), checkpoint.network(x)) for x in (batch.inputs() for batch in split.batches(BATCH))]
    logits, ours = (torch.cat(parts) for parts in zip(*both, strict=True))
    predicted, own, (best, second) = logits.argmax(1), ours.argmax(1), ours.topk(2).values.T
    differs, margins = predicted != own, best - second
    costs = _costs(network.spec, checkpoint.treatments, kind.is_int8)
    return Exported(
        path, kind.is_int8, len(content.file), costs.weight_bytes, split_name, count,
        int((~differs).sum()) / count, int((own == split.labels).sum()) / count,
        int((predicted == split.labels).sum()) / count, float((logits - ours).abs().max()), float(margins.median()),
        float(margins[differs].max()) if differs.any() else None, content.operators, content.arena_bytes,
        costs.peak_activation_bytes, *((content.weights.text, content.weights.num_bytes) if content.weights else ()),
    )  # fmt: skip


def _costs(spec: NetworkSpec, treatments: Sequence[Settings], is_int8: bool) -> Costs:
    """Of what an integer file has: at most 8 bits, and the fewer ones of a network that was trained with them."""
    treatment = quantization_of(treatments)
    if not is_int8:
        return count_costs(spec, Deployment(weight_bits=32, activation_bits=32))
    weights, activations = (treatment.weight_bits, treatment.activations) if treatment else (8, 8)
    blocks = (
        replace(block, weight_bits=min(block.weight_bits, 8), activation_bits=min(block.activation_bits, 8))
        for block in spec.blocks
    )
    deployment = Deployment(weight_bits=min(weights, 8), activation_bits=min(activations, 8))
    return count_costs(replace(spec, blocks=tuple(blocks)), deployment)


def integers_of(checkpoint: Checkpoint, plain: PlainNetwork, fine: bool = False) -> IntNetwork:
    """The integer network, calibrated on the first training images of the checkpoint's data."""
    data = load_search_data(checkpoint.data)
    check_same_classes(data.class_names, checkpoint.class_names)
    if data.domain != PIXELS:
        raise DataError(f"only networks for pixels in [0, 1] can be exported, these inputs are in {data.domain}")
    images = data.train[:CALIBRATION_IMAGES]
    check_shape(checkpoint, images)
    return quantized(plain, images.inputs(), fine)


def retrained_in(run: Path) -> list[Path]:
    """Folders of all networks that were retrained in `run`, by name. Raises UsageError where there is none."""
    found = sorted(path.parent for path in (run / "retrained").glob(f"*/{RESULT}") if (path.parent / WEIGHTS).exists())
    if not found:
        raise UsageError(f"no retrained network in {run}; `nas retrain {run} --pick knee` makes one")
    return found


def facts_of(checkpoint: Checkpoint, folder: Path, is_int8: bool) -> dict[str, str]:
    """What is known of the network, for the metadata of a file: text, or JSON where it is more than that."""
    quantized_as = bits_text(checkpoint.treatments)
    return {
        "input": "pixels in [0, 1], shape (images, channels, height, width)" if not is_int8 else
                 "stored pixel values 0 to 255 less 128 (TFLite), or pixels in [0, 1] (ONNX)",
        "class_names": json.dumps(checkpoint.class_names),
        "genotype": json.dumps(dict(checkpoint.genotype)),
        "architecture": checkpoint.network.spec.key,
        "threat": json.dumps(checkpoint.threat.model_dump(mode="json")),
        "scores": json.dumps(_scores(folder)),
        "scores_of": f"the {'quantized' if quantized_as else 'float'} network, not this file: `nas evaluate FILE` "
                     "scores what was exported",
        "precision": "int8" if is_int8 else "float32",
        "parent": fingerprint(checkpoint),
        "data_licence": "licence of the data unknown",
        **({"quantization": quantized_as, "robustness_trained": _stage(checkpoint, folder)} if quantized_as else {}),
    }  # fmt: skip


def _scores(folder: Path) -> Mapping[str, Any]:
    """Scores of the network in `folder`, with what they were measured under; empty where it has none."""
    try:
        found = json.loads((folder / RESULT).read_bytes())
        names = ("split", "num_images", "natural_accuracy", "robust_accuracy", "instability", "threat", "warnings")
        attacks = [rung["attack"]["name"] for rung in found["ladder"]]
        return {**{name: found[name] for name in names}, "attacks": attacks}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _stage(checkpoint: Checkpoint, folder: Path) -> str:
    """When the quantized network in `folder` was trained robustly; unknown where its settings are not there."""
    treatment = quantization_of(checkpoint.treatments)
    assert treatment is not None
    try:
        training = json.loads((folder / DESCRIPTION).read_bytes())["training"]
        return treatment.stage(training["method"], training.get("natural_until", 0.0))
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown"


def fingerprint(checkpoint: Checkpoint) -> str:
    """16 hex digits that name the weights of a checkpoint."""
    digest = hashlib.sha256()
    for name, tensor in tensors_of(checkpoint.network).items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()[:16]


def check_parent(checkpoint: Checkpoint, facts: Mapping[str, str], folder: Path) -> None:
    """Raises CheckpointError where a file with the metadata `facts` was not made of `checkpoint`, in `folder`."""
    if facts.get("parent") != fingerprint(checkpoint):
        raise CheckpointError(
            f"{folder / DESCRIPTION} is not what the file was made of (weights {fingerprint(checkpoint)}, the file "
            f"says {facts.get('parent')}); name its checkpoint with --parent"
        )
