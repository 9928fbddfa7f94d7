"""Standard streams of any kind: encodings, closed, coloured by force, read by nobody; brackets are text."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.live import Live
from rich.table import Table

from nas.cli.streams import Console
from tests.conftest import ROOT
from tests.tiny_run import call, nas

RUN = "runs/tiny"
BRACKETS = "exp [a] v2 [/b] [#1]"


def _python(code: str, **settings: object) -> "subprocess.CompletedProcess[bytes]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], env=environment, check=False, **settings)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252", "ascii"])
def test_a_terminal_of_any_encoding_gets_the_whole_front(
    here: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding=encoding))
    assert call(["front", RUN]) == 0
    text = printed.getvalue().decode(encoding)
    assert ("ε = 0.1" if encoding == "utf-8" else "eps = 0.1") in text
    assert "hypervolume" in text


def test_what_an_encoding_lacks_is_written_in_plain_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="ascii"))
    monkeypatch.setattr("nas.cli.app", lambda **_: print("τ = −.12 … 0.5–0.6, 8 × 8 ≤ ∞ 語 \udcff"))
    assert call([]) == 0
    assert printed.getvalue() == b"tau = -.12 ... 0.5-0.6, 8 x 8 <= inf ? ?\n"


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_closed_streams_are_no_error_and_their_numbers_go_to_no_file(tmp_path: Path, closed: tuple[int, ...]) -> None:
    def close() -> None:
        for number in closed:
            os.close(number)

    code = (
        "from nas.cli import app; from nas.cli.options import err, out; import sys\n"
        "out.print('x'); err.print('y'); print('z')\n"
        f"file = open({str(tmp_path / 'a')!r}, 'w'); print(file.fileno(), file=file)"
    )
    ended = _python(code, preexec_fn=close, stderr=subprocess.PIPE)
    assert (ended.returncode, b"Traceback" in (ended.stderr or b"")) == (0, False)
    assert int((tmp_path / "a").read_text()) > 2


@pytest.mark.parametrize("verb", ["print('x' * 100_000)", "out.print('line\\n' * 1000)", "print('x')"])
def test_a_verb_whose_reader_has_ended_ends_quietly(verb: str) -> None:
    code = f"import nas.cli; from nas.cli.options import out\nnas.cli.app = lambda **_: {verb}\nnas.cli.main([])"
    reader, writer = os.pipe()
    os.close(reader)
    ended = _python(code, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_a_log_gets_lines_and_no_control_codes_although_colour_is_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    console = Console(stderr=True, width=200)
    with Live(console=console, transient=True) as live, console.status("measuring …"):
        live.update("panel")
        live.console.print("trial 0 failed", highlight=False)
    console.print("[red]red[/red]")
    text = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert text == "trial 0 failed\n\x1b[31mred\x1b[0m\n", "FORCE_COLOR asks for colours, and gets them"


def test_brackets_are_text_wherever_they_are_printed() -> None:
    table = Table(BRACKETS, title=BRACKETS)
    table.add_row(f"{BRACKETS} [dim]0.1[/dim]")
    console = Console(file=io.StringIO(), width=200)
    console.print(f"[yellow]warning: {BRACKETS}[/yellow] :bug:", table)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"warning: {BRACKETS} :bug:" in text
    assert text.count(BRACKETS) == 4
    assert "dim" not in text
    assert str(getattr(console.status(BRACKETS).renderable, "text", "")) == BRACKETS


def test_text_without_markup_is_printed_as_it_is() -> None:
    console = Console(file=io.StringIO(), width=200)
    console.print(f"[dim]{BRACKETS}[/dim]", markup=False)
    assert console.file.getvalue() == f"[dim]{BRACKETS}[/dim]\n"  # type: ignore[attr-defined]


def test_half_a_style_in_a_name_is_text() -> None:
    console = Console(file=io.StringIO(), width=200)
    console.print("no run in exp [/dim]")
    assert console.file.getvalue() == "no run in exp [/dim]\n"  # type: ignore[attr-defined]


def test_a_folder_with_brackets_in_its_name_is_shown_as_it_is_called(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(RUN).rename("runs/exp [a] v2")
    ended = nas(capsys, "front", "runs/exp [a] v2", "--png", "a [b].png")
    assert "Pareto front of exp [a] v2" in ended.out
    assert "wrote a [b].png" in ended.err
    assert "no run in runs/no [b]" in nas(capsys, "front", "runs/no [b]").message
