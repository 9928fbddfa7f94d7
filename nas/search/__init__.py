"""The multi-objective search: study (the record), samplers, engine (the loop), executors (where it runs).

The package can be called, as `nas.search("config.yaml")` is also the function of nas/api.py: importing anything from
here sets the attribute `search` of `nas` to this package, whatever was there.
"""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any


class _Called(ModuleType):
    """The type of this package: calls are forwarded to the function."""

    def __call__(self, config: str | Path, *, trials: int | None = None, run: str = "", **overrides: Any) -> Any:
        """See nas.api.search."""
        return import_module("nas.api").search(config, trials=trials, run=run, **overrides)


sys.modules[__name__].__class__ = _Called
