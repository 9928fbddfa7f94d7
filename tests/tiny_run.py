"""A real search small enough for a test: digits, 16 genotypes, one epoch. And the verbs, called in this process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from nas.cli import main
from nas.data.datasets import SearchData
from nas.runs import front_in, make_problem
from nas.runs.config import RunConfig, load_config
from nas.runs.plan import sweep_plan
from search_spaces import Genotype

Refusal = Callable[..., str]
"""What a config with overrides is told (the fixture `refusal`)."""

TINY = """\
name: tiny
data: {name: digits, limit: 200, test_limit: 100}
space:
  name: mobilenet_tiny
  stem_channels: 8
  blocks:
    - {channels: 8, stride: 1, expand_ratio: 1}
    - {channels: 16, stride: 2}
  head_channels: 16
  width_multipliers: [0.5, 1.0]
  expand_ratios: [1, 2, 3, 4]
  divisor: 4
threat: {norm: linf, epsilon: 0.1}
training:
  attack: {steps: 2, step_size: 0.05}
  epochs: 1
  batch_size: 40
  learning_rate: 0.2
  schedule: one_cycle
  ema_decay: 0.9
  augmentation: {crop_padding: 0, flip: false}
evaluation:
  attack: {name: pgd, steps: 2, step_size: 0.05}
  ladder:
    front: [{name: apgd, loss: dlr, steps: 4}, {name: square, queries: 5}]
    final: [{name: apgd, loss: targeted_dlr, steps: 4, targets: 2}, {name: square, queries: 20}]
    trust_images: 20
constraints: [natural_accuracy >= 0]  # an epoch of 160 images teaches little: everybody may be on the front
search: {trials: 3, population: 2, workers: 1, executor: in_process}
retrain: {epochs: 2, validate_every: 1, validation_attack: {name: pgd, steps: 2}}
device: cpu
"""


def write_config(folder: Path, text: str = TINY) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(text)
    return path


LISTED = "sweep: {genotypes: [{width: 0.5, expand: 2}, {width: 1.0, expand: 2}, {width: 0.5, expand: 4}], seeds: 2}\n"
SWEEP = TINY.replace("name: tiny", "name: swept").replace("divisor: 4", "divisor: 4\n  tie: both") + LISTED
TRACKED = SWEEP.replace("epochs: 1", "epochs: 2\n  track_every_epoch: true")


def sweep_config(folder: Path, *overrides: str, text: str = SWEEP) -> RunConfig:
    return load_config(write_config(folder, text), overrides)


def plan_of(config: RunConfig, input_shape: tuple[int, int, int] = (1, 8, 8)) -> list[tuple[Genotype, int]]:
    images = SimpleNamespace(images=torch.empty(0, *input_shape), origins={})
    shape = SimpleNamespace(input_shape=input_shape, num_classes=10, validation=images)
    return sweep_plan(config, make_problem(config, cast(SearchData, shape)), front_in)


@dataclass(frozen=True)
class Ended:
    """How a verb ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The one error message; an assertion where there is a traceback or more than one."""
        assert "Traceback" not in self.err + self.out, self.err
        assert self.err.count("error ") >= 1, self.err
        assert self.err.startswith("error ") or "\nerror " in self.err, self.err
        return self.err[self.err.index("error ") :]


def nas(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Ended:
    """Runs `nas ARGUMENTS` in this process."""
    capsys.readouterr()
    code = call(arguments)
    printed = capsys.readouterr()
    return Ended(code, printed.out, printed.err)


def call(arguments: Sequence[str | Path]) -> int:
    """Exit code of `nas ARGUMENTS`; threads of torch are as before afterwards."""
    threads = torch.get_num_threads()
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        torch.set_num_threads(threads)
    raise AssertionError("a verb ends with an exit code")
