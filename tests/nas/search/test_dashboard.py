"""nas report --dashboard shows a run's study and can change nothing of it."""

import importlib.util
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pytest

from nas.base.errors import StudyCorrupt, UsageError
from nas.runs import open_run
from nas.search.dashboard import read_only, serve_dashboard
from nas.search.database import Database
from nas.search.study import Place
from tests.tiny_run import nas
from tests.toy import search, settings

needs_dashboard = pytest.mark.skipif(not importlib.util.find_spec("optuna_dashboard"), reason="no optuna-dashboard")


def _served(place: Place) -> str:
    """Address of a dashboard on `place`, in a thread that ends with the tests."""
    addresses: Queue[str] = Queue()
    threading.Thread(target=serve_dashboard, args=(place, 0, addresses.put), daemon=True).start()
    return addresses.get(timeout=60)


def _ask(address: str, method: str = "GET") -> tuple[int, bytes]:
    request = urllib.request.Request(address, method=method, data=b"{}" if method != "GET" else None)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.fixture(params=["journal", "sqlite"])
def place(request: pytest.FixtureRequest, copy: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    if request.param == "journal":
        yield open_run(copy / "runs" / "tiny").study
        return
    monkeypatch.setenv("NAS_TEST_STORAGE", f"sqlite:///{copy / 'db'}")
    database = Database("NAS_TEST_STORAGE", "toy")
    search(database, chosen=settings(3))
    yield database


@needs_dashboard
def test_it_shows_the_study_and_refuses_every_change(place: Place, copy: Path) -> None:
    file = place if isinstance(place, Path) else copy / "db"
    before = file.read_bytes()
    page = _served(place)
    assert page.startswith("http://127.0.0.1:")
    assert _ask(page)[0] == 200
    api = page.replace("/dashboard/", "/api")
    (study,) = json.loads(_ask(f"{api}/studies")[1])["study_summaries"]
    shown = json.loads(_ask(f"{api}/studies/{study['study_id']}")[1])
    assert len(shown["trials"]) >= 3
    for method, path in [
        ("PUT", f"/studies/{study['study_id']}/note"), ("DELETE", f"/studies/{study['study_id']}"),
        ("POST", "/studies"), ("POST", f"/trials/{shown['trials'][0]['trial_id']}/user-attrs"),
    ]:  # fmt: skip
        code, said = _ask(api + path, method)
        assert code == 403
        assert b"only reads" in said
    assert file.read_bytes() == before
    assert sorted(path.name for path in file.parent.iterdir() if "lock" in path.name) in ([], [".lock"])


@needs_dashboard
def test_it_shows_trials_that_finish_meanwhile(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    search(journal, chosen=settings(2))
    api = _served(journal).replace("/dashboard/", "/api")
    search(journal, chosen=settings(4))
    (study,) = json.loads(_ask(f"{api}/studies")[1])["study_summaries"]
    assert len(json.loads(_ask(f"{api}/studies/{study['study_id']}")[1])["trials"]) == 4


@needs_dashboard
def test_a_port_that_is_taken_and_a_missing_study_are_clear(tmp_path: Path) -> None:
    search(tmp_path / "j", chosen=settings(1))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="--port"):
            serve_dashboard(tmp_path / "j", taken.getsockname()[1], print)
    with pytest.raises(StudyCorrupt, match="no study"):
        serve_dashboard(tmp_path / "none", 0, print)


def test_without_the_package_the_extra_is_named(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna_dashboard", None)
    ended = nas(capsys, "report", "runs/tiny", "--dashboard", "--port", "0")
    assert ended.code == 2
    assert "pip install '.[dashboard]'" in ended.message


def test_reading_passes_and_writing_does_not() -> None:
    answers: list[str] = []

    def application(environ: dict, start: object) -> list[bytes]:
        return [b"fine"]

    guarded = read_only(application)
    for method, expected in [("GET", b"fine"), ("HEAD", b"fine"), ("POST", b"only reads"), ("PATCH", b"only reads")]:
        (said,) = guarded({"REQUEST_METHOD": method}, lambda status, _: answers.append(status))
        assert expected in said
    assert answers == ["403 Forbidden"] * 2
