"""Memory for the tensors of one image: which may share bytes, as TFLite Micro's greedy planner decides.

The largest tensor is placed first, each at the lowest offset where no tensor alive at the same time is. (Pisarchyk
and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020, "greedy by size".)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ALIGNMENT = 16
"""Of every tensor, in bytes."""


@dataclass(frozen=True)
class Arena:
    """Offset of every tensor, and the bytes of all."""

    offsets: Mapping[int, int]
    size: int


def planned(sizes: Mapping[int, int], operators: Sequence[tuple[Sequence[int], int]]) -> Arena:
    """Arena of tensors of `sizes` bytes for operators (inputs, output) in their order; other inputs are constants.

    A tensor is alive from the operator that makes it (the image: from the start) to the last one that takes it.
    """
    alive = {number: [len(operators), -1] for number in sizes}
    for index, (inputs, output) in enumerate(operators):
        for number in (*inputs, output):
            if number in alive:
                alive[number] = [min(alive[number][0], index), max(alive[number][1], index)]
    placed: dict[int, tuple[int, int]] = {}
    for number in sorted(sizes, key=lambda number: (-sizes[number], number)):
        size = -(-sizes[number] // ALIGNMENT) * ALIGNMENT
        (first, last), start = alive[number], 0
        beside = sorted(placed[n] for n in placed if alive[n][0] <= last and first <= alive[n][1])
        for low, high in beside:
            if start + size <= low:
                break
            start = max(start, high)
        placed[number] = (start, start + size)
    return Arena({number: start for number, (start, _) in placed.items()}, max(end for _, end in placed.values()))
