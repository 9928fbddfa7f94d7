"""ONNX files, with any number of images at once (needs the extra `export`).

Float32: the folded network. Int8: the integer network in QDQ form, its weights int8 with a scale for each channel; a
runtime that knows int8 (ONNX Runtime) computes in integers, rounding by its own rules. Weights of at most 4 bits are
int4, two a byte, in a file of opset 21.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.export.integers import HIGH, LOW, PIXEL_GRID, Coding, Grid, IntConv, IntDense, IntMean, IntNetwork, IntSum
from nas.export.packages import needed
from nas.export.packing import packed
from nas.networks.plain import PlainNetwork, PlainSum

OPSET, IR_VERSION = 17, 8
"""Of ONNX 1.12 (2022); any later runtime reads them."""
INT4_OPSET, INT4_IR_VERSION = 21, 10
"""Of ONNX 1.16 (2024), which has int4."""
INT4_BITS = 4
CLASSES = "logits"
IMAGE = "image"


def onnx_float(network: PlainNetwork, facts: Mapping[str, str]) -> bytes:
    """Float32 file: pixels (N, C, H, W) in [0, 1] to logits (N, K)."""
    nodes = _Nodes()
    shape = (1, -1, 1, 1)
    centred = nodes.add("Sub", IMAGE, nodes.constant(_floats(network.mean).reshape(shape)))
    tensors = [nodes.add("Div", centred, nodes.constant(_floats(network.std).reshape(shape)))]
    for step in network.steps:
        if isinstance(step, PlainSum):
            out = nodes.add("Add", tensors[step.left], tensors[step.right])
        else:
            weight, bias = nodes.constant(_floats(step.weight)), nodes.constant(_floats(step.bias))
            out = nodes.add(
                "Conv", tensors[step.source], weight, bias,
                strides=step.stride, pads=(*step.padding, *step.padding), group=step.groups,
            )  # fmt: skip
        tensors.append(nodes.add("Clip", out, nodes.scalar(0.0), nodes.scalar(6.0)) if step.relu6 else out)
    features = nodes.add("Flatten", nodes.add("GlobalAveragePool", tensors[-1]))
    weight, bias = nodes.constant(_floats(network.weight)), nodes.constant(_floats(network.bias))
    nodes.add("Gemm", features, weight, bias, to=CLASSES, transB=1)
    return nodes.model(network.spec.input_shape, network.spec.num_classes, facts)


def onnx_int8(network: IntNetwork, facts: Mapping[str, str]) -> bytes:
    """QDQ file of the same input and output; what is between them is on the grids of the integer network."""
    nodes, grids = _Nodes(), network.grids
    tensors = [nodes.on_grid(IMAGE, PIXEL_GRID)]
    for step in network.steps:
        if isinstance(step, IntConv):
            tensors.append(nodes.on_grid(_conv(nodes, step, tensors, grids[step.source]), step.output))
        elif isinstance(step, IntSum):
            tensors.append(nodes.on_grid(nodes.add("Add", tensors[step.left], tensors[step.right]), step.output))
        elif isinstance(step, IntMean):
            tensors.append(nodes.on_grid(nodes.add("GlobalAveragePool", tensors[step.source]), step.output))
        else:
            out = _dense(nodes, step, tensors[step.source], grids[step.source])
            tensors.append(nodes.on_grid(out, step.output, to=CLASSES))
    if isinstance(network.steps[-1], IntConv):
        nodes.add("Flatten", tensors[-1], to=CLASSES)
    return nodes.model(network.input_shape, network.shapes[-1][0], facts)


def stored_bits(step: IntConv) -> int:
    """Bits of a weight of `step` in an ONNX file: 4 where its levels fit, else 8."""
    return INT4_BITS if step.coding.largest < 2 ** (INT4_BITS - 1) else 8


def _conv(nodes: "_Nodes", step: IntConv, tensors: list[str], source: Grid) -> str:
    scales: NDArray[Any] = step.scales.astype(np.float32)
    if stored_bits(step) == INT4_BITS:
        weight = nodes.real_int4(step.weight // step.coding.unit, scales * np.float32(step.coding.unit))
    else:
        weight = nodes.real((step.weight // step.coding.unit).astype(np.int8), scales * np.float32(step.coding.unit), 0)
    bias = nodes.real(step.bias, np.float32(source.scale) * scales, 0)
    x, padding = tensors[step.source], step.padding
    if any(padding) and (step.border != source.zero).any():  # zeros of Conv would not be what it is padded with
        levels = np.float32(source.scale) * (step.border.astype(np.float32) - source.zero)
        border = nodes.constant(levels.reshape(1, -1, 1, 1))
        ends = nodes.constant(np.array([0, 0, *padding, 0, 0, *padding], np.int64))
        framed = nodes.add("Add", nodes.add("Pad", nodes.add("Sub", x, border), ends), border)
        x, padding = nodes.on_grid(framed, source), (0, 0)
    return nodes.add("Conv", x, weight, bias, strides=step.stride, pads=(*padding, *padding), group=step.groups)


def _dense(nodes: "_Nodes", step: IntDense, source: str, grid: Grid) -> str:
    scale = np.float32(step.scale)
    weight, bias = nodes.real(step.weight, scale), nodes.real(step.bias, np.float32(grid.scale) * scale)
    return nodes.add("Gemm", nodes.add("Flatten", source), weight, bias, transB=1)


def _floats(values: Any) -> NDArray[np.float32]:
    return np.asarray(values.numpy(), np.float32)


@dataclass
class _Nodes:
    """Nodes and constants of a graph that is being written; a name is the number of what it names."""

    onnx: Any = field(default_factory=lambda: needed("onnx"))
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    has_int4: bool = False

    def add(self, kind: str, *inputs: str, to: str = "", **attributes: Any) -> str:
        """Name of the output of a new node."""
        output = to or f"t{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, values: NDArray[Any]) -> str:
        """Name of a new constant."""
        name = f"c{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def scalar(self, value: float) -> str:
        """Name of a new constant, a float32 number."""
        return self.constant(np.array(value, np.float32))

    def on_grid(self, name: str, grid: Grid, to: str = "") -> str:
        """The tensor, rounded to the nearest numbers of `grid`."""
        if (grid.low, grid.high) != (LOW, HIGH):
            ends = (self.scalar(grid.scale * (end - grid.zero)) for end in (grid.low, grid.high))
            name = self.add("Clip", name, *ends)
        scale, zero = self.scalar(grid.scale), self.constant(np.array(grid.zero, np.int8))
        return self.add("DequantizeLinear", self.add("QuantizeLinear", name, scale, zero), scale, zero, to=to)

    def real(self, values: NDArray[Any], scale: Any, axis: int | None = None) -> str:
        """What constant integers stand for, with one scale or one for each index of `axis`."""
        named: dict[str, Any] = {} if axis is None else {"axis": axis}
        zeros = self.constant(np.zeros(np.shape(scale), values.dtype))
        return self.add("DequantizeLinear", self.constant(values), self.constant(np.asarray(scale)), zeros, **named)

    def real_int4(self, levels: NDArray[Any], scales: NDArray[Any]) -> str:
        """What constant integers (O, …) in [-7, 7] stand for, with scales (O,): stored two a byte."""
        self.has_int4 = True
        content = packed(levels, Coding(INT4_BITS)).tobytes()
        name, kind = f"c{len(self.constants)}", self.onnx.TensorProto.INT4
        self.constants.append(self.onnx.helper.make_tensor(name, kind, levels.shape, content, raw=True))
        return self.add("DequantizeLinear", name, self.constant(scales), axis=0)

    def model(self, shape: tuple[int, int, int], classes: int, facts: Mapping[str, str]) -> bytes:
        """The checked file."""
        helper, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            self.nodes, "robust-tiny-nas",
            [helper.make_tensor_value_info(IMAGE, kind, ("N", *shape))],
            [helper.make_tensor_value_info(CLASSES, kind, ("N", classes))],
            self.constants,
        )  # fmt: skip
        model = helper.make_model(
            graph, producer_name="robust-tiny-nas",
            opset_imports=[helper.make_opsetid("", INT4_OPSET if self.has_int4 else OPSET)],
        )  # fmt: skip
        model.ir_version = INT4_IR_VERSION if self.has_int4 else IR_VERSION
        helper.set_model_props(model, dict(facts))
        self.onnx.checker.check_model(model)
        return bytes(model.SerializeToString())
