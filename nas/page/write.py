"""The page as one file: template, styles, scripts and data put together so that no text of a run can become code."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from nas.page.model import Asked, page_model
from nas.runs import Run

SCRIPTS = ("core", "axes", "state", "scatter", "parallel", "table", "network", "questions", "sections", "main")
"""Scripts of the page of a run, in their order."""
CURVES = ("core", "axes", "curves")
"""Scripts of the page of curves."""

_ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def run_page(run: Run, asked: Asked = Asked()) -> str:  # noqa: B008  # frozen
    """HTML of the page of `run`."""
    return page_html(f"{run.folder.name}: robust tiny networks", page_model(run, asked), "page.html", SCRIPTS)


def page_html(title: str, model: Mapping[str, Any], template: str, scripts: Sequence[str]) -> str:
    """`template` with the data `model`, read by `scripts`, and nothing from anywhere else.

    Data is JSON in an element that no browser runs, without a character that could end it; scripts put it into the page
    as text only. The page's own rule (its content security policy) lets no other script run and nothing load.
    """
    script = "\n".join(["'use strict';", *(asset(f"{name}.js") for name in scripts)])
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    parts = {
        "title": escape(title),
        "policy": f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        "style": asset("style.css"),
        "data": json_text(model),
        "script": script,
    }
    pieces = asset(template).split("{{")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        filled += [parts[name], rest]
    return "".join(filled)


def json_text(data: Any) -> str:
    """JSON of `data` that may stand in an HTML page or a script. Raises ValueError for NaN and infinities."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character, code in _ESCAPED.items():
        text = text.replace(character, code)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")  # half a surrogate pair is no UTF-8


def asset(name: str) -> str:
    """Text of a file of the page."""
    return (files("nas.page") / "assets" / name).read_text(encoding="utf-8")
