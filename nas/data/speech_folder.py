"""Recordings of words in folders: settings and lists to features, with warnings of what looks wrong."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nas.base.errors import DataError
from nas.data.folders import FileKind, left_out, listing, some, twins
from nas.data.raw import Part, Raw, Survey
from nas.data.recordings import SILENCE, Loaded, Recordings, load_recordings
from nas.data.settings import TEST_LIST, VALIDATION_LIST, SpeechFolder
from nas.data.split import Split, limited_order

RECORDINGS = FileKind(
    "a recording", "no WAV file", lambda path: path.suffix.lower() in (".wav", ".wave"),
    lambda: frozenset({".wav", ".wave"}), frozenset({TEST_LIST, VALIDATION_LIST, "README.md", "LICENSE"}),
)  # fmt: skip
_SPEAKER = re.compile(r"(.+?)(?:_nohash)?_\d+")
"""Name of a recording: <speaker>_nohash_<n> in Google Speech Commands, else <speaker>_<n>."""


@dataclass(frozen=True)
class Layout:
    """Recordings of a folder by their part, of which none is read; files by name, <word>/<name>.wav."""

    words: tuple[str, ...]
    train: Mapping[str, int]
    """Labels of the recordings of no test list."""
    validation: frozenset[str] | None
    """Those of them for validation; None: there is no list."""
    test: Mapping[str, int]
    warnings: tuple[str, ...]


def load_speech_folder(settings: SpeechFolder, part: Part) -> Raw:
    """Features of one part. A limit is applied before any recording is read."""
    layout = layout_of(settings)
    found = layout.train if part == "train" else _tested(settings, layout)
    files, labels = tuple(found), torch.tensor(list(found.values()), dtype=torch.int64)
    held_out = None
    if part == "train" and layout.validation is not None:
        held_out = torch.tensor([name in layout.validation for name in files])
    limit = settings.limit if part == "train" else settings.test_limit
    chosen = limited_order(labels, held_out, limit, settings.split_seed, part)
    files = tuple(files[index] for index in chosen.tolist())
    labels, held_out = labels[chosen], None if held_out is None else held_out[chosen]
    loaded = load_recordings(settings, files)
    split = Split(loaded.images, labels, origins={"waveforms": Recordings(settings, files, torch.arange(len(files)))})
    warnings = layout.warnings
    if part == "train":
        warnings += (*_sound(settings, files, loaded), *_validation(files, held_out, labels, loaded.digests))
    return Raw(split, layout.words, warnings, held_out=held_out)


def survey_speech_folder(settings: SpeechFolder, class_names: Sequence[str]) -> Survey:
    """Test recordings of each word, of which none is decoded. Raises DataError where there are none to test on.

    Files are compared with those of training byte by byte, by their hashes.
    """
    layout = layout_of(settings)
    found = _tested(settings, layout)
    counts = dict.fromkeys(layout.words, 0)
    for label in found.values():
        counts[layout.words[label]] += 1
    absent = [word for word, count in counts.items() if not count]
    notes = [f"{TEST_LIST} has no recording of {some(absent)}: test results will say nothing of it"] if absent else []
    notes += _speakers(tuple(layout.train), tuple(found), "training", "test")
    content = {part: {name: _hash((settings.root / name).read_bytes()) for name in files}
               for part, files in (("training", layout.train), ("test", found))}  # fmt: skip
    notes += _copies(content["training"], content["test"], "training", "test")
    return Survey(counts, tuple(notes))


def layout_of(settings: SpeechFolder) -> Layout:
    """Recordings in the folder of `settings`, by the lists in it. Raises DataError where they contradict each other."""
    root = settings.root
    if not root.is_dir():
        raise DataError(
            f"no folder {root.resolve()}: a folder of recordings has {root}/<word>/*.wav, {root}/{TEST_LIST} and "
            f"{root}/{VALIDATION_LIST}; set data.root to the right place (evaluate and retrain: --data ROOT)"
        )
    found = listing(root, RECORDINGS)
    words, warnings = _words(settings, found.files)
    labels = {
        path.relative_to(root).as_posix(): label for label, word in enumerate(words) for path in found.files[word]
    }
    test, validation = (_listed(root / name) for name in (TEST_LIST, VALIDATION_LIST))
    if both := sorted((test or set()) & (validation or set())):
        raise DataError(f"{some(both)} is in {TEST_LIST} and in {VALIDATION_LIST} of {root}: remove it from one")
    for name, listed in ((TEST_LIST, test), (VALIDATION_LIST, validation)):
        gone = sorted(one for one in listed or () if one not in labels and one.split("/")[0] in words)
        warnings += [f"{root / name}: {len(gone):,} lines name no recording: {some(gone)}"] if gone else []
    if len(same := twins(words, "case")) == 2:
        warnings.append(f"the words {' and '.join(same)} differ in upper and lower case only")
    tested = {name: label for name, label in labels.items() if name in (test or ())}
    train = {name: label for name, label in labels.items() if name not in tested}
    held_out = None if validation is None else frozenset(validation & train.keys())
    return Layout(words, train, held_out, tested, (*found.warnings, *warnings))


def _words(settings: SpeechFolder, files: Mapping[str, Sequence[Path]]) -> tuple[tuple[str, ...], list[str]]:
    """Words in label order, and a note of the folders that are none. Raises DataError."""
    folders = [name for name in files if not name.startswith("_")]  # _background_noise_ of Google Speech Commands
    words = settings.words or tuple(folders)
    empty = [word for word in words if not files.get(word)]
    if empty or len(words) < 2 or len(set(words)) < len(words):
        reason = f"holds no recording of {some(empty)}" if empty else f"holds {len(words)} word folders, not 2 or more"
        raise DataError(f"{settings.root} {reason}: it needs <word>/*.wav for each word (data.words)")
    others = [path for name in files if name not in words for path in files[name]]
    relative = [path.relative_to(settings.root) for path in others]
    return words, [f"{settings.root}: {left_out(relative, 'of no word that is told apart')}"] if others else []


def _listed(path: Path) -> set[str] | None:
    """Names in the list at `path`; None where there is none. Raises DataError where it is no text."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as a list of recordings ({error}); write one <word>/<name>.wav a line"
        ) from error
    return {line.strip().replace("\\", "/") for line in lines if line.strip()}


def _tested(settings: SpeechFolder, layout: Layout) -> Mapping[str, int]:
    """Test recordings. Raises DataError where there are none."""
    if not layout.test:
        missing = settings.root / TEST_LIST
        state = "names no recording of these words" if missing.is_file() else "is missing"
        raise DataError(
            f"{missing} {state}: write the recordings of the test set there, one <word>/<name>.wav a line, all of a "
            f"speaker's or none; a retrained network is evaluated on them once, at the end"
        )
    return layout.test


def _sound(settings: SpeechFolder, files: Sequence[str], loaded: Loaded) -> Iterator[str]:
    """Warnings of what the recordings sound like."""
    silent = [name for name, digest in zip(files, loaded.digests, strict=True) if digest == SILENCE]
    if silent:
        yield f"{len(silent):,} of {len(files):,} recordings are silent throughout: {some(silent)}"
    lower = [name for name, rate in zip(files, loaded.rates, strict=True) if rate < settings.sample_rate]
    if lower:
        yield (
            f"{len(lower):,} of {len(files):,} recordings have fewer than data.sample_rate = {settings.sample_rate:,} "
            f"samples a second (lowest: {min(loaded.rates):,}), and nothing above half of that: {some(lower)}"
        )
    long = [name for name, seconds in zip(files, loaded.seconds, strict=True) if seconds > settings.seconds]
    if long:
        yield (
            f"{len(long):,} of {len(files):,} recordings are longer than data.seconds = {settings.seconds:g}, their "
            f"ends are cut off (longest: {max(loaded.seconds):.2f} s): {some(long)}"
        )


def _validation(files: Sequence[str], held_out: Tensor | None, labels: Tensor, digests: Sequence[str]) -> Iterator[str]:
    """Warnings of what training and validation share, and of equal recordings of different words."""
    words: dict[str, set[int]] = {}
    for digest, label in zip(digests, labels.tolist(), strict=True):
        words.setdefault(digest, set()).add(label)
    odd = [name for name, digest in zip(files, digests, strict=True) if len(words[digest]) > 1 and digest != SILENCE]
    if odd:
        yield f"{len(odd):,} recordings are in the folders of several words, sample by sample: {some(odd)}"
    if held_out is None:
        if None not in {speaker_of(name) for name in files}:
            yield (
                f"no {VALIDATION_LIST}: validation recordings are drawn, whoever speaks, so that their results are "
                f"those for known voices"
            )
        return
    both: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for name, digest, held in zip(files, digests, held_out.tolist(), strict=True):
        both[held][name] = digest
    yield from _speakers(tuple(both[0]), tuple(both[1]), "training", "validation")
    yield from _copies(*both, "training", "validation")


def _speakers(files: Sequence[str], others: Sequence[str], name: str, other: str) -> list[str]:
    """A warning where speakers are in both parts, as far as names of files show speakers."""
    first, second = ({speaker_of(one) for one in part} for part in (files, others))
    if None in first | second or not (shared := first & second):
        return []
    return [
        f"{len(shared)} of {len(second)} speakers of the {other} recordings are among those of {name} "
        f"({some(sorted(map(str, shared)))}): results are those for known voices"
    ]


def speaker_of(name: str) -> str | None:
    """Speaker in the file name <word>/<speaker>_<n>.wav or <word>/<speaker>_nohash_<n>.wav; None in others."""
    match = _SPEAKER.fullmatch(Path(name).stem)
    return match and match[1]


def _copies(files: Mapping[str, str], others: Mapping[str, str], name: str, other: str) -> list[str]:
    """A warning where files of both parts have one hash."""
    known = set(files.values()) - {SILENCE}
    copies = [one for one, digest in others.items() if digest in known]
    if not copies:
        return []
    return [f"{len(copies):,} {other} recordings are among those of {name}, too, under other names: {some(copies)}"]


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
