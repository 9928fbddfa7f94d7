"""What is wrong with a config, a line for each error with its place in the file."""

import json
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails


def describe(detail: ErrorDetails, data: Mapping[str, Any], where: Any, model: type[BaseModel]) -> str:
    """One error of validating `data` as `place: field: what is wrong [got …] (allowed: …; did you mean …?)`."""
    loc, got = _real_location(detail["loc"], data)
    message = re.sub(r"^(Value error|Assertion failed), ", "", detail["msg"])
    hint = ""
    if detail["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        allowed = _fields_at(loc[:-1], model)
        message = "unknown field"
        near = get_close_matches(str(loc[-1]), allowed, n=1)
        hint = f" (allowed: {', '.join(allowed)}" + (f"; did you mean {near[0]}?)" if near else ")")
    elif detail["type"] == "missing":
        message = "is required"
    shown = "" if got is _ABSENT or isinstance(got, dict) else f" [got {json.dumps(got)}]"
    field = f"{'.'.join(map(str, loc))}: " if loc else ""  # an error of fields together names them itself
    # A URL that was written in place of a variable's name may hold a password.
    return re.sub(r"://[^\s\"\]]+", "://…", f"{where(loc)}: {field}{message}{shown}{hint}")


_ABSENT = object()


def _real_location(loc: Sequence[str | int], data: Any) -> tuple[list[str | int], Any]:
    """`loc` without the types of a union that pydantic inserts, and the value there."""
    real: list[str | int] = []
    node: Any = data
    for index, key in enumerate(loc):
        if (isinstance(node, dict) and key in node) or (isinstance(node, list) and isinstance(key, int)):
            node = node[key]  # type: ignore[index]
            real.append(key)
        elif isinstance(node, dict) and index == len(loc) - 1:
            real.append(key)
            node = _ABSENT
    return real, node


def _fields_at(loc: Sequence[str | int], model: type[BaseModel]) -> list[str]:
    """Names of the fields of the part at `loc`, from the schema (all members where it is a union)."""
    schema = model.model_json_schema()
    nodes = [schema]
    for key in loc:
        following = []
        for node in nodes:
            if isinstance(key, int):
                following += [node.get("items", {}), *node.get("prefixItems", [])]
            else:
                named, entries = node.get("properties", {}), node.get("patternProperties", {})
                following += [named[key]] if key in named else entries.values()
        nodes = [resolved for node in following for resolved in _resolve(node, schema)]
    return list(dict.fromkeys(name for node in nodes for name in node.get("properties", {})))


def _resolve(node: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Any]:
    if "$ref" in node:
        return _resolve(schema["$defs"][node["$ref"].rsplit("/", 1)[-1]], schema)
    options = [*node.get("anyOf", []), *node.get("oneOf", []), *node.get("allOf", [])]
    return [resolved for option in options for resolved in _resolve(option, schema)] if options else [node]


def line_of(tree: Any, loc: Sequence[str | int]) -> int:
    """Line of the deepest part of `loc` that the file has."""
    line, node = 1, tree
    for key in loc:
        try:
            position = node.lc.data[key]
            node = node[key]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
        line = position[0] + 1
    return line
