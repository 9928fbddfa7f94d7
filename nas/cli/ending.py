"""How a verb ends from outside: Ctrl-C and SIGTERM (of SLURM, of `timeout`) let everything be put away first."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from types import FrameType

from nas.cli.options import err

PUTTING_AWAY = 10.0
"""Seconds after a signal in which more of them change nothing: what was begun is being put away."""


class Terminated(SystemExit):
    """SIGTERM has arrived; ends the process with the shell's code for it, unless something stops it on its way."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


def end_in_order() -> None:
    """From now on SIGINT raises KeyboardInterrupt and SIGTERM Terminated, at most one of them in ten seconds.

    A second Ctrl-C would otherwise interrupt the end of the first, and leave workers, semaphores and half a panel. A
    signal that this process was started to ignore (nohup, the background of a script) stays ignored.
    """
    last = -PUTTING_AWAY

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal last
        if monotonic() - last < PUTTING_AWAY:
            return
        last = monotonic()
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)


@contextmanager
def says_what_is_kept(folder: Path) -> Iterator[None]:
    """Where a signal ends what is within it, says on stderr how to go on from what is kept in `folder`."""
    try:
        yield
    except (KeyboardInterrupt, Terminated):
        err.print(f"stopped; everything finished is kept in {folder}, the same command goes on from there")
        raise
