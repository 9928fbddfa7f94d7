"""Packages of the extra `export`, imported when a format needs them."""

from importlib import import_module
from types import ModuleType

from nas.base.errors import UsageError


def needed(module: str) -> ModuleType:
    """The module, imported. Raises UsageError, which names the extra, where that is not possible."""
    try:
        return import_module(module)
    except Exception as error:  # one made for other versions raises whatever it likes
        raise UsageError(
            f"this needs the package {module.split('.')[0]}, which cannot be imported ({type(error).__name__}: "
            f"{error}): pip install '.[export]' in the folder of this project"
        ) from error
