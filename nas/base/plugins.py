"""Modules of the user's that add entries to the registries: a config names them, or what is in them (`module:Name`)."""

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path

from nas.base.errors import ConfigError


def load_plugins(names: Iterable[str], folder: Path | None = None) -> None:
    """Imports the modules of `names` (`module` or `module:Name`), each once in a process.

    Installed ones, or files in `folder` or the current folder. Appends both folders to `sys.path`, which worker
    processes inherit. Raises ConfigError where one cannot be imported, or is another than that of `folder`.
    """
    for name in names:
        for place in (folder, Path.cwd()):
            if place is not None and str(place) not in sys.path:
                sys.path.append(str(place))  # last: no file there takes the place of an installed module
        module = name.partition(":")[0]
        try:
            imported = import_module(module)
        except Exception as error:
            raise ConfigError(
                f"cannot import plugin {name} ({type(error).__name__}: {error}); install it, or keep "
                f"{module.split('.')[0]}.py beside the config, in {folder or Path.cwd()} or in the current folder"
            ) from error
        own, found = folder and _file_in(folder, module), getattr(imported, "__file__", None)
        if own and found and not own.samefile(found):
            raise ConfigError(
                f"plugin {name}: {own} is meant, and {found} was found first under the same name; rename one of them"
            )


def _file_in(folder: Path, module: str) -> Path | None:
    """File of `module` in `folder`, None where it has none."""
    base = folder.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def folder_of(names: Iterable[str], folders: Sequence[Path]) -> Path | None:
    """The first of `folders` that holds a module of `names`; None where none does."""
    modules = [name.partition(":")[0] for name in names]
    return next((folder for folder in folders if any(_file_in(folder, module) for module in modules)), None)
