"""What the loader of a data set delivers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from nas.data.settings import Source

if TYPE_CHECKING:
    from torch import Tensor

    from nas.data.split import Split

Part = Literal["train", "test"]


class Raw(NamedTuple):
    """Images of one part of a data set, and the class names in label order."""

    split: Split
    class_names: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    """What a user should know of these images."""
    settings: Source | None = None
    """Settings with what they left open filled in from the training part; None where nothing was open."""
    held_out: Tensor | None = None
    """Which training images are for validation (N,), bool; None: a stratified share of them is drawn."""


class Survey(NamedTuple):
    """What is known of the test part before any of its images is decoded."""

    counts: Mapping[str, int] | None = None
    """Images of each class; None where only loading them would tell."""
    warnings: tuple[str, ...] = ()
