"""Standard output and error: any encoding, closed, coloured by force, read by nobody; and what is printed on them."""

import codecs
import os
import select
import sys
from contextlib import suppress

from nas.report.console import Console

__all__ = ["Console", "accept_any_character", "nobody_reads", "open_closed_streams"]


def open_closed_streams() -> None:
    """Gives a process that was started with closed streams (`>&-`) ones that keep nothing.

    Their numbers are taken, too: else a file of the run would get number 1, and with it whatever is printed.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # for as long as we run


def accept_any_character() -> None:
    """Makes the streams write what their encoding lacks in plain characters, − as - and ≤ as <=, in place of an error.

    A terminal in latin-1, ascii or cp1252 would otherwise end finished work with UnicodeEncodeError.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # replaced by something else, or closed
            stream.reconfigure(errors=_PLAIN)  # type: ignore[union-attr]


def nobody_reads() -> bool:
    """Whether what read our output has ended (`nas front RUN | head -1`). Then the rest is discarded."""
    gone = [number for number in (1, 2) if _is_broken(number)]
    for number in gone:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, number)
        os.close(nothing)
    return bool(gone)


def _is_broken(number: int) -> bool:
    poll = select.poll()
    poll.register(number, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


_PLAIN = "nas.plain"

_REPLACED = {
    "–": "-", "−": "-", "—": "-", "…": "...", "×": "x", "·": "*", "→": "->", "≤": "<=", "≥": ">=", "±": "+-", "≈": "~",
    "“": '"', "”": '"', "’": "'", "‖": "||", "↓": "v", "↑": "^", "∞": "inf", "ε": "eps", "τ": "tau", "\u0302": "^",
}  # fmt: skip


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_REPLACED.get(character, "?") for character in error.object[error.start : error.end]), error.end


codecs.register_error(_PLAIN, _plain)
open_closed_streams()
