"""A module of the user's adds a space, an attack, a training method and a treatment."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.attacks import ATTACKS
from nas.base.errors import ConfigError
from nas.networks.treatments import TREATMENTS
from nas.runs import open_run
from nas.runs.config import dump_config, load_config
from nas.runs.work import trained_network
from nas.training.settings import METHODS
from search_spaces import SPACES
from tests.tiny_run import TINY, nas, write_config

Capture = pytest.CaptureFixture[str]


KINDS = '''\
"""A space of one choice and an attack of one step, as their own packages would define them."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from nas.attacks import ATTACKS, Fgsm
from search_spaces import SPACES, BlockSpec, Choice, NetworkSpec, SearchSpace, SpaceEntry


@dataclass(frozen=True)
class Lone:
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    name: Literal["lone"] = "lone"
    widths: tuple[int, ...] = (4, 8)


def spec_of(input_shape, num_classes, values):
    return NetworkSpec(input_shape, num_classes, (BlockSpec("conv", 0, input_shape[0], values["width"], values["width"], 3, 2),))


def lone(settings, input_shape, num_classes):
    choices = (Choice("width", settings.widths),)
    return SearchSpace("lone", choices, input_shape, num_classes, partial(spec_of, input_shape, num_classes))


class Twice(Fgsm):
    name: Literal["twice"] = "twice"


SPACES["lone"] = SpaceEntry(Lone, lone)
ATTACKS["twice"] = Twice
'''  # noqa: E501 - of the plugin


TRAINING = '''\
"""A training method that smooths labels, and a treatment that keeps the classifier's weights small."""

from typing import Literal

from nas.base.settings import Settings
from nas.networks.treatments import TREATMENTS
from nas.training.settings import METHODS

METHODS["smoothed"] = "another_plugin_torch:Smoothed"


class Small(Settings):
    name: Literal["small"] = "small"
    largest: float = 0.01

    def make(self):
        from another_plugin_torch import SmallClassifier

        return SmallClassifier(self.largest)


TREATMENTS["small"] = Small
'''
WITH_TORCH = """\
import torch
from torch.nn import functional as F

from nas.networks.treatments.treatment import Treatment
from nas.training.methods import BaseMethod


class Smoothed(BaseMethod):
    def loss(self, state, batch, threat):
        (logits,) = state.forward(batch.x)
        return F.cross_entropy(logits, batch.y, label_smoothing=0.2), logits


class SmallClassifier(Treatment):
    def __init__(self, largest):
        super().__init__()
        self.largest = largest

    def prepare_(self, network, generator):
        self.register_buffer("steps", torch.zeros(()))

    @torch.no_grad()
    def after_step_(self, network, progress):
        network.classifier.weight.clamp_(-self.largest, self.largest)
        self.steps += 1
"""


@pytest.fixture
def other_registries(forgotten: None) -> Iterator[None]:
    """All other registries are afterwards as they were."""
    kept = [(registry, dict(registry)) for registry in (SPACES, ATTACKS, METHODS, TREATMENTS)]
    yield
    for registry, entries in kept:
        registry.clear()  # type: ignore[attr-defined]
        registry.update(entries)  # type: ignore[attr-defined]


def test_a_plugin_may_bring_a_space_and_an_attack(place: Path, other_registries: None, capsys: Capture) -> None:
    (place / "another_plugin.py").write_text(KINDS)
    space = TINY[TINY.index("space:") : TINY.index("threat:")]
    text = TINY.replace(space, "space: {name: lone, widths: [4, 6, 8]}\nplugins: [another_plugin]\n")
    text += "objectives: [robust_accuracy, params]\n"
    text = text.replace("attack: {name: pgd, steps: 2, step_size: 0.05}", "attack: {name: twice}")
    config = load_config(path := write_config(place, text))
    assert (config.space.name, config.evaluation.attack.name) == ("lone", "twice")  # type: ignore[comparison-overlap]
    (place / "again.yaml").write_text(dump_config(config))
    assert load_config(place / "again.yaml") == config
    assert nas(capsys, "search", path).code == 0
    first = open_run(Path("runs/tiny")).records[0].evaluation
    assert first is not None
    assert first.attack["name"] == "twice"
    with pytest.raises(ConfigError, match=r"space\.widths\.0: Input should be a valid integer"):
        load_config(path, ["space.widths=[wide]"])
    flat = nas(capsys, "search", path, "--run", "flat", "--set", "objectives=[lipschitz_bound_log10, params]")
    assert "lipschitz_bound_log10 has no natural worst value here" in " ".join(flat.message.split())
    with pytest.raises(ConfigError, match="nowhere"):
        load_config(path, ["space.name=nowhere"])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_plugin_may_bring_a_method_and_a_treatment(
    place: Path, other_registries: None, capsys: Capture, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr("nas.runs.placement.available_cores", lambda: 2)
    (place / "another_plugin.py").write_text(TRAINING)
    (place / "another_plugin_torch.py").write_text(WITH_TORCH)
    path = write_config(place, TINY + "plugins: [another_plugin]\ntreatments: [{name: small, largest: 0.02}]\n")
    changes = ("training.method=smoothed", "training.epochs=2", f"search.workers={workers}",
               *(("search.executor=processes",) if workers > 1 else ()))  # fmt: skip
    arguments = [part for change in changes for part in ("--set", change)]
    ended = nas(capsys, "search", path, *arguments)
    assert ended.code == 0, ended.err
    run = open_run(Path("runs/tiny"))
    networks = [trained_network(run, record) for record in run.records if record.evaluation]
    assert networks
    for network in networks:
        assert 0.015 < float(network.classifier.weight.abs().max()) <= 0.02
        assert float(network.treatments[0].steps) > 8, "four steps in each of two epochs, and the first call"
    with pytest.raises(ConfigError, match=r"unknown training method 'smooth' \(allowed: .*smoothed\)"):
        load_config(path, ["training.method=smooth"])
