"""Files that are either whole or absent, and folders with one writer."""

import fcntl
import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from nas.errors import RunLocked, UsageError


def write_atomic(path: Path, content: bytes) -> None:
    """Replaces the file at `path` by `content` so that a crash at any moment leaves the old file or the new one.

    The file keeps its permission bits; a symbolic link stays, and the file it names is replaced. A device, a pipe or
    the file behind a standard stream has no content to be replaced: `content` is written into it.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        found = None
    if found is not None and (stream := _stream_of(found)):
        stream.flush()
        stream.buffer.write(content)
        stream.flush()
        return
    if found is not None and not stat.S_ISREG(found.st_mode):
        with path.open("wb") as file:
            file.write(content)
        return
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{target.name}.part")
    with part.open("wb") as file:
        if found is not None:
            os.fchmod(file.fileno(), stat.S_IMODE(found.st_mode))
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(target)


def _stream_of(found: os.stat_result) -> TextIO | None:
    """Standard stream that writes to this very file (/dev/stdout, /dev/fd/2, …); None where neither does."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # closed, or a stream without a file
            if os.path.samestat(found, os.fstat(stream.fileno())):
                return stream
    return None


def write_json(path: Path, data: Any) -> None:
    """Replaces `path` atomically by `data` as JSON. Raises ValueError for NaN and infinities."""
    write_atomic(path, (json.dumps(data, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """What `write_json` wrote to a file of a run. Raises UsageError where it is missing or no JSON."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UsageError(f"{path} is missing: the run was never started; run `nas search CONFIG`") from None
    except ValueError as error:
        raise UsageError(f"{path} is damaged ({error}); restore it or remove it and run `nas search` again") from error


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Holds the only right to write to `folder`; freed by the system even when the process is killed.

    Raises RunLocked while another process holds it. Leaves an empty file `.lock`.
    """
    with (folder / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunLocked(
                f"{folder} is being written by another process; wait for it, stop it, or use --run NAME"
            ) from None
        yield
