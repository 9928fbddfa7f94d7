"""A batch in chunks that fit the cache, side by side on the cores of this process.

Two threads with a chunk each beat one chunk with two threads in every operation: small operations do not
split well. The threads that work here have one OpenMP thread each.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch
from torch import Tensor


def in_chunks(work: Callable[..., tuple[Tensor, ...]], *tensors: Tensor, size: int | None) -> tuple[Tensor, ...]:
    """`work(*tensors)` for work that treats images (dimension 0 of every tensor) independently of each other.

    Splits the images into chunks of at most `size` (None: one chunk a thread) and runs these on as many
    threads as torch has in this thread. On a GPU the batch stays whole. The result is that of the whole batch.
    """
    threads = torch.get_num_threads()
    count = len(tensors[0])
    whole = tensors[0].device.type != "cpu" or count <= 1
    share = -(-count // threads)
    size = count if whole else min(share, size or share)
    if size >= count:
        return work(*tensors)
    pieces = list(zip(*(torch.split(tensor, size) for tensor in tensors), strict=True))
    if threads == 1:
        results = [work(*piece) for piece in pieces]
    else:
        torch.set_num_threads(1)  # MKL's number of threads is one for the whole process
        try:
            results = list(_pool(threads).map(lambda piece: work(*piece), pieces))
        finally:
            torch.set_num_threads(threads)
    return tuple(torch.cat(parts) for parts in zip(*results, strict=True))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "chunks", initializer=torch.set_num_threads, initargs=(1,))
