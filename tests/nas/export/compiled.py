"""An exported C header, compiled with gcc and run on images."""

import subprocess
from pathlib import Path

import numpy as np

from nas.export.integers import Ints

FLAGS = "-std=c99 -O1 -Wall -Wextra -Wconversion -pedantic -Werror -fsanitize=undefined -fno-sanitize-recover"
MAIN = r"""
#include <stdio.h>
#include "network.h"
#ifdef ROBUST_TINY_PACKED_H
#define RUN rt_run_packed
#else
#define RUN rt_run
#endif
int main(void) {
    static int8_t arena[NETWORK_ARENA_BYTES];
    static uint8_t pixels[NETWORK_HEIGHT * NETWORK_WIDTH * NETWORK_CHANNELS];
    int8_t logits[NETWORK_CLASSES + 1];
    while (fread(pixels, 1, sizeof pixels, stdin) == sizeof pixels) {
        RUN(&network, pixels, arena, logits);
        logits[NETWORK_CLASSES] = (int8_t)rt_largest(logits, NETWORK_CLASSES);
        fwrite(logits, 1, sizeof logits, stdout);
    }
    return 0;
}
"""


def run_c(folder: Path, levels: Ints, build: Path) -> tuple[Ints, Ints]:
    """Logits (N, K) and classes (N,) that the header in `folder` gives for images `levels` (N, C, H, W) of tensor 0."""
    (build / "main.c").write_text(MAIN)
    command = ["gcc", *FLAGS.split(), f"-I{folder.resolve()}", "main.c", "-o", "main"]
    subprocess.run(command, cwd=build, check=True)
    pixels = (levels.astype(np.int16) + 128).astype(np.uint8).transpose(0, 2, 3, 1)
    done = subprocess.run([build / "main"], input=pixels.tobytes(), capture_output=True, check=True)
    found = np.frombuffer(done.stdout, np.int8).reshape(len(levels), -1)
    return found[:, :-1], found[:, -1]
