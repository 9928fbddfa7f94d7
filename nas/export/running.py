"""Exported networks that are run as files: views that give logits and no gradients.

TFLite files are run by LiteRT's reference kernels, which compute what a microcontroller does; its default ones
(XNNPACK) round otherwise, by up to a few units of a logit. ONNX files are run by ONNX Runtime.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import local
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.base.errors import CheckpointError, UsageError
from nas.export.integers import Grid, IntNetwork, to_levels, to_reals
from nas.export.onnx_files import IMAGE
from nas.export.packages import needed
from nas.export.simulate import simulated
from nas.export.tflite import METADATA
from nas.networks.view import Slope, View


class ForwardView:
    """View (nas/networks/view.py) of something that gives logits (N, K) for pixels (N, C, H, W) and no gradient."""

    chunk_size = None

    def __init__(self, logits: Callable[[Tensor], Tensor], facts: Mapping[str, str]) -> None:
        self._logits, self.facts = logits, facts

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """Logits (N, K)."""
        return self._logits(x)

    def gradient(self, x: Tensor, slope: Slope) -> tuple[Tensor, Tensor]:
        """Raises UsageError: there is none."""
        raise UsageError("an exported network has no gradient: only transferred examples and Square can attack it")

    def refold_(self) -> None:
        """Nothing: the file is used as it is."""

    def in_use(self) -> AbstractContextManager[None]:
        """Changes nothing: every thread has an interpreter of its own, or one that several may call."""
        return nullcontext()


class BorrowedView(ForwardView):
    """View with the logits of a file and, in place of the gradient it has not, that of the loss of its `parent`.

    The backward pass differentiable approximation of Athalye 2018: rounding is taken for the identity.
    """

    def __init__(self, file: View, parent: View) -> None:
        super().__init__(file.logits, {})
        self._parent = parent

    def gradient(self, x: Tensor, slope: Slope) -> tuple[Tensor, Tensor]:
        """Logits (N, K) of the file, and the gradient of the parent's loss by the pixels."""
        return self.logits(x), self._parent.gradient(x, slope)[1]


def simulated_view(network: IntNetwork) -> ForwardView:
    """View of an integer network, in numpy."""
    grid = network.grids[-1]
    return ForwardView(lambda x: torch.from_numpy(to_reals(simulated(network, to_levels(x.numpy())), grid)), {})


def opened(path: Path) -> ForwardView:
    """View of the .tflite or .onnx file at `path`.

    Raises UsageError for another kind of file or a missing package, CheckpointError for a file that is missing,
    damaged, or not of this project.
    """
    if path.suffix not in OPENERS:
        raise UsageError(f"{path} is no exported network (known: {', '.join(OPENERS)})")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); `nas export` writes such files") from None
    return OPENERS[path.suffix](content, path)


def _tflite(content: bytes, path: Path) -> ForwardView:
    module = needed("ai_edge_litert.interpreter")
    kernels, threads = module.OpResolverType.BUILTIN_REF, local()

    def interpreter() -> Any:
        if not hasattr(threads, "interpreter"):
            threads.interpreter = module.Interpreter(
                model_content=content, experimental_op_resolver_type=kernels, num_threads=1
            )
            threads.interpreter.allocate_tensors()
        return threads.interpreter

    try:
        source, target = interpreter().get_input_details()[0], interpreter().get_output_details()[0]
        facts = _tflite_facts(content)
        grid = Grid(*target["quantization"])
    except (ValueError, KeyError, RuntimeError, IndexError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged or was not written by `nas export` ({error})") from error

    def logits(x: Tensor) -> Tensor:
        own, levels = interpreter(), to_levels(x.numpy()).transpose(0, 2, 3, 1)
        found = np.empty((len(x), *target["shape"][1:]), np.int8)
        for row, image in zip(found, levels, strict=True):
            own.set_tensor(source["index"], image[None])
            own.invoke()
            row[:] = own.get_tensor(target["index"])[0]
        return torch.from_numpy(to_reals(found, grid))

    return ForwardView(logits, facts)


def _tflite_facts(content: bytes) -> dict[str, str]:
    """Metadata of a file. Raises KeyError where it has none of ours."""
    model = needed("ai_edge_litert.schema_py_generated").ModelT.InitFromPackedBuf(content, 0)
    buffers = {bytes(entry.name).decode(): entry.buffer for entry in model.metadata or ()}
    facts: dict[str, str] = json.loads(bytes(model.buffers[buffers[METADATA]].data))
    return facts


def _onnx(content: bytes, path: Path) -> ForwardView:
    runtime = needed("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    # Without it, int8 products saturate 16 bits on CPUs with AVX2 that lack VNNI.
    options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # classes of its own
        raise CheckpointError(f"{path} is damaged or no ONNX file ({str(error)[:200]})") from error
    facts = dict(session.get_modelmeta().custom_metadata_map)
    if "parent" not in facts:
        raise CheckpointError(f"{path} was not written by `nas export`: it does not say what it was made of")
    return ForwardView(lambda x: torch.from_numpy(session.run(None, {IMAGE: x.numpy()})[0]), facts)


OPENERS: dict[str, Callable[[bytes, Path], ForwardView]] = {".tflite": _tflite, ".onnx": _onnx}
"""By the end of the file's name."""
