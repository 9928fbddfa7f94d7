"""The measurement of what a second worker brings does the same work on both sides; nothing here judges the time."""

from pathlib import Path

import pytest

from nas.data.datasets import load_search_data
from nas.runs.config import load_config
from tests.benchmarks.workers_speedup import compare, draw
from tests.tiny_run import write_config


def test_both_sides_train_the_same_networks_and_the_ratio_is_theirs(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path), ())
    data = load_search_data(config.data)
    genotypes = draw(config, data, 3)
    assert len({genotype.key for genotype in genotypes}) == 3
    assert draw(config, data, 3) == genotypes
    found = compare(config, data, 3, number=1)
    one, two = found["1 worker"], found["2 workers"]
    assert found["ratio"] == pytest.approx(one["seconds"] / two["seconds"], rel=0.1)
    for side in (one, two):
        assert 0 < side["busy"] <= 1
        assert side["per_hour"] == pytest.approx(3600 * 3 / side["seconds"], rel=0.1)
        assert side["starting_seconds"] > 0
