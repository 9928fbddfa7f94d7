"""The page as a file: whole, small, and nothing in it but its own script can run."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from nas.base.records import TrialRecord, TrialState
from nas.page import page_html, run_page
from nas.page.write import SCRIPTS, asset, json_text
from nas.runs import open_run
from tests.made_run import made_run

HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>\u2028 & \"' {{script}}"


def hostile_run(folder: Path) -> Path:
    """A run whose classes, warnings, errors and config want to be scripts."""

    def change(record: TrialRecord) -> TrialRecord:
        if record.number == 1:
            return replace(record, state=TrialState.FAILED, evaluation=None, error=HOSTILE)
        if record.evaluation is None:
            return record
        return replace(record, evaluation=replace(record.evaluation, warnings=(HOSTILE,)), violations={HOSTILE: -1.0})

    classes = [HOSTILE, *map(str, range(9))]
    return made_run(folder, 12, classes=classes, overrides=["plugins=[]"], change=change)


class _Found(HTMLParser):
    """Elements of a page, and the text of its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_script = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts.append(data)


def data_of(page: str) -> Any:
    return json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[0])


@pytest.mark.parametrize("text", [HOSTILE, "</SCRIPT >", "<!--<script>", "\u2029", "\ud800", "]]>&lt;"])
def test_text_in_the_data_can_end_no_element(text: str) -> None:
    found = json_text({text: [text]})
    assert not re.search("[<>&\u2028\u2029]", found)
    assert json.loads(found) == {text: [text]}
    found.encode()


def test_numbers_that_json_cannot_say_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        json_text(float("nan"))


def test_a_hostile_run_adds_no_element_to_the_page(tmp_path: Path) -> None:
    page = run_page(open_run(hostile_run(tmp_path / "hostile")))
    plain = run_page(open_run(made_run(tmp_path / "plain", 4)))
    assert [tag for tag, _ in _Found(page).tags] == [tag for tag, _ in _Found(plain).tags]
    assert HOSTILE in data_of(page)["trials"]["texts"]
    assert data_of(page)["classes"][0] == HOSTILE
    assert data_of(page)["trials"]["error"][1] == HOSTILE.strip()


def test_a_title_is_text(tmp_path: Path) -> None:
    page = page_html("</title><script>1</script>", {}, "page.html", ("core",))
    assert [tag for tag, _ in _Found(page).tags].count("script") == 2


def test_the_page_loads_nothing_and_its_policy_allows_its_own_script_alone(tmp_path: Path) -> None:
    import base64
    import hashlib

    page = run_page(open_run(made_run(tmp_path / "made", 5)))
    found = _Found(page)
    assert not [attributes for _, attributes in found.tags if {"src", "srcset", "data", "action"} & attributes.keys()]
    assert {attributes["href"] for _, attributes in found.tags if "href" in attributes} == {"#explore"}
    assert "@import" not in page
    assert "url(" not in page
    (policy,) = (
        a["content"] for t, a in found.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )
    digest = base64.b64encode(hashlib.sha256(found.scripts[1].encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_scripts_make_text_and_no_markup() -> None:
    for name in (*SCRIPTS, "curves"):
        text = asset(f"{name}.js")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|</script", text
        ), name


def test_a_thousand_trials_fit_into_four_megabytes(tmp_path: Path) -> None:
    page = run_page(open_run(made_run(tmp_path / "large", 1000)))
    assert len(page.encode()) < 4_000_000
    assert len(data_of(page)["trials"]["number"]) == 1000
