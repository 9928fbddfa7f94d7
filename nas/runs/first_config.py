"""The config that `nas init` writes for a user's folder of images and a budget."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from nas.base.errors import UsageError
from nas.budgets import COSTS, Budget, Deployment
from nas.data.settings import TEST_LIST, ImageFolder
from nas.runs.devices import DEVICES
from nas.runs.fitted import FittedSpace, fitted_space
from search_spaces.mobilenet_tiny import MobileNetTiny, Row

DEPLOYMENT = Deployment(weight_bits=8, activation_bits=8)


@dataclass(frozen=True)
class FirstConfig:
    """Text of a config, its run's name, and what there is to say about both."""

    text: str
    name: str
    fitted: FittedSpace
    warnings: tuple[str, ...]


def limits_of(device: str, budget: str) -> dict[str, str]:
    """Limits as a config has them: those of `budget` (params=100k,macs=8M), else of `device`, else of cortex-m4.

    Raises UsageError where both are given, the device is unknown, or a limit is wrong.
    """
    if device and budget:
        raise UsageError("--device and --budget: give one of them; the first is a table of budgets")
    if not budget:
        chosen = device or "cortex-m4"
        if chosen not in DEVICES:
            raise UsageError(f"--device {chosen}: unknown (allowed: {', '.join(DEVICES)}); or use --budget")
        return DEVICES[chosen].limits
    limits: dict[str, str] = {}
    for part in budget.split(","):
        name, _, value = (text.strip() for text in part.partition("="))
        if name not in COSTS or not value or name in limits:
            raise UsageError(f"--budget {budget}: write NAME=LIMIT,…, each name once (allowed: {', '.join(COSTS)})")
        limits[name] = value
    _budget(limits)
    return limits


def _budget(limits: Mapping[str, str]) -> Budget:
    try:
        return Budget.model_validate(limits)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"--budget {name}={limits[name]}: {reason}") from error


def first_config(name: str, root: Path, image_size: int, limits: Mapping[str, str], origin: str) -> FirstConfig:
    """Config of a search in the images in `root` within `limits`; `origin` says where these come from.

    Looks at the images first, as `nas check` does. Raises DataError where they are not as they must be, EmptyBudget
    where hardly any network fits.
    """
    from nas.data.datasets import load_search_data  # imports torch

    if (root / TEST_LIST).is_file():
        raise UsageError(
            f"--data {root}: recordings of words, as its {TEST_LIST} says; copy configs/speech.yaml and set data.root "
            f"(docs/speech.md)"
        )
    data = load_search_data(ImageFolder(name="image_folder", root=root, image_size=image_size), survey_test=True)
    fitted = fitted_space(data.input_shape, data.num_classes, _budget(limits), DEPLOYMENT)
    counts = data.validation.labels.bincount(minlength=data.num_classes)
    chance = float(counts.max() / counts.sum())
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip("._-") or "search"
    text = TEMPLATE.format(
        name=plain, origin=origin, images=f"{data.num_classes} classes", root=json.dumps(str(root), ensure_ascii=False),
        image_size=image_size, space=_space_lines(fitted.settings), share=f"{100 * fitted.share:.0f}",
        padding=image_size // 8, learned=f"{chance + 0.1 * (1 - chance):.2f}",
        budget=", ".join(f"{cost}: {value}" for cost, value in limits.items()),
        deployment=f"{{weight_bits: {DEPLOYMENT.weight_bits}, activation_bits: {DEPLOYMENT.activation_bits}}}",
    )  # fmt: skip
    return FirstConfig(text, plain, fitted, data.warnings)


def _space_lines(settings: MobileNetTiny) -> str:
    rows = "\n".join(f"    - {_row_text(row)}" for row in settings.blocks)
    return SPACE.format(
        stem=settings.stem_channels, stride=settings.stem_stride, rows=rows, head=settings.head_channels,
        widths=list(settings.width_multipliers), expands=list(settings.expand_ratios), divisor=settings.divisor,
    )  # fmt: skip


def _row_text(row: Row) -> str:
    fixed = "" if row.expand_ratio is None else f", expand_ratio: {row.expand_ratio}"
    return f"{{channels: {row.channels}, layers: {row.layers}, stride: {row.stride}{fixed}}}"


SPACE = """\
space:
  name: mobilenet_tiny
  stem_channels: {stem}
  stem_stride: {stride}
  blocks:  # each row has a width multiplier and, where none is fixed, an expand ratio that is searched
{rows}
  head_channels: {head}
  scale_head: true  # the head has a width multiplier of its own
  width_multipliers: {widths}
  expand_ratios: {expands}
  tie: none
  divisor: {divisor}  # channels are multiples of it"""

TEMPLATE = """\
# Written by `nas init`: a search for robust tiny networks on your own images. Every field: docs/config.md, or
# `nas check --explain FIELD`, such as budget.params. What is left out has its default.
name: {name}  # the results go to runs/{name}
data:  # {images} in ROOT/train/<class>/ and ROOT/test/<class>/
  name: image_folder
  root: {root}
  image_size: {image_size}
  channels: 3  # 1 for grey images
# {share} % of random networks of this space are within the budget below; the others are rejected untrained.
{space}
threat: {{norm: linf, epsilon: 8/255}}  # every pixel may change by 8 of 255 steps
training:  # brief, of every candidate; one attack step from noise (N-FGSM)
  method: madry
  attack: {{steps: 1, start: noise}}
  epochs: 8
  batch_size: 64
  learning_rate: 0.2
  schedule: one_cycle
  ema_decay: 0.98
  augmentation: {{crop_padding: {padding}, flip: true}}  # flip: false where left and right differ, as in digits
evaluation:
  attack: {{name: pgd, steps: 20, step_size: 2/255}}
  ladder:
    final:  # of the retrained network; `nas evaluate --audit --autoattack` does more
      - {{name: apgd, loss: cross_entropy, steps: 50}}
      - {{name: apgd, loss: targeted_dlr, steps: 50, targets: 4}}
      - {{name: square, queries: 500}}
  batch_size: 256
  max_images: 2000  # of the search; the retrained network meets all test images
# Brief trainings tell networks apart by natural accuracy sooner than by robust accuracy (docs/cifar10.md).
objectives: [robust_accuracy, natural_accuracy, params]
# A network that always gives the most frequent class is robust, too: this is a tenth of the way from there to 1.
constraints: [natural_accuracy >= {learned}]
# {origin}
budget: {{{budget}}}
deployment: {deployment}  # int8, what nas export --format tflite writes
search:
  sampler: nsga2
  trials: 24  # full trainings; raise it later to go on
  population: 8
  start_from: {{uniform: 8}}  # one width multiplier and one expand ratio everywhere: what scaling by hand would try
  exploit: 14  # the last of them: networks of which a regression on all before predicts the largest gain
  train_images: 15000  # of a candidate, at most; the retrained network has all
  seed: 0
  workers: auto
  trial_timeout: 3600  # seconds
retrain: {{epochs: 16, validate_every: 4}}  # long training of the network you pick
"""
