"""A search around ResNet-8 with Jacobian regularisation, a retraining, and the uniform baselines of both spaces."""

import json
from pathlib import Path

import pytest

from nas.runs import open_run
from nas.runs.config import load_config
from search_spaces.mlperf_tiny import DsCnn, ResnetTiny
from tests.tiny_run import TINY, nas, plan_of, write_config

SPACE = """\
space:
  name: resnet_tiny
  stacks: [{channels: 8}, {channels: 16, stride: 2}]
  stem_channels: 8
  width_multipliers: [1.0, 1.5]
  depths: [1, 2]
"""
RESNET = TINY[: TINY.index("space:")] + SPACE + TINY[TINY.index("threat:") :]
HALTED = ("training={epochs: 2, method: natural, jacobian: {weight: 0.001, projections: 2}}",
          "search.halting.epochs=[1]", "search.start_from.presets=[resnet8]", "search.anchors=false")  # fmt: skip


def test_search_resume_and_retrain_with_a_jacobian_term(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path, RESNET)
    sets = [part for change in HALTED for part in ("--set", change)]
    for trials in ("1", "2"):  # the second call goes on with the first one's run
        ended = nas(capsys, "search", "tiny.yaml", *sets, "--set", f"search.trials={trials}")
        assert ended.code == 0, ended.err
    run = open_run(Path("runs/tiny"))
    assert dict(run.records[0].genotype.values) == {"width_1": 1.0, "width_2": 1.0, "depth_1": 1, "depth_2": 1}
    assert run.config.retrain.jacobian == run.config.training.jacobian
    assert run.config.training.jacobian.projections == 2
    ended = nas(capsys, "retrain", "runs/tiny", "--pick", "0", "--format", "json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["evaluation"]["robust_accuracy"] >= 0


@pytest.mark.parametrize(("settings", "networks"), [(ResnetTiny(), 15), (DsCnn(), 10)])
def test_the_uniform_baseline_of_a_space_holds_its_reference(
    tmp_path: Path, settings: ResnetTiny | DsCnn, networks: int
) -> None:
    config = load_config(write_config(tmp_path), ("sweep={uniform: true, seeds: 2}",))
    config = config.model_copy(update={"space": settings})
    plan = plan_of(config, (1, 49, 10))
    assert len(plan) == 2 * networks
    assert sum(all(value == 1 for value in genotype.values.values()) for genotype, _ in plan) == 2
    assert all(len({v for k, v in g.values.items() if k.startswith("width")}) == 1 for g, _ in plan)


def test_settings_of_both_spaces_are_read_from_a_config(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path, RESNET))
    assert isinstance(config.space, ResnetTiny)
    assert [stack.channels for stack in config.space.stacks] == [8, 16]
    spectrograms = load_config(
        write_config(tmp_path, RESNET), ("space={name: ds_cnn, stem_kernel: [8, 4], width_multipliers: [1.0]}",)
    )
    assert isinstance(spectrograms.space, DsCnn)
    assert spectrograms.space.stem_kernel == (8, 4)
