"""Every executor keeps the contract; worker processes also crash, hang and outlive nobody."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.base.errors import NasError
from nas.base.records import Candidate, Outcome
from nas.workers import local as executors
from nas.workers.local import Executor, InProcess, Processes
from nas.workers.ray import RayTasks
from tests.contracts.executor_contract import EVALUATE, ExecutorContract, candidate, run_all
from tests.running import alive, python_process, seconds_until_ended


class TestInProcess(ExecutorContract):
    kind = InProcess

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Executor:
        return InProcess(EVALUATE)

    def test_forgets_its_queue_when_closed(self) -> None:
        executor = InProcess(EVALUATE)
        executor.submit(candidate(1))
        executor.close()
        assert executor.collect(0.0) == []


class TestProcesses(ExecutorContract):
    kind = Processes

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Iterator[Executor]:
        processes = Processes(EVALUATE, workers=2, threads=1, timeout=2.0)
        yield processes
        processes.close()

    def test_has_the_capacity_of_its_workers(self, executor: Executor) -> None:
        assert executor.capacity == 2

    def test_a_crash_a_timeout_and_ctrl_c_touch_no_other_candidate(self, executor: Executor) -> None:
        outcomes = run_all(executor, [60, 1, 61, 62, 63, 2])
        assert "exit code 3" in (outcomes[60].error or "")
        assert "search.trial_timeout = 2 s" in (outcomes[61].error or "")
        assert "SIGKILL" in (outcomes[62].error or "")
        causes = [outcomes[number].cause for number in (60, 61, 62)]
        assert causes == ["environment", "candidate", "environment"], "what is too slow is so by itself"
        assert all(outcomes[number].evaluation is None for number in (60, 61, 62))
        assert all(outcomes[number].evaluation is not None for number in (1, 2, 63))


class _Deadly:
    """An `evaluate` whose arrival ends the worker, as a lack of memory would."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (3,)

    def __call__(self, candidate: Candidate) -> Outcome:
        raise AssertionError("no worker lives to call this")


def test_workers_that_cannot_start_are_an_error_of_ours() -> None:
    executor = Processes(_Deadly(), workers=1, threads=1, timeout=None)
    try:
        with pytest.raises(NasError, match="worker"):
            run_all(executor, [1])
    finally:
        executor.close()


def test_every_executor_has_a_contract_case() -> None:
    found = [entry for entry in vars(executors).values() if isinstance(entry, type) and hasattr(entry, "submit")]
    classes = {entry for entry in found if entry.__module__ == executors.__name__ and entry is not Executor}
    cases = {case.kind for case in ExecutorContract.__subclasses__()}  # type: ignore[attr-defined]
    assert classes == cases - {RayTasks}, "RayTasks has its case where Ray is installed (test_ray_executor.py)"


_PARENT = """
import signal, sys
from pathlib import Path
from nas.workers.local import Processes
from tests.contracts.executor_contract import candidate
from tests.toy import ToyEvaluate

if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: None)  # a handler, which children do not inherit
    evaluate = ToyEvaluate(acts={1: "pid", 2: "pid"}, folder=Path(sys.argv[1]))
    executor = Processes(evaluate, workers=2, threads=1, timeout=None)
    executor.submit(candidate(1))
    executor.submit(candidate(2))
    print("started", flush=True)
    while True:
        executor.collect(1.0)
"""


def test_workers_bear_ctrl_c_while_they_start_and_end_with_a_search_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(_PARENT)
    with python_process(tmp_path, "parent.py", str(tmp_path)) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "started\n"
        files, interrupts = [tmp_path / "1.pid", tmp_path / "2.pid"], 0
        while not all(file.exists() and file.read_text().endswith("\n") for file in files):
            assert parent.poll() is None, parent.communicate()
            if interrupts < 20:
                os.killpg(parent.pid, signal.SIGINT)
                interrupts += 1
            time.sleep(0.1)
        assert {int(file.read_text()) for file in files} <= alive(parent.pid).keys()
        parent.kill()
        seconds_until_ended(parent.pid, limit=10)
        assert "KeyboardInterrupt" not in parent.communicate()[1]
