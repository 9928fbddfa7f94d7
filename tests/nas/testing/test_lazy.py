"""The contracts ship in the package, and cost nothing until they are used."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import nas.testing
from tests.conftest import ROOT

OWN = """\
from dataclasses import dataclass
from functools import partial

from nas.testing import SpaceContract
from search_spaces import BlockSpec, Choice, NetworkSpec, SearchSpace


def spec_of(shape, classes, values):
    width = values["width"]
    return NetworkSpec(shape, classes, (BlockSpec("conv", 0, shape[0], width, width, 3, 2),))


class TestOne(SpaceContract):
    @staticmethod
    def make(shape, classes):
        return SearchSpace("one", (Choice("width", OPTIONS),), shape, classes, partial(spec_of, shape, classes))


OPTIONS = (5, 3, 2)  # must ascend
"""


def test_asking_for_names_imports_neither_pytest_nor_torch() -> None:
    code = "import sys, nas.testing; dir(nas.testing); sys.exit(bool({'pytest', 'torch'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    assert set(nas.testing.CONTRACTS) <= set(dir(nas.testing))


def test_without_pytest_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytest", None)
    with pytest.raises(ImportError, match="pip install pytest"):
        _ = nas.testing.SpaceContract
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = nas.testing.Nothing


def test_an_author_runs_the_contract_on_a_space_outside_the_package(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text(OWN)
    few = "largest_genotype or pickling"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "test_own.py", "-k", few]
    ran = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        encoding="utf-8", check=False,
    )  # fmt: skip
    assert "small <= min(drawn)" in ran.stdout, "pytest explains the assertion"
    failed = "FAILED test_own.py::TestOne::test_the_largest_genotype_is_larger_than_the_smallest"
    assert failed in ran.stdout
    assert "1 failed, 1 passed" in ran.stdout
