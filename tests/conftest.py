"""Shared by all tests. One thread per process: more threads than free cores make torch 20 to 50 times slower."""

import os
import signal
from collections.abc import Iterator

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, and for child processes
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # a second thread does not spin on another process's core

from pathlib import Path

import pytest
import torch

pytest.register_assert_rewrite("nas.testing")

torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell script; children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Benchmarks run once, untimed, unless --benchmark-enable; without pytest-benchmark they have no fixture."""
    if not getattr(config.option, "benchmark_enable", True):
        config.option.benchmark_disable = True


@pytest.fixture(scope="session", autouse=True)
def _no_wait_for_the_disk(request: pytest.FixtureRequest) -> Iterator[None]:
    """No file of this process has to outlive a power failure: fsync only checks its descriptor.

    Searches in processes of their own (test_end_to_end, benchmarks/test_kills) and benchmarks that are timed call the
    real one.
    """

    def checked(descriptor: int) -> None:
        os.fstat(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        if not getattr(request.config.option, "benchmark_enable", False):
            patch.setattr(os, "fsync", checked)
        yield


@pytest.fixture(autouse=True)
def _global_random_state_is_untouched() -> object:
    """Every test also proves that the project neither seeds nor draws from torch's global generator."""
    before = torch.random.get_rng_state()
    yield
    assert torch.equal(before, torch.random.get_rng_state()), "the global random state was used"
