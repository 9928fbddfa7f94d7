"""How a task with large tensors reaches worker processes: in shared memory, or as a copy for each of them."""

import io
import shutil
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SHARED_MEMORY = Path("/dev/shm")


def passable(task: Any) -> tuple[Any, str]:
    """`task` as it can be sent to worker processes, and why these get copies of its tensors; "" where they share them.

    Moves the tensors of `task` to shared memory as far as that holds them.
    """
    try:
        _Sharing(io.BytesIO()).dump(task)
    except RuntimeError as error:
        if "torch_" not in str(error):  # not of torch's files in shared memory
            raise
        return Copied(task), _reason(str(error))
    return task, ""


class Copied:
    """A task that is sent with its tensors' values: they take no shared memory, and are not shared."""

    def __init__(self, task: Any) -> None:
        self.task = task

    def __call__(self, *arguments: Any) -> Any:
        """Result of the task itself."""
        return self.task(*arguments)

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        content = io.BytesIO()
        _Copying(content).dump(self.task)
        return ForkingPickler.loads, (content.getvalue(),)


class _Sharing(ForkingPickler):
    """Moves every tensor that it meets to shared memory; what it writes is of no use."""

    def reducer_override(self, found: Any) -> Any:
        if isinstance(found, Tensor):
            found.share_memory_()  # type: ignore[no-untyped-call]
            return int, ()
        return NotImplemented


class _Copying(ForkingPickler):
    """Writes tensors as arrays, by value."""

    def reducer_override(self, found: Any) -> Any:
        if isinstance(found, nn.Parameter):
            return _parameter, (found.detach(), found.requires_grad)
        if isinstance(found, Tensor):
            return torch.from_numpy, (found.detach().cpu().numpy(),)
        return NotImplemented


def _parameter(values: Tensor, requires_grad: bool) -> nn.Parameter:
    return nn.Parameter(values, requires_grad)


def _reason(error: str) -> str:
    """Cause of torch's message."""
    if "File too large" in error:
        return "the limit on the size of files is below it; raise it with ulimit -f"
    if "No space left" in error and SHARED_MEMORY.is_dir():
        size = shutil.disk_usage(SHARED_MEMORY).total / 1e6
        return f"{SHARED_MEMORY} holds {size:,.0f} MB; docker run --shm-size=2g gives more"
    return error.rpartition(": ")[2]
