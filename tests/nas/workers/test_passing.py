"""Tensors on their way to worker processes: shared, or copied where shared memory is too small."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
import torch
from torch import nn

from nas.workers.local import Processes
from nas.workers.passing import Copied, passable
from tests.builders import TINY_TRAINING, tiny_data, tiny_network
from tests.conftest import ROOT
from tests.toy import ToyEvaluate

FULL = "unable to allocate shared memory(shm) for file </torch_7_8_0>: No space left on device (28)"
LIMITED = "unable to resize file </torch_7_8_0> to the right size: File too large (27)"


@dataclasses.dataclass
class Task:
    """A plan as a search has it: data, a module with parameters, other things."""

    data: object
    network: nn.Module
    other: object

    def __call__(self, number: int) -> int:
        return number + 1


def task() -> Task:
    return Task(tiny_data(), tiny_network(), TINY_TRAINING)


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes every use of shared memory fail with a message."""

    def use(message: str) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise RuntimeError(message)

        monkeypatch.setattr(torch.Tensor, "share_memory_", refuse)
        monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", refuse)

    return use


def test_tensors_are_shared_where_there_is_room() -> None:
    own = task()
    passed, reason = passable(own)
    assert (passed, reason) == (own, "")
    assert own.data.train.images.is_shared()  # type: ignore[attr-defined]
    assert all(parameter.is_shared() for parameter in own.network.parameters())


@pytest.mark.parametrize(("message", "words"), [(FULL, "--shm-size"), (LIMITED, "ulimit -f")])
def test_what_shared_memory_cannot_hold_is_copied_bit_for_bit(
    fail: Callable[[str], None], message: str, words: str
) -> None:
    own = task()
    fail(message)
    passed, reason = passable(own)
    assert isinstance(passed, Copied)
    assert words in reason
    arrived = ForkingPickler.loads(ForkingPickler.dumps(passed))
    assert type(arrived) is Task
    assert (arrived(3), passed(3), arrived.other) == (4, 4, own.other)
    assert arrived.data.fingerprint == own.data.fingerprint  # type: ignore[attr-defined]
    assert arrived.data.train.images.add_(1).sum() > 0, "a worker may write to its copy"  # type: ignore[attr-defined]
    for (name, ours), (_, theirs) in zip(
        own.network.named_parameters(), arrived.network.named_parameters(), strict=True
    ):
        assert torch.equal(ours, theirs), name
        assert isinstance(theirs, nn.Parameter)
        assert theirs.requires_grad == ours.requires_grad
    buffers = dict(arrived.network.named_buffers())
    assert all(torch.equal(buffers[name], value) for name, value in own.network.named_buffers())


def test_another_error_of_a_task_is_not_taken_for_a_lack_of_memory(fail: Callable[[str], None]) -> None:
    fail("something else")
    with pytest.raises(RuntimeError, match="something else"):
        passable(task())


def test_workers_with_copies_are_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("nas.workers.local.passable", lambda evaluate: (Copied(evaluate), "it is small"))
    executor = Processes(ToyEvaluate(), workers=2, threads=1, timeout=None, warn=said.append)
    executor.close()
    (text,) = said
    assert "shared memory (it is small): each of the 2 workers gets a copy" in text


def test_a_folder_for_temporary_files_with_a_long_name_is_named(tmp_path: Path) -> None:
    folder = tmp_path / ("t" * 110)
    folder.mkdir()
    code = "from nas.workers.fork_server import start_server; start_server('json')"
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert "UsageError: the folder for temporary files" in ended.stderr, ended.stderr
    assert "set TMPDIR to a shorter one" in ended.stderr
