"""Image folders on disk."""

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
