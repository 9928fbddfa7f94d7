"""A table for a terminal of any width: no number is cut, and what is left out is named."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

UNLIMITED = 10_000
"""Characters a line may have while cells are measured."""


class WholeTable(Table):
    """Rich's table with cells that are never cut; columns without any text are left out.

    Right-justified and `no_wrap` cells stay on one line, other text breaks at spaces. Where the columns do not fit side
    by side, the first `kept` ones (default: all) continue in further tables below, each with the first column again.
    The other columns are shown as far as they fit; one line names those that are not, and `see`: where they are.
    """

    def __init__(self, title: str | Text | None = None, *, kept: int | None = None, see: str = "", **settings: Any):
        super().__init__(title=title, title_justify="left", header_style="bold", **settings)
        self.kept, self.see = kept, see

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = options.update(width=UNLIMITED)
        sizes = [_size(console, wide, column) for column in self.columns]
        filled = [index for index, column in enumerate(self.columns) if not index or any(map(str, column.cells))]
        kept = len(self.columns) if self.kept is None else self.kept
        parts: list[list[int]] = [filled[:1]]
        left_out: list[int] = []
        for index in filled[1:]:
            if _width([sizes[i].minimum for i in (*parts[-1], index)]) <= options.max_width:
                parts[-1].append(index)
            elif index < kept:
                parts.append([filled[0], index])
            else:
                left_out.append(index)
        for number, part in enumerate(parts):
            yield self._part(part, _shared([sizes[index] for index in part], options.max_width), titled=number == 0)
        if left_out:
            names = ", ".join(_plain(console, self.columns[index].header) for index in left_out)
            needed = _width([sizes[index].maximum for index in filled])
            seen = f"a terminal of {needed} columns shows them" + (f", and so does {self.see}" if self.see else "")
            yield Text(f"left out at {options.max_width} columns: {names}; {seen}", style="dim")

    def _part(self, indices: Sequence[int], widths: Sequence[int], titled: bool) -> Table:
        """An ordinary table of some of the columns, with these widths."""
        part = Table()
        part.__dict__.update(self.__dict__)
        part.title = self.title if titled else None
        part.columns = [
            replace(self.columns[index], _index=position, width=width, overflow="fold")
            for position, (index, width) in enumerate(zip(indices, widths, strict=True))
        ]
        return part


def _size(console: Console, options: ConsoleOptions, column: Column) -> Measurement:
    """Fewest characters that a column needs so that nothing is cut, and those it needs on one line."""
    cells = [Measurement.get(console, options, cell) for cell in column.cells]
    header = Measurement.get(console, options, column.header)
    whole = column.no_wrap or column.justify == "right"
    least = max((cell.maximum if whole else cell.minimum for cell in cells), default=0)
    return Measurement(max(least, header.minimum), max([header.maximum, *(cell.maximum for cell in cells)]))


def _shared(sizes: Sequence[Measurement], room: int) -> list[int]:
    """Width of each column: what it needs, and its part of what is left."""
    widths = [size.minimum for size in sizes]
    spare = room - _width(widths)
    wishes = sorted(range(len(sizes)), key=lambda index: sizes[index].maximum - sizes[index].minimum)
    for place, index in enumerate(wishes):
        given = max(0, min(sizes[index].maximum - sizes[index].minimum, spare // (len(wishes) - place)))
        widths[index] += given
        spare -= given
    return widths


def _width(columns: Sequence[int]) -> int:
    """Width of a table of columns so wide: with a line and a space on either side of each."""
    return sum(columns) + 3 * len(columns) + 1


def _plain(console: Console, header: Any) -> str:
    return header.plain if isinstance(header, Text) else console.render_str(str(header)).plain
