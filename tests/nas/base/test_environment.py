"""What a run records of the machine and of the checkout."""

import json
import subprocess
from pathlib import Path

import pytest

from nas.base import environment
from tests.conftest import ROOT


def test_every_start_is_kept_with_the_revision_of_the_checkout(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout")
    head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    for workers in (1, 2):
        environment.log_environment(tmp_path / "environment.json", workers, 1)
    starts = json.loads((tmp_path / "environment.json").read_text())
    assert [one["workers"] for one in starts] == [1, 2]
    assert {one["git_revision"] for one in starts} == {head.stdout.strip()}


def test_an_installed_package_has_no_revision(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    author = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run(["git", "-C", str(tmp_path), *author, "commit", "-q", "--allow-empty", "-m", "c"], check=True)
    (tmp_path / "site-packages" / "nas").mkdir(parents=True)
    assert environment._git(tmp_path / "site-packages" / "nas", "rev-parse", "HEAD") is None
    (tmp_path / "nas").mkdir()
    assert environment._git(tmp_path / "nas", "rev-parse", "HEAD") is not None
