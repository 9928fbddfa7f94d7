"""A study in a database is the study in a journal; its URL is a secret."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from nas.base.errors import ConfigError, StudyCorrupt, UsageError
from nas.runs import open_run
from nas.runs.config import load_config
from nas.search.database import Database
from nas.search.engine import Progress
from nas.search.finished import read_predictions, read_records
from tests import postgres
from tests.tiny_run import nas, write_config
from tests.toy import Batched, Result, ToyEvaluate, open_study, search, settings, toy_problem, toy_space

HAS_POSTGRES = postgres.programs() is not None and importlib.util.find_spec("psycopg") is not None
KINDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.skipif(not HAS_POSTGRES, reason="no PostgreSQL"))]
VARIABLE = "NAS_TEST_STORAGE"
PROBLEM, TRIALS = toy_problem(toy_space(3), params=1000), settings(8)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres.server() as url:
        yield url


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of a database, also in the environment."""
    sqlite = f"sqlite:///{tmp_path / 'studies.db'}"
    found: str = sqlite if request.param == "sqlite" else request.getfixturevalue("server")
    monkeypatch.setenv(VARIABLE, found)
    return found


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return search(tmp_path_factory.mktemp("journal") / "j", PROBLEM, TRIALS)


def test_a_search_in_a_database_is_the_one_in_a_journal(url: str, journal: Result) -> None:
    place = Database(VARIABLE, "whole")
    assert search(place, PROBLEM, TRIALS).records == journal.records == read_records(place)


def test_predictions_are_read_from_a_database_too(url: str, tmp_path: Path) -> None:
    place, chosen = Database(VARIABLE, "screened"), settings(9, prescreen={"proposals": 3, "trees": 4, "refit": 4})
    for study in (place, tmp_path / "j"):
        search(study, PROBLEM, chosen)
    assert read_predictions(place) == read_predictions(tmp_path / "j") != {}


def test_interrupted_anywhere_it_goes_on_the_same(url: str, journal: Result) -> None:
    for stop in range(1, len(journal.reports) + 1, 8):
        place, left = Database(VARIABLE, f"stopped-{stop}"), [stop]

        def interrupt(_: object, left: list[int] = left) -> None:
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            search(place, PROBLEM, TRIALS, report=interrupt)
        assert search(place, PROBLEM, TRIALS).records == journal.records, f"stopped at report {stop}"


def test_others_see_every_trial_as_soon_as_it_is_finished(url: str) -> None:
    place, seen = Database(VARIABLE, "watched"), []

    def look(progress: Progress) -> None:
        if progress.latest is not None:
            seen.append(progress.latest in read_records(place))

    evaluate = ToyEvaluate(fails=frozenset({3}))
    result = search(place, PROBLEM, TRIALS, evaluate, Batched(evaluate), report=look)
    assert seen == [True] * len(result.records)
    assert len(result.fresh) == 8


def test_studies_of_other_names_and_other_objectives_are_no_confusion(url: str) -> None:
    search(Database(VARIABLE, "one"), PROBLEM, settings(2))
    with pytest.raises(StudyCorrupt, match=rf"no study other in the database of \${VARIABLE}"):
        read_records(Database(VARIABLE, "other"))
    other = toy_problem(toy_space(3), objectives=("params", "robust_accuracy", "instability"))
    with pytest.raises(StudyCorrupt, match="other objectives"):
        open_study(Database(VARIABLE, "one"), other, settings(2))


@pytest.mark.parametrize("wrong", [
    "postgresql://someone:top-secret@127.0.0.1:1/none", "postgresql://someone:top-secret@[/none",
    "nonsense top-secret", "mongodb://someone:top-secret@there", "sqlite:////no/such/folder/top-secret.db",
])  # fmt: skip
def test_no_error_tells_the_url(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv(VARIABLE, wrong)
    with pytest.raises((StudyCorrupt, UsageError)) as caught:
        open_study(Database(VARIABLE, "any"), PROBLEM, TRIALS)
    assert VARIABLE in str(caught.value)
    assert "top-secret" not in str(caught.value)
    assert caught.value.__suppress_context__, "nor does a traceback"


@pytest.mark.skipif(not HAS_POSTGRES, reason="no PostgreSQL")
def test_a_wrong_password_is_told_without_the_password(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, server.replace(quote(postgres.PASSWORD, safe=""), "top-secret"))
    with pytest.raises(StudyCorrupt, match="password authentication failed") as caught:
        read_records(Database(VARIABLE, "any"))
    assert "top-secret" not in str(caught.value)


@pytest.mark.skipif(not HAS_POSTGRES, reason="no PostgreSQL")
def test_those_who_watch_need_no_right_to_write(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy import create_engine, text

    monkeypatch.setenv(VARIABLE, server)
    place = Database(VARIABLE, "public")
    records = search(place, PROBLEM, settings(3)).records
    with create_engine(place.url()).begin() as connection:
        connection.execute(text("CREATE ROLE guest LOGIN PASSWORD 'guest'"))
        connection.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest"))
    monkeypatch.setenv(VARIABLE, server.replace(f"watcher:{quote(postgres.PASSWORD, safe='')}", "guest:guest"))
    assert read_records(place) == records
    with pytest.raises(StudyCorrupt, match="permission denied"):
        search(place, PROBLEM, settings(4))


def test_a_url_in_the_config_is_refused_and_not_repeated(tmp_path: Path) -> None:
    for secret in ("postgresql://me:top-secret@host/db", "'postgresql://me:top-secret@host/db'"):
        with pytest.raises(ConfigError, match=r"search\.storage_env") as caught:
            load_config(write_config(tmp_path), [f"search.storage_env={secret}"])
        assert "top-secret" not in str(caught.value)


def test_a_run_in_a_database_leaves_the_url_nowhere(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path)
    command = ("search", "tiny.yaml", "--set", f"search.storage_env={VARIABLE}")
    searched = nas(capsys, *command, "--format", "json")
    assert searched.code == 0, searched.err
    folder = tmp_path / "runs" / "tiny"
    assert not (folder / "study.journal").exists()
    assert json.loads((folder / "study.json").read_text())["study"].startswith("tiny-")
    secrets = {url, quote(postgres.PASSWORD, safe=""), postgres.PASSWORD}
    for path in (path for path in folder.rglob("*") if path.is_file()):
        assert not any(secret.encode() in path.read_bytes() for secret in secrets), path
    assert not any(secret in searched.out + searched.err for secret in secrets)
    records = open_run(folder).records
    assert len(records) == 3
    assert nas(capsys, "front", "runs/tiny", "--format", "json").out == searched.out
    assert nas(capsys, "show", "runs/tiny", "0").code == 0
    assert nas(capsys, *command, "--set", "search.trials=4").code == 0
    assert open_run(folder).records[:3] == records, "it goes on from there"
    monkeypatch.delenv(VARIABLE)
    for verb in (("front", "runs/tiny"), ("show", "runs/tiny", "0"), ("retrain", "runs/tiny"), command):
        ended = nas(capsys, *verb)
        assert ended.code == 2
        assert f"the environment variable {VARIABLE} is not set" in ended.message


def test_without_its_variable_a_search_leaves_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        patch.delenv(VARIABLE, raising=False)
        write_config(tmp_path)
        ended = nas(capsys, "search", "tiny.yaml", "--set", f"search.storage_env={VARIABLE}")
    assert ended.code == 2
    assert "is not set" in ended.message
    assert not (tmp_path / "runs").exists()
