"""Rich's console, to which our text is text: names of folders and classes hold no markup."""

import os
import re
import sys
from typing import Any

import rich.console
import rich.status
from rich.errors import MarkupError
from rich.markup import escape
from rich.text import Text

STYLES = ("bold red", "bold", "dim", "red", "green", "yellow")
"""What our own words may be marked with, as [dim]…[/dim]."""

_TAG = re.compile(rf"(\[/?(?:{'|'.join(STYLES)})\])")


class Console(rich.console.Console):
    """Rich's console, to which brackets are text: a run folder `exp [a] v2` is shown as it is called.

    STYLES alone are interpreted. Only a terminal gets control codes, whatever FORCE_COLOR says; that gives colours.
    """

    def __init__(self, **settings: Any) -> None:
        stream = sys.stderr if settings.get("stderr") else sys.stdout
        colours = "standard" if os.environ.get("FORCE_COLOR") else "auto"
        super().__init__(**{"force_terminal": stream.isatty(), "color_system": colours, "emoji": False, **settings})

    def render_str(self, text: str, **settings: Any) -> Text:
        """Text of a string anywhere in what is printed: cells, titles, lines."""
        if settings.get("markup") is False:  # there is nothing to escape then
            return super().render_str(text, **settings)
        marked = "".join(part if _TAG.fullmatch(part) else escape(part) for part in _TAG.split(text))
        try:
            return super().render_str(marked, **settings)
        except MarkupError:  # a name with the end of a style and not its beginning
            return super().render_str(escape(text), **settings)

    def status(self, status: rich.console.RenderableType, **settings: Any) -> rich.status.Status:
        """As rich's, which would take brackets for markup."""
        return super().status(self.render_str(status) if isinstance(status, str) else status, **settings)

    def on_broken_pipe(self) -> None:
        """Leaves the error to `nas.cli.main`, where every other broken pipe ends, too."""
        raise BrokenPipeError


def line_console() -> Console:
    """Console on stderr for a program or a notebook: plain lines, and a live panel on a terminal alone."""
    return Console(stderr=True, force_jupyter=False, width=None if sys.stderr.isatty() else 200)
