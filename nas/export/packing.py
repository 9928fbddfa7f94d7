"""Weights of few bits, several a byte: code i takes the bits from bits · i on, the lowest of a byte first.

So two weights of 4 bits share a byte, four of 2 bits, eight of 1 bit; 3 bits: eight weights in three bytes.
"""

import numpy as np

from nas.export.integers import Coding, Ints


def packed(weight: Ints, coding: Coding) -> Ints:
    """uint8 (⌈bits · n / 8⌉,) of n weights unit · level, in their order."""
    levels = weight.astype(np.int64).ravel() // coding.unit
    codes = (levels + 2**coding.bits - 1) // 2 if coding.odd else levels % 2**coding.bits
    return np.packbits((codes[:, None] >> np.arange(coding.bits)) & 1, bitorder="little")
