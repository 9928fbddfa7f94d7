"""What reads a run or checks a config needs none of the slow packages."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

SLOW = ("torch", "torchvision", "optuna", "scipy", "sklearn", "sqlalchemy", "matplotlib")
"""Seconds each; absent in the process below, where an import of one is an error."""
SCRIPT = f"""
import sys
sys.modules |= dict.fromkeys({SLOW!r})
from nas.cli import main
for line in sys.argv[1:]:
    try:
        main(line.split())
    except SystemExit as ended:
        print(f"ended {{line}}: {{ended.code}}")
"""


def test_runs_are_read_and_configs_checked_without_the_slow_packages(
    workplace: Path,
) -> None:
    lines = (
        "front runs/tiny", "front runs/tiny --format json", "front runs/tiny --where params<=1M", "show runs/tiny 0",
        "show runs/tiny best:robust_accuracy --format json", "study insights runs/tiny --format json",
    )  # fmt: skip
    lines = (*lines, "check --explain training.attack.steps")
    wrong = ("check tiny.yaml --set training.epoch=3", "search tiny.yaml --set training.epoch=3")
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, *lines, *wrong], capture_output=True, text=True, encoding="utf-8",
        cwd=workplace, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    ended = [line for line in found.stdout.splitlines() if line.startswith("ended ")]
    assert ended == [f"ended {line}: 0" for line in lines] + [f"ended {line}: 2" for line in wrong], found.stderr
    assert found.stderr.count("did you mean epochs?") == 2


def test_at_exit_the_garbage_collector_skips_what_is_there() -> None:
    code = (
        "import atexit, gc; atexit.register(lambda: print('frozen', gc.get_freeze_count()));"
        "from nas.cli import main; main()"
    )
    ended = subprocess.run([sys.executable, "-c", code, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(ended.stdout.rpartition("frozen ")[2]) > 10_000


def test_workers_import_no_torchvision() -> None:
    code = "import sys, nas.runs.trial; sys.exit('torchvision' in sys.modules or 'torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
