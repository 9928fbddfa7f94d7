"""`nas report`: where the page is written, with what in it, and while a search goes on."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nas.runs import open_run
from nas.studies import versus
from tests.conftest import ROOT
from tests.made_run import made_run, write_study
from tests.tiny_run import nas

Capture = pytest.CaptureFixture[str]


def data_of(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    return json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[0])


def test_the_page_is_in_the_run_folder_or_where_it_is_asked_for(tmp_path: Path, capsys: Capture) -> None:
    run = made_run(tmp_path / "a run", 6)
    ended = nas(capsys, "report", run)
    assert (ended.code, ended.out) == (0, "")
    assert "wrote" in ended.err
    found = data_of(run / "report.html")
    assert (found["title"], found["refresh"], found["baseline"]) == ("a run", None, None)
    assert found["command"]["retrain"] == f"nas retrain '{run}' --pick "
    assert nas(capsys, "report", run, "--out", tmp_path / "new" / "x.html").code == 0
    assert data_of(tmp_path / "new" / "x.html")["title"] == "a run"
    assert nas(capsys, "report", tmp_path / "nothing").code == 2


def test_the_baseline_is_the_one_of_the_terminal(tmp_path: Path, capsys: Capture) -> None:
    run, other = made_run(tmp_path / "made", 25), made_run(tmp_path / "other", 9, seed=3)
    assert nas(capsys, "report", run, "--baseline", other).code == 0
    found = data_of(run / "report.html")["baseline"]
    facts = versus(open_run(run), open_run(other)).facts
    assert facts["steps"]
    for shown, step in zip(found["facts"]["steps"], facts["steps"], strict=True):
        assert (shown["difference"], shown["low"], shown["high"]) == (step["difference"], step["low"], step["high"])
    assert found["words"][0].startswith("hypervolume ")


def test_watching_writes_the_page_anew_when_a_trial_ends(tmp_path: Path) -> None:
    run = made_run(tmp_path / "made", 6)
    records = open_run(run).records
    write_study(run / "study.journal", records[:3])
    code = "import nas.cli.watching as w; w.EVERY = 1; from nas.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "report", str(run), "--watch"], stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        page = run / "report.html"
        _wait(lambda: page.exists() and len(data_of(page)["trials"]["number"]) == 3)
        assert data_of(page)["refresh"] == 1
        write_study(run / "study.journal", records)
        _wait(lambda: len(data_of(page)["trials"]["number"]) == 6)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert data_of(page)["refresh"] is None, "the last page does not read itself again"
    finally:
        process.kill()
        process.communicate()


def _wait(happened: Any) -> None:
    began = time.monotonic()
    while not happened():
        assert time.monotonic() - began < 60
        time.sleep(0.1)
