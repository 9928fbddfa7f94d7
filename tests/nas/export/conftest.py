"""A small network, trained on real digits once and stored as `nas retrain` does; tests that write take a copy."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from nas.attacks import Apgd, Pgd, Square
from nas.attacks.threat import ThreatModel
from nas.base.files import write_json
from nas.base.records import to_json
from nas.data import Augmentation
from nas.data.datasets import load_search_data, load_test_data
from nas.data.sources import Digits
from nas.data.split import Split
from nas.evaluation import EvaluationSettings, Ladder
from nas.export.exporting import integers_of
from nas.export.integers import IntNetwork, Ints
from nas.networks.plain import plain_of
from nas.runs.checkpoint import Checkpoint, save_checkpoint
from nas.training import Training
from search_spaces import BlockSpec, NetworkSpec
from tests.builders import briefly_trained, evaluation

DIGITS = Digits(name="digits")
THREAT = ThreatModel(norm="linf", epsilon=0.1)
SPEC = NetworkSpec(
    (1, 8, 8), 10,
    (
        BlockSpec("conv", 0, 1, 8, 8, 3, 1),
        BlockSpec("inverted_residual", 1, 8, 16, 8, 3, 1),
        BlockSpec("inverted_residual", 2, 8, 16, 12, 3, 2),
        BlockSpec("conv", 3, 12, 24, 24, 1, 1),
    ),
)  # fmt: skip
STILL = Augmentation(crop_padding=0)
TRAINING = Training(method="natural", epochs=4, batch_size=32, learning_rate=0.2, ema_decay=0.9, augmentation=STILL)
PROTOCOL = EvaluationSettings(
    attack=Pgd(steps=3), ladder=Ladder(final=(Apgd(loss="dlr", steps=3), Square(queries=4)), trust_images=10)
)


@pytest.fixture(scope="session")
def trained() -> Checkpoint:
    """A network that tells digits apart."""
    data = load_search_data(DIGITS)
    network = briefly_trained(SPEC, TRAINING, THREAT, data, 0).requires_grad_(False).eval()
    return Checkpoint(network, {"width": 0.5}, data.class_names, DIGITS, THREAT, PROTOCOL, 1, data.fingerprint)


@pytest.fixture(scope="session")
def images() -> Split:
    """All test images of the digits."""
    return load_test_data(DIGITS)


@pytest.fixture(scope="session")
def integers(trained: Checkpoint) -> IntNetwork:
    """The integer network of `trained`."""
    return integers_of(trained, plain_of(trained.network))


@pytest.fixture(scope="session")
def _stored(trained: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "retrained" / "00007"
    folder.mkdir(parents=True)
    save_checkpoint(folder, trained, {"trial": 7})
    write_json(folder / "evaluation.json", to_json(evaluation(robust=0.25)))
    return folder


@pytest.fixture
def folder(_stored: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint's folder, in a run folder of its own: tmp_path/run/retrained/00007."""
    return Path(shutil.copytree(_stored, tmp_path / "run" / "retrained" / "00007"))


def levels_of(split: Split) -> Ints:
    """The images as integers of tensor 0."""
    return (split.images.numpy().astype(np.int16) - 128).astype(np.int8)
