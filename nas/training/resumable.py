"""The loop of epochs of every training: what each epoch gave is written down, and a kill costs at most one epoch."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.base.files import write_atomic
from nas.training.stored import Resumable, load_training, save_training

Facts = Mapping[str, Any]
"""What an epoch gave, JSON-ready."""


@dataclass(frozen=True)
class EpochFile:
    """A file with a line of JSON for every epoch, which may begin with a line of something else."""

    path: Path

    def append(self, facts: Mapping[str, Any]) -> None:
        """Writes one more line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(facts) + "\n")

    def cut(self, epochs: int) -> None:
        """Leaves the lines of the first `epochs` epochs: a kill lost the training behind the others.

        Nothing where the training begins anew; else also what stands before the first epoch.
        """
        if self.path.is_file():
            lines = self.path.read_bytes().splitlines(keepends=True) if epochs else []
            ahead = sum(b'"epoch"' not in line for line in lines[:1])
            write_atomic(self.path, b"".join(lines[: ahead + epochs]))

    def read(self) -> list[dict[str, Any]]:
        """All lines; none where there is no file. Raises ValueError for a line that is no JSON."""
        if not self.path.is_file():
            return []
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]


@dataclass(frozen=True)
class Saved:
    """Where the state of a training is kept, and what names the training."""

    path: Path
    fingerprint: str


def resume_(state: Resumable, saved: Saved | None, *files: EpochFile) -> None:
    """Restores `state` (as it was made before its first epoch) from `saved` where it exists, and cuts `files` to it.

    Raises CheckpointError where what is saved is damaged or of another training.
    """
    if saved is not None and saved.path.exists():
        load_training(saved.path, state, saved.fingerprint)
    for file in files:
        file.cut(state.epoch)


def train_until(
    state: Resumable,
    epochs: int,
    train: Callable[[], Facts],
    log: EpochFile,
    saved: Saved | None,
    done: Callable[[Facts], None] = lambda _: None,
) -> None:
    """Calls `train`, which moves `state` on by an epoch, until `epochs` are done.

    What it returns becomes a line of `log`, and the state is `saved` after every epoch (None: the caller saves it).
    The line comes first: a kill in between repeats this epoch, bit for bit, and the next start cuts the line. `done`
    gets every epoch that is written down.
    """
    while state.epoch < epochs:
        facts = train()
        log.append(facts)
        if saved is not None:
            save_training(saved.path, state, saved.fingerprint)
        done(facts)
