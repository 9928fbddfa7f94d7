"""The server of the workers, and the signal that never reaches them."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from multiprocessing import forkserver
from pathlib import Path

import pytest
import torch

from nas.workers.fork_server import METHOD, OPTIMIZER, ctrl_c_blocked, start_server
from tests.conftest import ROOT


def blocked() -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, set())


def test_ctrl_c_is_blocked_inside_and_as_before_afterwards() -> None:
    assert not blocked()
    with ctrl_c_blocked():
        assert blocked()
    assert not blocked()


def test_ctrl_c_is_as_before_after_an_error_and_when_nested() -> None:
    with pytest.raises(ZeroDivisionError), ctrl_c_blocked():
        raise ZeroDivisionError
    assert not blocked()
    with ctrl_c_blocked():
        with ctrl_c_blocked():
            pass
        assert blocked(), "the inner block lifted the outer one"
    assert not blocked()


def test_other_signals_are_left_alone() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        with ctrl_c_blocked():
            pass
        assert signal.SIGUSR1 in signal.pthread_sigmask(signal.SIG_BLOCK, set())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_ctrl_c_that_came_while_blocked_arrives_afterwards() -> None:
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the signal arrives at the end of the block
        with ctrl_c_blocked():
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)  # other threads are not blocked
            inside = "not interrupted"
        raise AssertionError("lost")
    assert inside == "not interrupted"


def test_threads_started_inside_block_it_for_good() -> None:
    found: list[bool] = []
    with ctrl_c_blocked():
        thread = threading.Thread(target=lambda: found.append(blocked()))
        thread.start()
    thread.join()
    assert found == [True]


needs_server = pytest.mark.skipif(METHOD != "forkserver", reason="this system spawns its workers")


@needs_server
def test_workers_are_forks_of_a_server() -> None:
    assert METHOD in multiprocessing.get_all_start_methods()


_TWICE = """
import multiprocessing, os, sys
from multiprocessing import forkserver
from pathlib import Path
from nas.workers.fork_server import start_server

MODULE = sys.argv[1]
KNOWN = MODULE in sys.modules

def imported():
    return MODULE in sys.modules, os.getppid()

if __name__ == "__main__":
    start_server(MODULE)
    first = forkserver._forkserver._forkserver_pid
    start_server(MODULE)
    assert forkserver._forkserver._forkserver_pid == first, "a second server"
    assert (MODULE in sys.modules) == KNOWN, "imported here, not by the server"
    with multiprocessing.get_context("forkserver").Pool(1) as pool:
        print(*pool.apply(imported), first, forkserver._forkserver._forkserver_pid)
"""


@needs_server
def test_a_server_is_started_once_and_imports_for_its_workers(tmp_path: Path) -> None:
    script = tmp_path / "twice.py"
    script.write_text(_TWICE)
    run = subprocess.run(
        [sys.executable, str(script), "wave"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert run.returncode == 0, run.stderr
    imported, parent, first, last = run.stdout.split()
    assert imported == "True", "the worker had to import by itself"
    assert parent == first == last
    assert run.stderr == ""


@needs_server
def test_files_of_the_users_are_not_taken_for_modules_of_the_library(tmp_path: Path) -> None:
    (tmp_path / "queue.py").write_text("raise SystemExit('the wrong queue')")
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts" / "twice.py"
    script.write_text(_TWICE)
    run = subprocess.run(
        [sys.executable, str(script), "queue"], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""


@needs_server
def test_starting_the_server_leaves_ctrl_c_as_it_was() -> None:
    start_server("nas.runs.trial")
    start_server("nas.runs.trial")
    assert not blocked()
    forkserver.ensure_running()


def test_an_optimizer_needs_what_the_server_imports_for_it() -> None:
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
    assert OPTIMIZER in sys.modules
