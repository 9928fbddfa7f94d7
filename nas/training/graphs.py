"""A training step as a CUDA graph: recorded once, replayed without Python or launch overhead.

Tiny networks on small images are bound by launches on a GPU: a TRADES-10 step is some thousands of kernels of a few
microseconds. What changes between steps enters through tensors.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

Work = Callable[..., None]
"""Takes tensors, changes others in place, never waits for the device, always does the same for the same shapes."""

WARM_UP = 3
"""Calls of these shapes before the recording: libraries choose their algorithms, the optimiser makes its buffers."""


class Graph(Protocol):
    """A recorded `Work`."""

    def replay(self) -> None:
        """Does the work again, on the tensors it was recorded with."""


class Replayed:
    """`work`, replayed from the fourth call of the first call's shapes on, from the graph that `record` makes of it.

    Other shapes (the last, smaller batch) run as they are.
    """

    def __init__(self, work: Work, record: Callable[[Work, list[Tensor]], Graph]) -> None:
        self._work = work
        self._record = record
        self._calls = 0
        self._shapes: list[torch.Size] = []
        self._inputs: list[Tensor] = []
        self._graph: Graph | None = None

    def __call__(self, *inputs: Tensor) -> None:
        """Does the work once."""
        shapes = [tensor.shape for tensor in inputs]
        self._shapes = self._shapes or shapes
        if shapes != self._shapes:
            return self._work(*inputs)
        self._calls += 1
        if self._calls <= WARM_UP:
            return self._work(*inputs)
        if self._graph is None:
            self._inputs = [tensor.clone() for tensor in inputs]
            self._graph = self._record(self._work, self._inputs)
        for kept, new in zip(self._inputs, inputs, strict=True):
            kept.copy_(new)
        return self._graph.replay()


def recorder(generator: torch.Generator) -> Callable[[Work, list[Tensor]], Graph]:
    """Records work on the present CUDA device; `generator` goes on drawing new numbers in every replay."""

    def record(work: Work, inputs: list[Tensor]) -> Graph:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(generator)
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            work(*inputs)
        return graph

    return record
