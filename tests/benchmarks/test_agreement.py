"""The comparison with the reference implementations, on one network and with few steps."""

import itertools

import pytest

from nas.data.datasets import load_search_data
from tests.benchmarks.agreement import PAIRS, accuracies, subjects, table
from tests.benchmarks.equal_accuracy import digits_config

pytest.importorskip("pyautoattack")
pytest.importorskip("torchattacks")


def test_our_attacks_and_the_reference_implementations_agree() -> None:
    config = digits_config()
    data = load_search_data(config.data)
    rows = [
        (subject, accuracies(subject, data.validation[:100], steps=15, queries=50))
        for subject in itertools.islice(subjects(config, data, epochs=3), 1)
    ]
    for _, found in rows:
        for name in PAIRS:
            assert abs(found[name][0] - found[name][1]) <= 2, f"{name}: {found[name]}"  # two images of 100
        assert found["PGD, all iterates"][0] <= found["PGD"][0]
        assert found["AutoAttack"][0] <= min(found["APGD-CE"][0], found["APGD-T"][0]) + 2
    assert 2 < rows[0][1]["AutoAttack"][0] < 98
    assert table(rows).splitlines()[-1].startswith("| mean difference")
