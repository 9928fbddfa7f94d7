"""Packages that only some configs need, and a look whether they can be imported before any work is done."""

from importlib import import_module
from typing import NamedTuple

from nas.base.errors import UsageError


class Package(NamedTuple):
    """A module, and the extra of this project that installs it."""

    module: str
    extra: str


PACKAGES = {
    "autoattack": Package("pyautoattack", "autoattack"),
    "pymoo_agemoea": Package("numba", "agemoea"),
    "ray": Package("ray", "ray"),
}
"""Package of every attack, sampler and executor that needs one, by its name in a config."""


def check_installed(name: str) -> None:
    """Imports the package that the attack, sampler or executor `name` needs, if any.

    Raises UsageError where that is not possible: it is missing, or damaged.
    """
    if name not in PACKAGES:
        return
    module, extra = PACKAGES[name]
    try:
        import_module(module)
    except Exception as error:  # one made for other versions raises whatever it likes
        raise UsageError(
            f"{name} needs the package {module}, which cannot be imported ({type(error).__name__}: {error}): "
            f"pip install '.[{extra}]' in the folder of this project"
        ) from error
