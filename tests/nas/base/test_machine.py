"""Cores, devices and threads as the machine has them, and where it has less than usual."""

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import nas
from nas.base.errors import ConfigError
from nas.base.machine import available_cores, claim_memory, claim_threads, resolve_device


@pytest.fixture
def _threads_come_back() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads_come_back")
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_those_claimed(threads: int) -> None:
    claim_threads(threads)
    assert torch.get_num_threads() == threads


@pytest.mark.usefixtures("_threads_come_back")
@pytest.mark.parametrize("error", [OSError, AttributeError, TypeError])
def test_threads_are_claimed_where_the_c_library_has_no_such_options(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(name: str | None) -> None:
        raise error("no glibc here")

    monkeypatch.setattr(ctypes, "CDLL", fail)
    claim_threads(2)
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("_threads_come_back")
def test_freed_memory_is_kept_up_to_the_most_that_glibc_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    library = SimpleNamespace(mallopt=lambda option, value: asked.append((option, value)))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    claim_threads(1)
    assert dict(asked) == {-3: 32 * 2**20, -1: 2**31 - 1}  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD of malloc.h


@pytest.mark.parametrize(
    ("content", "cores"),
    [
        ("max 100000\n", 6),
        ("400000 100000\n", 4),
        ("150000 100000\n", 1),
        ("50000 100000\n", 1),
        ("9900000 100000\n", 6),
        ("", 6),
        ("nonsense\n", 6),
        (None, 6),
    ],
)
def test_cores_are_those_of_the_affinity_within_the_containers_quota(
    monkeypatch: pytest.MonkeyPatch, content: str | None, cores: int
) -> None:
    def read_text(path: Path, encoding: str | None = None) -> str:
        assert str(path) == "/sys/fs/cgroup/cpu.max"
        if content is None:
            raise FileNotFoundError(str(path))
        return content

    with monkeypatch.context() as patch:
        patch.setattr("os.sched_getaffinity", lambda pid: set(range(6)))
        patch.setattr(Path, "read_text", read_text)
        found = available_cores()
    assert found == cores


def test_without_an_affinity_the_cores_are_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_text(path: Path, encoding: str | None = None) -> str:
        raise FileNotFoundError(str(path))

    with monkeypatch.context() as patch:
        patch.delattr("os.sched_getaffinity", raising=False)
        patch.setattr(Path, "read_text", read_text)
        patch.setattr("os.cpu_count", lambda: 5)
        five = available_cores()
        patch.setattr("os.cpu_count", lambda: None)
        unknown = available_cores()
    assert (five, unknown) == (5, 1)


@pytest.mark.parametrize("name", ["gpu", "", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "mps", "CPU", "cuda:0 "])
def test_a_device_of_another_name_is_refused_with_those_allowed(name: str) -> None:
    with pytest.raises(ConfigError, match=r"allowed: auto, cpu, cuda, cuda:N"):
        resolve_device(name)


@pytest.mark.parametrize(
    "name", ["cuda:99", "cuda:127", "cuda:128", "cuda:256", "cuda:300", "cuda:99999999999999999999"]
)
def test_a_gpu_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is not there"):
        resolve_device(name)


def test_auto_is_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, kind in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert resolve_device("auto").type == kind
    assert resolve_device("cpu") == torch.device("cpu")


def test_without_a_gpu_none_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for name in ("cuda", "cuda:0"):
        with pytest.raises(ConfigError, match=r"0 CUDA devices"):
            resolve_device(name)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize(("device", "index"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
@pytest.mark.parametrize("workers", [1, 4])
def test_a_worker_claims_its_share_of_the_memory_of_its_gpu(
    monkeypatch: pytest.MonkeyPatch, device: str, index: int, workers: int
) -> None:
    claimed: list[tuple[float, int]] = []

    def claim(fraction: float, device: str | int | torch.device) -> None:
        claimed.append((fraction, torch.cuda._utils._get_device_index(device)))  # as torch does; refuses a bare "cuda"

    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", claim)
    claim_memory(device, workers)
    assert claimed == [(pytest.approx(0.9 / workers), index)]


def test_a_cpu_has_no_memory_to_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cuda, "set_per_process_memory_fraction")
    claim_memory("cpu", 4)


@pytest.mark.parametrize(
    ("set_before", "spins"),
    [({}, str(nas.SPINS)), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None"), ({"GOMP_SPINCOUNT": "7"}, "7")],
)
def test_idle_threads_sleep_soon_unless_the_environment_says_otherwise(set_before: dict[str, str], spins: str) -> None:
    bare = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    code = "import nas, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, env=bare | set_before, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == spins
