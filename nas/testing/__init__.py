"""Contracts of the parts that users add: classes of tests, to be inherited and run by pytest.

    from nas.testing import SpaceContract

    class TestRows(SpaceContract):
        @staticmethod
        def make(shape, classes):
            return rows(Rows(), shape, classes)

SpaceContract, AttackContract, TreatmentContract and DatasetContract; what a subclass gives is in their docstrings. They
need pytest, and are imported when they are asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.testing.attacks import AttackContract as AttackContract
    from nas.testing.datasets import DatasetContract as DatasetContract
    from nas.testing.spaces import SpaceContract as SpaceContract
    from nas.testing.treatments import TreatmentContract as TreatmentContract

CONTRACTS = {
    "AttackContract": "nas.testing.attacks",
    "DatasetContract": "nas.testing.datasets",
    "SpaceContract": "nas.testing.spaces",
    "TreatmentContract": "nas.testing.treatments",
}
"""Module of every contract."""


def __getattr__(name: str) -> Any:
    """A contract, with the details that pytest shows of a failed `assert`. Raises ImportError without pytest."""
    if name not in CONTRACTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import pytest
    except ImportError as error:
        raise ImportError(f"nas.testing.{name} needs pytest: pip install pytest") from error
    pytest.register_assert_rewrite(CONTRACTS[name])
    return getattr(import_module(CONTRACTS[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *CONTRACTS})
