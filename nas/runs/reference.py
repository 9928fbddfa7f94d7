"""Every field of a config: what it means, what it may be, its default; read from the settings classes."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticUndefined

from nas.base.errors import UsageError
from nas.base.registry import ChosenFrom
from nas.base.settings import AS_WRITTEN, Bytes, Count, Ratio, ratio_text
from nas.runs.config import RunConfig

ANY = "NAME"
"""Stands for the user's own keys of a mapping in a field's path."""


@dataclass(frozen=True)
class FieldFacts:
    """A field of a settings class."""

    name: str
    kind: str
    """Its type in words."""
    allowed: str
    """Its range in words; empty where the type says it all."""
    default: str
    """As in a config; `required` without one, empty for a part whose fields have their own."""
    meaning: str
    """Its docstring, in one line."""
    parts: tuple[SettingsPart, ...] = ()
    """What it holds, where that has fields itself: one, or one for each choice of `name`."""
    is_named: bool = False
    """Whether it is a mapping of the user's own names to such parts."""


@dataclass(frozen=True)
class SettingsPart:
    """A settings class in a place of the config."""

    settings: type
    choice: str = ""
    """The `name` that chooses it, where it is one of several."""
    of: str = ""
    """What it is a choice of: attack, space, …"""
    given: Any = dataclasses.field(default=None, hash=False)
    """Its default in that place; None: the class's own."""

    @property
    def meaning(self) -> str:
        """Docstring of the class, in one line."""
        return _line(inspect.getdoc(self.settings) or "")

    @property
    def own_names(self) -> frozenset[str]:
        """Names of the fields that the class itself declares; others are inherited."""
        return frozenset(inspect.get_annotations(self.settings))

    def fields(self) -> tuple[FieldFacts, ...]:
        """Its fields in order, but for the `name` that chooses it."""
        return tuple(
            _facts(name, *declared, self.given)
            for name, declared in _declared(self.settings).items()
            if not (self.choice and name == "name")
        )


CONFIG = SettingsPart(RunConfig)
"""The whole config."""


@dataclass(frozen=True)
class Found:
    """A field at a path, in the part that has it."""

    path: str
    part: SettingsPart
    field: FieldFacts


def fields_at(path: str) -> list[Found]:
    """Fields that `path` (training.attack.steps) names, one for each choice that has it.

    Elements of lists have the path of the list, also with an index; a key of the user's own is any name. Raises
    UsageError where there is none, with the fields there.
    """
    keys, parts = [key for key in path.strip().split(".") if not key.isdigit()], [CONFIG]
    found: list[Found] = []
    named = False
    for depth, key in enumerate(keys):
        if named and not any(key == field.name for part in parts for field in part.fields()):
            named = False  # a name of the user's own
            continue
        found = [Found(".".join(keys[: depth + 1]), part, f) for part in parts for f in part.fields() if f.name == key]
        if not found:
            raise UsageError(_unknown(path, key, ".".join(keys[:depth]), parts))
        parts = list(dict.fromkeys(part for one in found for part in one.field.parts))
        named = any(one.field.is_named for one in found)
    return found


def _unknown(path: str, key: str, place: str, parts: list[SettingsPart]) -> str:
    names = list(dict.fromkeys(field.name for part in parts for field in part.fields()))
    if not names:
        return f"no field {path}: {place} has no fields of its own; leave .{key} out"
    near = get_close_matches(key, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    of = f" of {place}" if place else ""
    return f"no field {path}: unknown {key!r} (fields{of}: {', '.join(names)}{hint})"


Declared = tuple[Any, list[Any], Any, str]
"""Type of a field, what is annotated to it, its default, its docstring."""


@cache
def _declared(settings: type) -> Mapping[str, Declared]:
    if issubclass(settings, BaseModel):
        return {
            name: (info.annotation, info.metadata, info.get_default(call_default_factory=False), info.description or "")
            for name, info in settings.model_fields.items()
        }
    docs, hints = _attribute_docstrings(settings), get_type_hints(settings, include_extras=True)
    return {
        field.name: (
            hints[field.name], [], PydanticUndefined if field.default is dataclasses.MISSING else field.default,
            docs.get(field.name, ""),
        )
        for field in dataclasses.fields(cast(Any, settings))
    }  # fmt: skip


def _attribute_docstrings(settings: type) -> dict[str, str]:
    """Strings behind the fields of a dataclass, as pydantic reads them of its models."""
    found = {}
    for cls in reversed(settings.__mro__[:-1]):
        (tree,) = ast.parse(dedent(inspect.getsource(cls))).body
        assert isinstance(tree, ast.ClassDef)
        for node, after in zip(tree.body, tree.body[1:], strict=False):
            text = after.value if isinstance(after, ast.Expr) else None
            if isinstance(node, ast.AnnAssign) and isinstance(text, ast.Constant) and isinstance(text.value, str):
                found[ast.unparse(node.target)] = inspect.cleandoc(text.value)
    return found


def _facts(name: str, annotation: Any, metadata: list[Any], default: Any, doc: str, given: Any) -> FieldFacts:
    if given is not None:
        default = getattr(given, name)
    is_part = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    parts = tuple(_parts(annotation, metadata, default if isinstance(default, BaseModel) else None))
    if default is PydanticUndefined:
        text = "required"
    elif is_part:
        text = ""
    else:
        text = _written(default)
    kind, named = _kind(annotation, metadata), get_origin(annotation) is dict
    if isinstance(default, float) and kind.startswith(_RATIO):
        text = ratio_text(default)
    return FieldFacts(name, kind, _range(metadata), text, _line(doc), parts, named)


def _parts(annotation: Any, metadata: list[Any], given: Any) -> Iterator[SettingsPart]:
    chosen = next((one for one in metadata if isinstance(one, ChosenFrom)), None)
    if chosen is not None:
        for name, entry in chosen.registry.items():
            yield SettingsPart(chosen.settings_of(entry), name, chosen.what)
    elif get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        yield from _parts(inner, more, given)
    elif isinstance(annotation, type) and (issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation)):
        yield SettingsPart(annotation, given=given)
    else:
        for inner in get_args(annotation):
            yield from _parts(inner, [], None)


_PLAIN = {int: "whole number", float: "number", bool: "true or false", str: "text", Path: "path", type(None): "null"}
_RATIO = "number or ratio such as 8/255"
_MARKED = {
    get_args(Ratio)[1]: _RATIO,
    get_args(Count)[1]: "whole number, such as 100000, 100k or 8M",
    get_args(Bytes)[1]: "bytes, such as 65536, 64KB (64,000) or 64 KiB",
}


def _kind(annotation: Any, metadata: list[Any]) -> str:
    """A type in words."""
    chosen = next((one for one in metadata if isinstance(one, ChosenFrom)), None)
    if chosen is not None:
        return f"{chosen.what}, by `name`: {', '.join(chosen.registry)}"
    marked = next((words for mark, words in _MARKED.items() if mark in metadata), None)
    if marked:
        return marked
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inner[0], list(inner[1:]))
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(one, metadata if one is not type(None) else []) for one in inner)
    if origin is tuple:
        return f"list of: {_kind(inner[0], [])}"
    if origin is dict:
        return f"mapping of names to: {_kind(inner[1], [])}"
    return _PLAIN.get(annotation, "part")


def _range(metadata: list[Any]) -> str:
    """Limits on a value in words."""
    low = next((f"{one.ge:,} or more" for one in metadata if isinstance(one, Ge)), "")
    low = low or next((f"above {one.gt:,}" for one in metadata if isinstance(one, Gt)), "")
    high = next((f"at most {one.le:,}" for one in metadata if isinstance(one, Le)), "")
    high = high or next((f"below {one.lt:,}" for one in metadata if isinstance(one, Lt)), "")
    if low.endswith(" or more") and high.startswith("at most "):
        low, high = f"{low.removesuffix(' or more')} to {high.removeprefix('at most ')}", ""
    fewest = next((f"{one.min_length} entries or more" for one in metadata if isinstance(one, MinLen)), "")
    most = next((f"at most {one.max_length} entries" for one in metadata if isinstance(one, MaxLen)), "")
    pattern = next((f"matching `{one.pattern}`" for one in metadata if getattr(one, "pattern", None)), "")
    return ", ".join(filter(None, (low, high, fewest, most, pattern)))


def _written(value: Any) -> str:
    """A default as a config has it; of a chosen part, its name and what differs from its own defaults."""
    dumped = TypeAdapter(Any).dump_python(_brief(value), mode="json", context=AS_WRITTEN)
    return json.dumps(dumped, ensure_ascii=False).replace('"', "")


def _brief(value: Any) -> Any:
    if isinstance(value, BaseModel):
        changed = value.model_dump(mode="json", exclude_defaults=True, context=AS_WRITTEN)
        return {"name": value.name, **changed} if hasattr(value, "name") else changed
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        differing = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {f.name: differing[f.name] for f in dataclasses.fields(value) if differing[f.name] != f.default}
    return [_brief(one) for one in value] if isinstance(value, tuple) else value


def _line(text: str) -> str:
    return " ".join(text.split())
