"""What the verbs share: the application, the two consoles, options, printing."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from nas.cli.moved import Verbs
from nas.cli.streams import Console

app = typer.Typer(
    cls=Verbs, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich",
    help="Search for tiny networks that withstand adversarial perturbations.",
)  # fmt: skip
study = typer.Typer(no_args_is_help=True, help="Questions asked of many trained networks.")
app.add_typer(study, name="study")


class _Console(Console):
    """Lines of text break at words in a terminal (which by itself cuts numbers) and not at all elsewhere."""

    def print(self, *objects: Any, soft_wrap: bool | None = None, **settings: Any) -> None:
        super().print(*objects, soft_wrap=soft_wrap and not self.is_terminal, **settings)


# A pipe or a file has no width of its own; 80 columns would cut the tables.
out = _Console(width=None if sys.stdout.isatty() else 200)
err = _Console(stderr=True, width=None if sys.stderr.isatty() else 200)


class Format(StrEnum):
    """Ways to print a result."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class PlainFormat(StrEnum):
    """Ways to print a result that is not a list."""

    TABLE = "table"
    JSON = "json"


class SplitName(StrEnum):
    """Images to evaluate on."""

    TEST = "test"
    VALIDATION = "validation"


ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of the run.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, such as runs/digits.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Override a field; repeatable.")
]
DataRoot = Annotated[
    Path | None, typer.Option("--data", metavar="ROOT", help="Folder of the data set, where it has moved since.")
]
Where = Annotated[
    list[str] | None, typer.Option("--where", help="Only trials with this, such as params<=100k; repeatable.")
]
RunName = Annotated[str, typer.Option("--run", metavar="NAME", help="Folder name under runs/ instead of the config's.")]


def print_json(data: Any) -> None:
    """Prints `data` on stdout."""
    sys.stdout.write(json.dumps(data, indent=2, allow_nan=False) + "\n")


def warn(text: str) -> None:
    """Prints a warning on stderr."""
    from rich.text import Text

    err.print(Text(f"warning: {text}", "yellow"), soft_wrap=True)


def write(path: Path, content: bytes) -> None:
    """Writes `content` to `path`, making its folder, and says so on stderr."""
    from nas.base.files import write_atomic

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)
    err.print(f"wrote {path}", soft_wrap=True)
