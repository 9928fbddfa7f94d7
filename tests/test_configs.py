"""Every config that comes with the project."""

import pytest
import torch

from nas.runs import costs_of, make_space
from nas.runs.config import load_config
from search_spaces.network import build_network
from tests.conftest import ROOT

CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
SHAPES = {"digits": ((1, 8, 8), 10), "cifar10": ((3, 32, 32), 10), "svhn": ((3, 32, 32), 10),
          "image_folder": ((3, 32, 32), 10), "speech_folder": ((1, 49, 10), 10)}  # fmt: skip


def test_there_are_configs() -> None:
    assert {"digits.yaml", "cifar10.yaml", "mousavi_width.yaml"} <= {path.name for path in CONFIGS}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_config_is_named_like_its_file_and_its_space_builds(path: object) -> None:
    config = load_config(path)
    assert config.name == path.stem
    shape, classes = SHAPES[config.data.name]
    assert getattr(config.data, "feature_shape", shape) == shape
    space = make_space(config, shape, classes)
    for genotype in (space.smallest(), space.largest()):
        spec = space.spec(genotype)
        network = build_network(spec, torch.Generator().manual_seed(0)).eval()
        with torch.no_grad():
            assert network(torch.zeros(2, *shape)).shape == (2, classes)
        counted = sum(parameter.numel() for parameter in network.parameters())
        assert counted == costs_of(config, space, genotype).params
    assert config.budget.allows(costs_of(config, space, space.smallest())), "not even the smallest network fits"
