"""The config reference as text: one field in a terminal, all of them as docs/config.md (`python -m` this module)."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from textwrap import fill
from typing import Any

from nas.measures import MEASURES
from nas.runs.reference import ANY, CONFIG, FieldFacts, Found, SettingsPart, fields_at
from nas.training import Training

INHERITING = {"retrain": "training", "supernet": "training"}
"""Parts whose fields are taken from another part where they are not set."""


def explained(path: str) -> list[dict[str, Any]]:
    """Facts of the fields that `path` names, JSON-ready, one for each choice. Raises UsageError where there is none."""
    return [
        {
            "field": found.path,
            "choices": choices,
            "type": found.field.kind,
            "range": found.field.allowed,
            "default": _default(found),
            "meaning": found.field.meaning,
            "fields": {f"{part.choice}.{f.name}".lstrip("."): f.meaning for part in found.field.parts
                       for f in part.fields()},
        }
        for found, choices in _alike(fields_at(path))
    ]  # fmt: skip


def _alike(fields: Sequence[Found]) -> list[tuple[Found, list[str]]]:
    """Each different field, with the choices that have it."""
    groups: dict[FieldFacts, tuple[Found, list[str]]] = {}
    for found in fields:
        groups.setdefault(found.field, (found, []))[1].extend(filter(None, [found.part.choice]))
    return list(groups.values())


def _default(found: Found) -> str:
    first, _, rest = found.path.partition(".")
    source = INHERITING.get(first)
    is_inherited = source is not None and rest.split(".")[0] in Training.model_fields
    if not is_inherited:
        return found.field.default
    return f"that of {source}.{rest}" if rest.split(".")[0] not in _own(first) else found.field.default


def _own(name: str) -> frozenset[str]:
    (part,) = next(field for field in CONFIG.fields() if field.name == name).parts
    return part.own_names


_fill = partial(fill, break_on_hyphens=False, break_long_words=False)


def explanation(path: str, width: int = 100) -> str:
    """What `nas check --explain` prints: each field's docstring, type, range and default."""
    texts = []
    for one in explained(path):
        of = f" (name: {', '.join(one['choices'])})" if one["choices"] else ""
        lines = [f"{one['field']}{of}", _fill(one["meaning"], width, initial_indent="  ", subsequent_indent="  ")]
        for name in ("type", "range", "default"):
            if one[name]:
                lines.append(
                    _fill(f"{name + ':':9}{one[name]}", width, initial_indent="  ", subsequent_indent=" " * 11)
                )
        if one["fields"]:
            lines.append("  fields:")
            lines += [
                _fill(f"{name}: {meaning}", width, initial_indent="    ", subsequent_indent="      ")
                for name, meaning in one["fields"].items()
            ]
        texts.append("\n".join(lines))
    return "\n\n".join(texts) + "\n"


@dataclass(frozen=True)
class Section:
    """A heading of the page and the fields below it."""

    path: str
    title: str
    part: SettingsPart
    fields: tuple[FieldFacts, ...]
    after: str = ""
    """What is said of the fields that are not listed."""


def sections() -> list[Section]:
    """All parts of the config, each class once: where it comes again, the page refers to its first place."""
    return list(_sections(CONFIG, "", "Top level", {}))


def _sections(part: SettingsPart, path: str, title: str, seen: dict[type, str]) -> Iterator[Section]:
    seen[part.settings] = path or "the top level"
    base = next((cls for cls in part.settings.__mro__[1:] if cls in seen), None)
    listed = tuple(f for f in part.fields() if base is None or f.name in part.own_names)
    after = f"And all fields of `{seen[base]}`; what is not set is taken from there." if base else ""
    yield Section(path, title, part, listed, after)
    for field in listed:
        place = ".".join(filter(None, (path, field.name, ANY if field.is_named else "")))
        for inner in field.parts:
            if inner.settings not in seen:
                named = f"`{place}`" + (f", name: {inner.choice}" if inner.choice else "")
                yield from _sections(inner, place, named, seen)


def config_page() -> str:
    """Text of docs/config.md."""
    places: dict[type, str] = {}
    for one in sections():
        places.setdefault(one.part.settings, one.path)
    parts = [_HEAD, *(_section(one, places) for one in sections()), _metrics()]
    return "\n".join(parts)


_HEAD = """# Config reference

Generated from the settings' docstrings: change those, then run the command in CONTRIBUTING.md. In a terminal,
`nas check --explain FIELD` prints one field. A config is one YAML file; `--set part.field=value` overrides a field of
it, and so do the keyword arguments of `nas.search` (docs/api.md). Unknown fields are errors. A list or mapping is given
whole.
"""


def _section(section: Section, places: dict[type, str]) -> str:
    lines = [f"## {section.title}", "", _markdown(section.part.meaning), ""]
    if section.fields:
        lines += ["| field | type and range | default | meaning |", "|---|---|---|---|"]
        lines += [_row(section, field, places) for field in section.fields] + [""]
    return "\n".join([*lines, section.after, ""] if section.after else lines)


def _row(section: Section, field: FieldFacts, places: dict[type, str]) -> str:
    kind = ", ".join(filter(None, (field.kind, field.allowed)))
    here = ".".join(filter(None, (section.path, field.name, ANY if field.is_named else "")))
    where = list(dict.fromkeys(places[part.settings] for part in field.parts))
    elsewhere = [place for place in where if place and place != here]
    kind += f", fields as of `{elsewhere[0]}`" if elsewhere else ", fields below" if field.parts else ""
    default = f"`{field.default}`" if field.default not in ("", "required") else field.default
    return f"| {' | '.join(map(_markdown, (f'`{field.name}`', kind, default, field.meaning)))} |"


def _markdown(text: str) -> str:
    """`text` in a table's cell; outside of code, < and * mean nothing."""
    pieces = text.replace("|", r"\|").split("`")
    plain = (piece.replace("<", "&lt;").replace("*", r"\*") if i % 2 == 0 else piece for i, piece in enumerate(pieces))
    return "`".join(plain)


def _metrics() -> str:
    lines = [
        "## Metrics", "", "Names for `objectives`, `constraints`, `evaluation.measures` and `search.reference_point`.",
        "", "| name | unit | better | meaning |", "|---|---|---|---|",
    ]  # fmt: skip
    for one in MEASURES.values():
        better = "less" if one.direction == "minimize" else "more"
        lines.append(f"| `{one.name}` | {one.unit} | {better} | {'; '.join(filter(None, (one.title, one.note)))} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.stdout.write(config_page())
