"""What a config names as `module:Name`, or by an entry point: a part of the user's, put into its registry.

A space is a SpaceEntry, a data set a SourceEntry, a measure a Measure, an attack or a treatment its settings class, a
method its class. The config then has the part's own name, and `module:Name` among `plugins`, from where every process
that reads the config, and every worker, registers it again.
"""

import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

from nas.attacks import ATTACKS
from nas.base.errors import ConfigError
from nas.base.plugins import folder_of, load_plugins
from nas.base.settings import Settings
from nas.data.sources import DATASETS, SourceEntry
from nas.measures import MEASURES, Measure
from nas.networks.treatments import TREATMENTS
from nas.training.settings import METHODS
from search_spaces import SPACES, SpaceEntry

REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""A part in a module, `module:Name`."""
REGISTRIES: dict[str, MutableMapping[str, Any]] = {
    "space": SPACES, "data set": DATASETS, "measure": MEASURES, "attack": ATTACKS, "method": METHODS,
    "treatment": TREATMENTS,
}  # fmt: skip
GROUPS = {"space": "spaces", "measure": "measures", "attack": "attacks", "method": "methods",
          "treatment": "treatments"}  # fmt: skip
"""Groups of entry points, robust_tiny_nas.GROUP."""
_CONSTRAINT = re.compile(rf"\s*({REFERENCE.pattern}|\w+)")


def load_parts(names: Iterable[str], folder: Path | None = None) -> None:
    """Imports `names` as `load_plugins` does, and registers those of the form `module:Name`. Raises ConfigError."""
    for name in names:
        load_plugins([name], folder)
        if ":" in name:
            _register(name)


def _register(reference: str) -> tuple[str, str]:
    """Kind and registered name of the part, whose module is imported. Raises ConfigError."""
    module, _, name = reference.partition(":")
    try:
        part = getattr(import_module(module), name)
    except AttributeError as error:
        raise ConfigError(f"{reference}: module {module} has no {name}") from error
    kind, own, entry = _described(part, reference)
    registry = REGISTRIES[kind]
    if own in registry and not _is_same(registry[own], entry):
        raise ConfigError(f"{reference}: there is another {kind} named {own!r} already; give yours another name")
    registry[own] = entry
    return kind, own


def _described(part: Any, reference: str) -> tuple[str, str, Any]:
    """Kind of `part`, its own name, and its registry's entry."""
    if isinstance(part, Measure):
        return "measure", part.name, part
    if isinstance(part, SpaceEntry | SourceEntry):
        return "space" if isinstance(part, SpaceEntry) else "data set", _own_name(part.settings, reference), part
    if isinstance(part, type) and issubclass(part, Settings):
        for kind, needed in (("treatment", "make"), ("attack", "run")):
            if callable(getattr(part, needed, None)):
                return kind, _own_name(part, reference), part
    elif isinstance(part, type) and callable(getattr(part, "loss", None)):
        return "method", reference, reference
    raise ConfigError(
        f"{reference} is no part of a search (allowed: a SpaceEntry, a SourceEntry, a Measure, a settings class with "
        f"`run` (an attack) or `make` (a treatment), a class with `loss` (a training method))"
    )


def _own_name(settings: type, reference: str) -> str:
    names = get_args(get_type_hints(settings).get("name"))
    if len(names) != 1 or not isinstance(names[0], str):
        raise ConfigError(f'{reference}: its settings need a field `name: Literal["NAME"] = "NAME"`')
    return names[0]


def _is_same(one: Any, other: Any) -> bool:
    """Whether two entries are the same part, which its module may have registered itself."""
    return one == other or (
        isinstance(one, type) and (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)
    )


def with_parts(
    data: Mapping[str, Any], folders: Sequence[Path], where: Callable[[Sequence[str | int]], str]
) -> dict[str, Any]:
    """Config `data` with the registered names of the parts that it names otherwise, and these among its plugins.

    `plugin_folder` becomes the first of the stored one and `folders` that holds a module of the plugins. Raises
    ConfigError, with its place (`where`), for a part that cannot be had.
    """
    found = {**data}
    plugins = list(data["plugins"]) if _is_texts(data.get("plugins", [])) and "plugins" in data else []
    stored = data.get("plugin_folder")
    places = [*([Path(folders[0], stored)] if isinstance(stored, str) else []), *folders]

    def load(names: Sequence[str]) -> None:
        folder = folder_of([*plugins, *names], places)
        if folder is not None:
            found["plugin_folder"] = str(folder)
        load_parts(names, folder or folders[0])

    try:
        load(plugins)
    except ConfigError as error:
        raise ConfigError(f"{where(['plugins'])}: plugins: {error}") from error

    def name_of(text: str, kind: str, loc: Sequence[str | int]) -> str:
        reference = text if REFERENCE.fullmatch(text) else _entry_point(text, kind)
        if reference is None:
            return text
        field = f"{where(loc)}: {'.'.join(map(str, loc))}"
        try:
            load([reference])
            found_kind, own = _register(reference)
        except ConfigError as error:
            raise ConfigError(f"{field}: {error}") from error
        if found_kind != kind:
            raise ConfigError(f"{field}: {reference} is a {found_kind}, a {kind} is needed here")
        if reference not in plugins:
            plugins.append(reference)
        return own

    def walked(node: Any, loc: tuple[str | int, ...]) -> Any:
        if isinstance(node, dict):
            rekeyed = loc == ("search", "reference_point")
            return {
                (name_of(key, "measure", loc) if rekeyed else key): walked(value, (*loc, key))
                for key, value in node.items()
            }
        if isinstance(node, list):
            return [walked(value, (*loc, index)) for index, value in enumerate(node)]
        kind = _kind_at(loc) if isinstance(node, str) else None
        if kind is None:
            return node
        if loc[0] != "constraints":
            return name_of(node, kind, loc)
        return _CONSTRAINT.sub(lambda match: name_of(match[1], kind, loc), node, count=1)

    found |= {field: walked(value, (field,)) for field, value in data.items() if field not in ("name", "plugins")}
    return {**found, "plugins": plugins} if plugins else found


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _kind_at(loc: Sequence[str | int]) -> str | None:
    """Kind of what a text at `loc` of a config names; None where it names none."""
    field = next(key for key in reversed(loc) if isinstance(key, str))
    if field in ("objectives", "constraints", "measures"):
        return "measure"
    if field == "method":
        return "method"
    kinds = {"space": "space", "data": "data set", "treatments": "treatment"}
    return kinds.get(cast(str, loc[0]), "attack") if field == "name" else None


def _entry_point(text: str, kind: str) -> str | None:
    """`module:Name` of an installed package's entry point `text`, where no registered part has this name."""
    if kind not in GROUPS or text in REGISTRIES[kind]:
        return None
    found = entry_points(group=f"robust_tiny_nas.{GROUPS[kind]}", name=text)
    return next((entry.value for entry in found), None)
