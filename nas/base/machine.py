"""What this machine offers, and how a process of ours uses it."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nas.base.errors import ConfigError

if TYPE_CHECKING:
    import torch

DEVICE_PATTERN = r"auto|cpu|cuda(:\d+)?"


def available_cores() -> int:
    """Cores this process may use: its affinity, within the CPU quota of its container (cgroup v2)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup, or no quota ("max")
        return cores


def resolve_device(name: str) -> torch.device:
    """Device by its config name. Raises ConfigError for a CUDA device that is not there."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(DEVICE_PATTERN, name):
        raise ConfigError(f"device: {name} is unknown (allowed: auto, cpu, cuda, cuda:N)")
    kind, _, index = name.partition(":")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():  # torch.device wraps indices from 128 on
        raise ConfigError(f"device: {name} is not there ({torch.cuda.device_count()} CUDA devices); use auto or cpu")
    return torch.device(name)


def claim_threads(threads: int) -> None:
    """Sets the threads of torch in this process, and lets it keep the memory that it frees.

    glibc gives large blocks back at once and fetches them again page by page with the next tensor: a tenth of a
    training step, half of a lone attack step. Elsewhere than on glibc only the threads are set.
    """
    import torch

    torch.set_num_threads(threads)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the most that glibc allows
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def threads_restored() -> Iterator[None]:
    """Torch has as many threads afterwards as before: what is within it may claim them."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def claim_memory(device: str, workers: int) -> None:
    """Keeps this process to its share of a GPU's memory, of which a tenth stays free; nothing on a CPU.

    A candidate that wants more fails alone, with torch's message, instead of taking its neighbours with it.
    """
    import torch

    if torch.device(device).type == "cuda":
        # A bare "cuda" is refused by torch: it wants an index.
        torch.cuda.set_per_process_memory_fraction(0.9 / workers, torch.device(device).index or 0)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of malloc.h."""


def processor() -> str:
    """Name of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
