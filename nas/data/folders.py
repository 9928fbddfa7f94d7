"""Class folders: the files of one kind in them, what is left out, and whether the classes are those of training."""

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.base.errors import DataError

NAMED = 3
"""Files that a message names of many."""


@dataclass(frozen=True)
class FileKind:
    """The files that a data set is made of, and words for them."""

    noun: str
    """One of them: an image."""
    unread: str
    """What a file is that is none of them."""
    is_one: Callable[[Path], bool]
    """Whether a file is one, by its name or its first bytes."""
    suffixes: Callable[[], frozenset[str]]
    """Those of their names, in lower case."""
    beside: frozenset[str] = frozenset()
    """Names of other files that belong to the data set."""


@dataclass(frozen=True)
class Listing:
    """Files of one part, of which none is decoded."""

    folder: Path
    files: Mapping[str, Sequence[Path]]
    """Of every class folder, those in subfolders included, sorted."""
    warnings: tuple[str, ...]
    """What was left out, counted and named."""


def listing(folder: Path, kind: FileKind) -> Listing:
    """All files of `kind` in `folder`. Hidden files and folders are not read; links to folders are followed."""
    found: dict[str, list[Path]] = {name: [] for name in class_folders(folder)}
    unread: list[Path] = []
    loose: list[Path] = []
    hidden: list[Path] = []
    for path in _walk(folder):
        inside = path.relative_to(folder)
        if any(map(_hidden, inside.parts)):
            hidden += [inside] if path.suffix.lower() in kind.suffixes() else []
        elif not kind.is_one(path):
            unread += [] if path.name in kind.beside else [inside]
        elif len(inside.parts) == 1:
            loose.append(inside)
        else:
            found[inside.parts[0]].append(path)
    reasons = (
        (unread, kind.unread),
        (loose, "in no class folder"),
        (hidden, f"{kind.noun} in a hidden folder or under a hidden name"),
    )
    warnings = tuple(f"{folder}: {left_out(files, reason)}" for files, reason in reasons if files)
    return Listing(folder, {name: sorted(paths) for name, paths in found.items()}, warnings)


def _walk(folder: Path) -> Iterable[Path]:
    visited: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in visited:  # a link that leads back
            folders.clear()
            continue
        visited.add(real)
        folders.sort()
        yield from (Path(place, name) for name in sorted(files))


def left_out(files: Sequence[Path], reason: str) -> str:
    """How many `files` are not used, their suffixes, why, and the first of them."""
    kinds = Counter(path.suffix.lower() or "no suffix" for path in files)
    counted = ", ".join(f"{suffix} {count:,}" for suffix, count in kinds.most_common(5))
    more = ", …" if len(kinds) > 5 else ""
    return f"{_files(len(files))} left out, {reason} ({counted}{more}): {some([str(path) for path in files])}"


def _files(count: int) -> str:
    return "1 file is" if count == 1 else f"{count:,} files are"


def some(names: Sequence[str]) -> str:
    """The first of `names`, and how many more there are."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def class_folders(folder: Path) -> tuple[str, ...]:
    """Names of the class folders in `folder`, sorted. Raises DataError where it is missing."""
    if not folder.is_dir():
        raise DataError(missing_folder(folder.parent, folder.name))
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not _hidden(entry.name)))


def _hidden(name: str) -> bool:
    return name.startswith(".")


def validation_folders(root: Path) -> list[Path]:
    """Folders of `root` that other layouts have and this one does not read."""
    return [root / name for name in ("val", "valid", "validation") if (root / name).is_dir()]


def missing_folder(root: Path, part: str) -> str:
    """What to say where `root` has no folder for `part`."""
    others = validation_folders(root)
    if part == "test" and others:
        hint = (
            f"; {others[0]} is not read, as validation images are held out of train/: rename it if it is "
            f"to be the test set"
        )
    elif part == "test":
        hint = "; a retrained network is evaluated on it once, at the end"
    else:
        hint = ""
    return (
        f"no folder {(root / part).resolve()}: an image folder has {root}/train/<class>/ and {root}/test/<class>/; "
        f"set data.root to the right place (evaluate and retrain: --data ROOT){hint}"
    )


def compare_classes(found: Iterable[str], class_names: Sequence[str], folder: Path, *, every: bool) -> None:
    """Raises DataError, with the difference, where `found` has other classes than `class_names`, or not `every` one."""
    folders = set(found)
    unknown = sorted(folders - set(class_names))
    absent = [name for name in class_names if name not in folders] if every or unknown else []
    for name in unknown:
        for known in class_names:
            if _plain_name(known) == _plain_name(name):
                raise DataError(
                    f"{folder} has the class folder {name!a} where the training images have {known!a}: they differ in "
                    f"case or Unicode normalisation; rename one"
                )
    if unknown or absent:
        parts = [f"{some(unknown)} is no class of them"] if unknown else []
        parts += [f"{some(absent)} is missing"] if absent else []
        raise DataError(
            f"{folder} does not have the {len(class_names)} classes of the training images: {'; '.join(parts)}; "
            f"restore the folders or name another place"
        )


def twins(names: Sequence[str], difference: str) -> tuple[str, ...]:
    """The first two of `names` that are equal but for Unicode normalisation ("normalisation") or case ("case")."""
    seen: dict[str, str] = {}
    for name in names:
        key = unicodedata.normalize("NFC", name) if difference == "normalisation" else _plain_name(name)
        if key in seen:
            return seen[key], name
        seen[key] = name
    return ()


def _plain_name(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
