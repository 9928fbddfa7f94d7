"""The verbs. Each parses its options, calls one function and prints; results on stdout, progress on stderr.

Exit codes: 0 done, 1 failed, 2 misuse, 130 interrupted by Ctrl-C, 141 what read the output has ended, 143 ended by
SIGTERM. Heavy imports happen inside the verbs, so that --help is instant.
"""

import atexit
import errno
import gc
import signal
import sys
from collections.abc import Sequence

import typer

from nas.base.errors import NasError
from nas.cli import (
    evaluating,
    exporting,
    fronts,
    one_shot,
    replaying,
    retraining,
    searching,
    starting,
    studies,
    watching,
)
from nas.cli.ending import end_in_order
from nas.cli.options import app, err
from nas.cli.streams import accept_any_character, nobody_reads

__all__ = [
    "app", "evaluating", "exporting", "fronts", "main", "one_shot", "replaying", "retraining", "searching",
    "starting", "studies", "watching",
]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `nas`: runs a verb; every error is one message on stderr and an exit code."""
    accept_any_character()
    if arguments is None:  # this process is ours
        end_in_order()
        atexit.register(gc.freeze)  # to search torch's objects for cycles at exit takes up to a second
    try:
        code = app(args=arguments, standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except NasError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and nobody_reads():
            sys.exit(141)
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}{_limit_behind(error)}; what was finished before is kept", 1)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except Exception as error:
        if not hasattr(error, "format_message"):  # a mistake of ours: show where
            raise
        if said := error.format_message():
            _fail(f"{said} (see --help)", 2)
        sys.exit(2)  # no argument at all: the help is printed
    finally:
        if arguments is None:  # a signal while the interpreter ends would kill it in place of the exit code
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _limit_behind(error: OSError) -> str:
    """The system's limit that `error` comes from, with what to do; empty where it is none."""
    if error.errno != errno.EFBIG:
        return ""
    import resource

    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return f" (files may have {allowed:,} bytes here; raise the limit with ulimit -f)"


def _fail(message: str, code: int) -> None:
    err.print(f"[bold red]error[/bold red] {message}", soft_wrap=True, highlight=False)
    sys.exit(code)
