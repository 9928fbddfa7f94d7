"""A batch in chunks that fit the cache, side by side on the cores of this process.

Two threads with a chunk each beat one chunk with two threads in every operation: small operations do not
split well. Not where the whole batch fits the cache: its operations are so short that Python threads wait for each
other's interpreter lock (docs/performance.md). The threads that work here have one OpenMP thread each.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache

import torch
from torch import Tensor

from nas.networks.view import View


def in_chunks(view: View, work: Callable[..., tuple[Tensor, ...]], *tensors: Tensor) -> tuple[Tensor, ...]:
    """`work(*tensors)` for work that calls `view` and treats images (dimension 0) independently of each other.

    Splits more images than the view's `chunk_size` into chunks of at most that size (None: one chunk a thread) and runs
    these on as many threads as torch has in this thread; the view is taken into use here, before there are several. On
    a GPU the batch stays whole. The result is that of the whole batch. Errors are raised when no thread works any more.
    """
    with view.in_use():
        return _in_chunks(work, tensors, view.chunk_size)


def _in_chunks(
    work: Callable[..., tuple[Tensor, ...]], tensors: tuple[Tensor, ...], size: int | None
) -> tuple[Tensor, ...]:
    threads = torch.get_num_threads()
    count = len(tensors[0])
    whole = tensors[0].device.type != "cpu" or count <= (size or 1)
    share = -(-count // threads)
    size = count if whole else min(share, size or share)
    if size >= count:
        return work(*tensors)
    pieces = list(zip(*(torch.split(tensor, size) for tensor in tensors), strict=True))
    if threads == 1:
        results = [work(*piece) for piece in pieces]
    else:
        torch.set_num_threads(1)  # MKL's number of threads is one for the whole process
        futures = [_pool(threads).submit(work, *piece) for piece in pieces]
        try:
            results = [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()
            wait(futures)
            torch.set_num_threads(threads)
    return tuple(torch.cat(parts) for parts in zip(*results, strict=True))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "chunks", initializer=torch.set_num_threads, initargs=(1,))
