"""Files that are either whole or absent, and folders with one writer."""

import fcntl
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, TypeVar

from pydantic import ValidationError

from nas.base.errors import RunLocked, UsageError

T = TypeVar("T")


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


def read_json(path: Path, parse: Callable[[Any], T], remedy: str) -> T:
    """What `parse` makes of what `write_json` wrote to a file of a run.

    Raises UsageError where the file is missing, is no JSON, or holds what `parse` refuses (a file of another version,
    say): which file, what is wrong, and `remedy`, which says what to do and what is kept.
    """
    try:
        return parse(json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise UsageError(f"{path} is missing: the run was never started; run `nas search CONFIG`") from None
    except UNREADABLE as error:
        raise UsageError(f"{path} is damaged, or of another version ({fault_text(error)}); {remedy}") from error


def read_json_lines(path: Path, parse: Callable[[Any], T], remedy: str) -> list[T]:
    """As `read_json`, of every line of a file; nothing where there is no file. A line that is being written is left."""
    found = []
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else ()
    for number, line in enumerate(lines, 1):
        if line.strip() and line.endswith(b"\n"):
            try:
                found.append(parse(json.loads(line)))
            except UNREADABLE as error:
                raise UsageError(
                    f"{path}, line {number}, is damaged, or of another version ({fault_text(error)}); {remedy}"
                ) from error
    return found


UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, IndexError)
"""What reading a damaged file raises, or one whose fields have other names."""


def fault_text(error: Exception) -> str:
    """What is wrong with the content of a file, in one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return " ".join(str(error).split())


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Holds the only right to write to `folder`; freed by the system even when the process is killed.

    Raises RunLocked while another process holds it. Leaves an empty file `.lock`.
    """
    with (folder / ".lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunLocked(
                f"{folder} is being written by another process; wait for it, stop it, or use --run NAME"
            ) from None
        yield
