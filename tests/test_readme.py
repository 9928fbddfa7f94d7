"""Every command of the README and the documents exists, with its options and its files; those of the README are run."""

import re
import shlex
from itertools import pairwise, takewhile
from pathlib import Path

import pytest
import typer

from nas.cli import app
from nas.runs.config import dump_config, load_config
from tests.conftest import ROOT
from tests.nas.data.files import write_image_folder
from tests.tiny_run import TINY, nas

README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def _blocks(text: str) -> list[str]:
    """Code blocks of a Markdown text: fenced ones and indented ones."""
    fenced = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```[^\n]*\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    indented = re.findall(r"(?:^ {4}.*\n)+", rest, re.MULTILINE)
    return [*fenced, *indented]


def _commands(program: str, page: Path = README) -> list[list[str]]:
    """Words of every command line of `program` in the code blocks of `page`, comments left out."""
    text = page.read_text() if page.exists() else ""
    blocks = _blocks(text.replace("\\\n", " "))
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith(f"{program} ")]
    return [list(takewhile(lambda word: word not in (">", "|", "&&"), words)) for words in commands]


EVERY_COMMAND = [words for page in PAGES for words in _commands("nas", page)]
each_command = pytest.mark.parametrize("words", EVERY_COMMAND, ids=" ".join)


def _verbs() -> dict[str, object]:
    """Commands by name, those of a group as `study table`."""
    found: dict[str, object] = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        parts = getattr(command, "commands", None)
        found |= {name: command} if parts is None else {f"{name} {part}": one for part, one in parts.items()}
    return found


def _split(words: list[str]) -> tuple[str, list[str]]:
    """Name of the verb of a command line, and its arguments."""
    end = 3 if words[1] == "study" else 2
    return " ".join(words[1:end]), words[end:]


def test_the_readme_shows_a_days_work_and_another_page_every_verb() -> None:
    of_a_day = {"init", "check", "search", "front", "report", "retrain", "export"}
    assert {_split(words)[0] for words in _commands("nas")} == of_a_day
    assert {_split(words)[0] for words in _commands("nas", ROOT / "docs" / "verbs.md")} == _verbs().keys()


def test_a_user_reads_the_readme_in_five_minutes() -> None:
    assert len(README.read_text(encoding="utf-8").split()) < 1200


@each_command
def test_a_command_parses(words: list[str]) -> None:
    name, arguments = _split(words)
    context = _verbs()[name].make_context(name, arguments, resilient_parsing=False)  # type: ignore[attr-defined]
    assert context.params


@each_command
def test_its_configs_and_overrides_load(words: list[str]) -> None:
    configs = [word for word in words if word.endswith(".yaml")]
    takes_one = {"check", "search", "sweep", "study sweep", "study replay"}
    needed = _split(words)[0] in takes_one or "--config" in words
    assert bool(configs) == (needed and "--explain" not in words)
    overrides = [value for option, value in pairwise(words) if option == "--set"]
    for config in {*configs} - {f"{words[2]}/config.yaml" for words in EVERY_COMMAND if words[1] == "init"}:
        load_config(ROOT / config, overrides)


@pytest.mark.parametrize("words", [words for page in PAGES for words in _commands("make", page)], ids=" ".join)
def test_its_targets_are_in_the_makefile(words: list[str]) -> None:
    assert re.search(rf"^{re.escape(words[1])}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_two_commands_of_a_new_user_are_shown() -> None:
    assert {"demo", "test"} <= {words[1] for words in _commands("make")}


SMALL = (
    "training.epochs=1", "training.alarm=false", "search.trials=2", "search.workers=1", "search.executor=in_process",
    "search.prescreen.proposals=1", "evaluation.attack.steps=2", "constraints=[natural_accuracy >= 0]", "device=cpu",
    "evaluation.ladder={front: [], final: [{name: square, queries: 2}]}", "retrain.epochs=1",
    "retrain.validate_every=1", "retrain.alarm=false",
)  # fmt: skip
"""What makes the config of `nas init` small enough for a test."""


def _demo() -> list[list[str]]:
    """Words of every verb that `make demo` runs."""
    target = re.search(r"^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert target
    return [["nas", *shlex.split(line)] for line in re.findall(r"\$\(NAS\) (.*)", target[1])]


def test_every_command_of_the_readme_ends_well_and_the_next_one_goes_on_from_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ai_edge_litert")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nas.export.exporting.PARITY", 0.0)  # what is hardly trained has many ties
    for module in ("nas.runs.placement", "nas.runs.retrain", "nas.timing.estimate"):
        monkeypatch.setattr(f"{module}.available_cores", lambda: 1)
    Path("configs").mkdir()
    Path("configs/digits.yaml").write_text(TINY.replace("name: tiny", "name: digits"))
    write_image_folder(Path("ROOT"), {"train": 12, "test": 4})
    of_readme = _commands("nas")
    assert [words[1] for words in of_readme[-6:]] == ["init", "check", "search", "report", "retrain", "export"]
    for words in [*_demo(), *([w.replace("expected", "knee") for w in words] for words in of_readme)]:  # two candidates
        made = [path.name for path in Path("runs/digits/retrained").glob("*")]
        ended = nas(capsys, *(word.replace("00006", *made) if "00006" in word else word for word in words[1:]))
        assert ended.code == 0, (words, ended.err)
        if words[1] == "init":
            config = Path("mine/config.yaml")
            config.write_text(dump_config(load_config(config, SMALL)))
    for run in ("digits", "mine"):
        assert Path("runs", run, "report.html").stat().st_size > 50_000
        (file,) = Path("runs", run, "retrained").glob("*/model.tflite")
        assert file.read_bytes()[4:8] == b"TFL3"

    (code,) = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code.replace("trials=24", "trials=3"), "README.md", "exec"), names)
    assert type(names["network"]).__name__ == "RetrainedNetwork"


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        targets = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8"))
        assert not [target for target in targets if not (page.parent / target).exists()], page
