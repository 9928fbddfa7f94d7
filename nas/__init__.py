"""Neural architecture search for robust tiny networks: how networks are found, trained and judged.

Before torch is loaded, its idle OpenMP threads (libgomp) are told to sleep after 2,000 spins, unless the environment
says how they wait (OMP_WAIT_POLICY, GOMP_SPINCOUNT). libgomp's own 300,000 keep a core busy that another process could
use: beside one busy process, training with two threads on two cores is 1.15 times as fast (docs/performance.md).
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.api import load as load
    from nas.api import open as open
    from nas.api import search as search

__version__ = "0.1.0"

SPINS = 2000
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = str(SPINS)


def __getattr__(name: str) -> Any:
    """`open` and `load` of nas/api.py, and the package `nas.search`, which can be called."""
    if name == "search":
        return import_module("nas.search")
    if name in ("open", "load"):
        return getattr(import_module("nas.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "load", "open", "search"})
