"""Modules of the user's that add entries to the registries when they are imported: a config names them."""

import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from nas.base.errors import ConfigError


def load_plugins(names: Iterable[str]) -> None:
    """Imports the modules `names`, each once in a process: installed ones, or files in the current folder.

    Appends the current folder to `sys.path`, which worker processes inherit. Raises ConfigError where one cannot be
    imported.
    """
    for name in names:
        if (here := str(Path.cwd())) not in sys.path:
            sys.path.append(here)  # last: no file there takes the place of an installed module
        try:
            import_module(name)
        except Exception as error:
            raise ConfigError(
                f"cannot import plugin {name} ({type(error).__name__}: {error}); install it, or start in the folder "
                f"that holds {name.split('.')[0]}.py"
            ) from error
