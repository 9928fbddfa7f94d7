"""Folders of images and of recordings on disk."""

import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def write_image_folder(
    root: Path, counts: dict[str, int], classes: tuple[str, ...] = ("cat", "dog", "owl"), size: tuple[int, int] = (9, 6)
) -> None:
    """`counts` noise images per class and part; the red channel of class k is k * 60 (modulo 256)."""
    rng = np.random.default_rng(0)
    for part, count in counts.items():
        for label, name in enumerate(classes):
            folder = root / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
                pixels[:, :, 0] = 60 * label % 256
                Image.fromarray(pixels).save(folder / f"{index:03d}.png")


WORDS = ("left", "right", "stop")


def write_wav(path: Path, samples: np.ndarray, rate: int = 8000) -> None:
    """`samples` (L,) or (L, channels) int16 as a WAV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


def tone(hertz: float, seconds: float = 0.2, amplitude: float = 0.5, rate: int = 8000) -> np.ndarray:
    """Samples of a sine, float64."""
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def write_speech_folder(
    root: Path, counts: dict[str, int], words: Sequence[str] = WORDS, *, has_validation_list: bool = True
) -> None:
    """`counts` recordings per word of train, validation and test: a tone of the word's own in noise, 8 kHz.

    Every part has a speaker of its own: 00000000_nohash_<n>.wav of training, 11111111 of validation, 22222222 of test.
    """
    rng = np.random.default_rng(0)
    lists: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for label, word in enumerate(words):
        for speaker, (part, names) in enumerate(lists.items()):
            for index in range(counts.get(part, 0)):
                names.append(f"{word}/{str(speaker) * 8}_nohash_{index}.wav")
                sound = tone(400 * 2**label, 0.2) + 0.02 * rng.standard_normal(1600)
                write_wav(root / names[-1], np.rint(32767 * sound))
    (root / "testing_list.txt").write_text("\n".join(lists["test"]) + "\n", encoding="utf-8")
    if has_validation_list:
        (root / "validation_list.txt").write_text("\n".join(lists["validation"]) + "\n", encoding="utf-8")
