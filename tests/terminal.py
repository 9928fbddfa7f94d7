"""A terminal: what is on its screen after the output of a program, and a program that runs in one."""

import fcntl
import os
import pty
import re
import struct
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.running import Process, python_process

TOKENS = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|([\r\n])|(.)", re.DOTALL)


def screen(output: str, width: int = 80) -> list[str]:
    """Lines that `output` leaves on a screen so wide; knows the control codes of rich's live displays, no others."""
    lines, row, column = [""], 0, 0
    for match in TOKENS.finditer(output):
        number, code, move, character = match.groups()
        if code == "A":
            row = max(0, row - int(number or 1))
        elif code == "K":
            lines[row] = ""
        elif code is not None:
            assert code in "mhl", f"unknown control code {match.group()!r}"
        elif move == "\r":
            column = 0
        elif move == "\n":
            row, column = row + 1, 0
        else:
            if column == width:  # a full line wraps with the next character, not before
                row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
            line = lines[row].ljust(column)
            lines[row] = line[:column] + character + line[column + 1 :]
            column += 1
        lines += [""] * (row + 1 - len(lines))
    return [line.rstrip() for line in lines]


class Terminal:
    """What is printed on a pseudo-terminal of 80 columns, and the keys that are pressed there."""

    def __init__(self, master: int, slave: int, process: Process):
        self.process = process
        self._master, self._slave = master, slave
        self._output = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):  # of a terminal that no process has open any more
            while piece := os.read(self._master, 65536):
                self._output += piece

    def press(self, keys: str) -> None:
        """Types `keys`; "\\x03" is Ctrl-C, which the terminal echoes and sends to all its processes."""
        os.write(self._master, keys.encode())

    @property
    def lines(self) -> list[str]:
        """What is on the screen now."""
        return screen(self._output.decode(errors="ignore"))

    def ended(self) -> tuple[int, list[str]]:
        """Exit code, and what is left on the screen."""
        code = self.process.wait(60)
        os.close(self._slave)  # kept open till now: reading fails where no process has the terminal open
        self._reader.join(5)
        return code, self.lines


@contextmanager
def nas_in_terminal(folder: Path, *arguments: str) -> Iterator[Terminal]:
    """`nas ARGUMENTS` in `folder`, at a terminal of its own; what still runs at the end is killed."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    # The terminal must be the session's own for Ctrl-C to be a signal: the child opens it itself.
    name = os.ttyname(slave)
    code = (
        f"import os, sys; fd = os.open({name!r}, os.O_RDWR); [os.dup2(fd, n) for n in range(3)];"
        "os.environ.update(TERM='xterm', COLUMNS='', LINES=''); del os.environ['COLUMNS'], os.environ['LINES'];"
        "os.execv(sys.executable, [sys.executable, '-m', 'nas', *sys.argv[1:]])"
    )
    try:
        with python_process(folder, "-c", code, *arguments) as process:
            yield Terminal(master, slave, process)
    finally:
        os.close(master)
