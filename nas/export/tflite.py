"""TFLite file of an integer network, written operator by operator through flatbuffers (needs the extra `export`).

Only operators that TFLite Micro has, as well: CONV_2D, DEPTHWISE_CONV_2D, ADD, MEAN, FULLY_CONNECTED; CONCATENATION
where the image is padded with its mean, PAD where neither of TFLite's ways to pad is torch's (nas/export/padding.py).
Of networks that were trained quantized, MINIMUM where a grid of less than 8 bits ends and no ReLU6 says so, RESHAPE
behind a classifier with a scale for each class, which is a CONV_2D. Weights are int8, of however few levels.
"""

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from nas.export.arena import ALIGNMENT, planned
from nas.export.fixed_point import mean_scale
from nas.export.integers import HIGH, Floats, Grid, IntConv, IntMean, IntNetwork, Ints, IntStep, IntSum, Shape
from nas.export.packages import needed
from nas.export.padding import Ends, Padding, padding_of

METADATA = "robust_tiny_nas"
"""Name of the buffer that holds what is known of the network, as JSON."""
VERSIONS = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "ADD": 2,
    "MEAN": 2,
    "FULLY_CONNECTED": 4,
    "CONCATENATION": 2,
    "PAD": 2,
    "MINIMUM": 2,
    "RESHAPE": 1,
}
"""Version of each operator that has int8."""


@dataclass(frozen=True)
class TfliteFile:
    """A file, and what a device needs for it."""

    content: bytes
    operators: tuple[str, ...]
    """Names of its operators, in the order they run."""
    arena_bytes: int
    """Of all tensors of one image as TFLite Micro places them, without its own records (docs/export.md)."""


def tflite_file(network: IntNetwork, facts: str) -> TfliteFile:
    """File of `network`; `facts` is the JSON in its metadata. Raises UsageError where a package is missing."""
    flatbuffers, schema = needed("flatbuffers"), needed("ai_edge_litert.schema_py_generated")
    graph = _Graph(schema, network.grids)
    shapes = network.shapes
    graph.activation("image", shapes[0], 0)
    for index, step in enumerate(network.steps, 1):
        _add(graph, step, shapes, index)
        _end_grid(graph, step, shapes[index], index)
    if isinstance(network.steps[-1], IntConv):
        _flatten(graph, shapes[-1][0], len(network.steps))
    model = graph.model(facts)
    written: dict[tuple[str, bytes], Any] = {}

    class Builder(flatbuffers.Builder):  # type: ignore[misc, name-defined]
        """Aligns bytes, as TFLite's own converter does, and writes equal vectors once (all those zero points)."""

        def CreateNumpyVector(self, x: Any) -> Any:
            key = (x.dtype.str, x.tobytes())
            if key not in written:
                written[key] = super().CreateNumpyVector(x)
            return written[key]

        def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:
            return super().StartVector(elemSize, numElems, ALIGNMENT if elemSize == 1 else alignment)

    builder = Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    names = tuple(graph.codes[operator.opcodeIndex] for operator in graph.operators)
    return TfliteFile(bytes(builder.Output()), names, graph.arena_bytes)


def _before(step: IntConv, padding: Padding, zero: int) -> list[str]:
    """Operators that pad before `step`: a constant for each channel needs one for each axis."""
    axes = [ends for ends in padding.explicit if any(ends)]
    if not axes:
        return []
    return ["PAD"] if (step.border == zero).all() else ["CONCATENATION"] * len(axes)


@dataclass
class _Graph:
    """Tensors, buffers and operators of a file that is being written."""

    schema: Any
    grids: tuple[Grid, ...]
    tensors: list[Any] = field(default_factory=list)
    buffers: list[bytes | None] = field(default_factory=lambda: [None])
    operators: list[Any] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    numbers: dict[int, int] = field(default_factory=dict)
    """Tensor of the file for every tensor of the network."""

    def activation(self, name: str, shape: Shape, number: int | None, grid: Grid | None = None) -> int:
        """Tensor of one image; `number` is the network's for it."""
        channels, height, width = shape
        own = self.grids[number] if grid is None and number is not None else grid
        assert own is not None
        found = self.tensor(name, (1, height, width, channels), "INT8", own.scale, own.zero)
        if number is not None:
            self.numbers[number] = found
        return found

    def constant(
        self, name: str, values: Ints, scale: float | Floats | None = None, zero: int = 0, axis: int = 0
    ) -> int:
        """Tensor with values."""
        self.buffers.append(np.ascontiguousarray(values).tobytes())
        kind = {"int8": "INT8", "int32": "INT32"}[str(values.dtype)]
        return self.tensor(name, values.shape, kind, scale, zero, axis, len(self.buffers) - 1)

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        kind: str,
        scale: float | Floats | None,
        zero: int = 0,
        axis: int = 0,
        buffer: int = 0,
    ) -> int:
        """Number of a new tensor of the file."""
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, np.array(shape, np.int32), buffer
        tensor.type = getattr(self.schema.TensorType, kind)
        if scale is not None:
            scales = np.atleast_1d(np.asarray(scale, np.float32))
            tensor.quantization = quantization = self.schema.QuantizationParametersT()
            quantization.scale, quantization.zeroPoint = scales, np.full(len(scales), zero, np.int64)
            quantization.quantizedDimension = axis
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def operator(self, code: str, inputs: list[int], output: int, options: str, **values: Any) -> None:
        """Adds an operator with `values` of its `options`."""
        if code not in self.codes:
            self.codes.append(code)
        operator, chosen = self.schema.OperatorT(), getattr(self.schema, f"{options}T")()
        for name, value in values.items():
            setattr(chosen, name, value)
        operator.opcodeIndex, operator.inputs, operator.outputs = self.codes.index(code), inputs, [output]
        operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
        operator.builtinOptions = chosen
        self.operators.append(operator)

    @property
    def arena_bytes(self) -> int:
        """Of all tensors without values."""
        sizes = {number: prod(map(int, t.shape)) for number, t in enumerate(self.tensors) if not t.buffer}
        return planned(sizes, [(one.inputs, one.outputs[0]) for one in self.operators]).size

    def model(self, facts: str) -> Any:
        """The whole model, from the first tensor to the last one of the network."""
        schema, graph, model = self.schema, self.schema.SubGraphT(), self.schema.ModelT()
        graph.tensors, graph.operators, graph.name = self.tensors, self.operators, "main"
        graph.inputs, graph.outputs = [self.numbers[0]], [self.numbers[max(self.numbers)]]
        model.version, model.description, model.subgraphs = 3, "robust-tiny-nas", [graph]
        model.operatorCodes = []
        for name in self.codes:
            code = schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
            code.version = VERSIONS[name]
            model.operatorCodes.append(code)
        metadata = schema.MetadataT()
        metadata.name, metadata.buffer = METADATA, len(self.buffers)
        model.metadata, model.buffers = [metadata], []
        for content in (*self.buffers, facts.encode()):
            buffer = schema.BufferT()
            buffer.data = None if content is None else np.frombuffer(content, np.uint8)
            model.buffers.append(buffer)
        return model


def _add(graph: _Graph, step: IntStep, shapes: tuple[Shape, ...], index: int) -> None:
    """Adds the operators of `step`, which makes tensor `index`."""
    numbers, schema, shape = graph.numbers, graph.schema, shapes[index]
    if isinstance(step, IntConv):
        _add_conv(graph, step, shapes, index)
    elif isinstance(step, IntSum):
        inputs = [numbers[step.left], numbers[step.right]]
        output = graph.activation(f"sum_{index}", shape, index)
        graph.operator("ADD", inputs, output, "AddOptions", fusedActivationFunction=_activation(schema, step.relu6))
    elif isinstance(step, IntMean) and step.unit > 1:
        _add_fine_mean(graph, step, shapes, index)
    elif isinstance(step, IntMean):
        inputs = [numbers[step.source], graph.constant("axes", np.array([1, 2], np.int32))]
        output = graph.activation("mean", shape, index)
        graph.operator("MEAN", inputs, output, "ReducerOptions", keepDims=True)
    else:
        scale = np.float32(graph.grids[step.source].scale) * np.float32(step.scale)
        weight = graph.constant("classifier/weight", step.weight, step.scale)
        bias = graph.constant("classifier/bias", step.bias, float(scale))
        numbers[index] = graph.tensor("logits", (1, len(step.weight)), "INT8", step.output.scale, step.output.zero)
        inputs = [numbers[step.source], weight, bias]
        graph.operator("FULLY_CONNECTED", inputs, numbers[index], "FullyConnectedOptions")


def _add_fine_mean(graph: _Graph, step: IntMean, shapes: tuple[Shape, ...], index: int) -> None:
    """Adds the mean of all pixels, in steps of 1 / `unit`: a depthwise convolution with one kernel for the image."""
    schema, (channels, *size) = graph.schema, shapes[step.source]
    weight = np.full((1, *size, channels), step.unit, np.int8)
    inputs = [graph.numbers[step.source], graph.constant("mean/weight", weight, mean_scale(step.unit, prod(size)))]
    graph.operator(
        "DEPTHWISE_CONV_2D", inputs, graph.activation("mean", shapes[index], index), "DepthwiseConv2DOptions",
        depthMultiplier=1, strideH=1, strideW=1, padding=schema.Padding.VALID,
        fusedActivationFunction=_activation(schema, relu6=False),
    )  # fmt: skip


def _end_grid(graph: _Graph, step: IntStep, shape: Shape, index: int) -> None:
    """Clips tensor `index` to the end of its grid, unless int8 or ReLU6 does; all begin where int8 does."""
    grid = step.output
    if grid.high == HIGH or (isinstance(step, IntConv | IntSum) and step.relu6):
        return
    end = graph.constant(f"end_{index}", np.array([grid.high], np.int8), grid.scale, grid.zero)
    inputs = [graph.numbers[index], end]
    graph.operator("MINIMUM", inputs, graph.activation(f"on_grid_{index}", shape, index), "MaximumMinimumOptions")


def _flatten(graph: _Graph, classes: int, index: int) -> None:
    """Makes the logits (1, 1, 1, K) of a convolution (1, K)."""
    shape, grid = np.array([1, classes], np.int32), graph.grids[index]
    inputs = [graph.numbers[index], graph.constant("shape", shape)]
    graph.numbers[index] = graph.tensor("logits", (1, classes), "INT8", grid.scale, grid.zero)
    graph.operator("RESHAPE", inputs, graph.numbers[index], "ReshapeOptions", newShape=shape)


def _activation(schema: Any, relu6: bool) -> int:
    kinds = schema.ActivationFunctionType
    return int(kinds.RELU6 if relu6 else kinds.NONE)


def _add_conv(graph: _Graph, step: IntConv, shapes: tuple[Shape, ...], index: int) -> None:
    grid, schema, is_depthwise = graph.grids[step.source], graph.schema, step.groups > 1
    padding = padding_of(step, shapes[step.source], grid.zero)
    source = _padded(graph, step, padding, shapes[step.source], index)
    rows, columns = padding.kernel
    more = ((0, 0), (0, 0), (0, rows - step.weight.shape[2]), (0, columns - step.weight.shape[3]))
    order = (1, 2, 3, 0) if is_depthwise else (0, 2, 3, 1)  # 1HWC, OHWI
    weight = np.pad(step.weight, more).transpose(order)
    bias_scales = np.float32(grid.scale) * step.scales
    inputs = [
        source,
        graph.constant(f"conv_{index}/weight", weight, step.scales, axis=3 if is_depthwise else 0),
        graph.constant(f"conv_{index}/bias", step.bias, bias_scales),
    ]
    values = {
        "padding": getattr(schema.Padding, padding.mode), "strideH": step.stride[0], "strideW": step.stride[1],
        "fusedActivationFunction": _activation(schema, step.relu6),
    }  # fmt: skip
    output = graph.activation(f"conv_{index}", shapes[index], index)
    if is_depthwise:
        graph.operator("DEPTHWISE_CONV_2D", inputs, output, "DepthwiseConv2DOptions", depthMultiplier=1, **values)
    else:
        graph.operator("CONV_2D", inputs, output, "Conv2DOptions", **values)


def _padded(graph: _Graph, step: IntConv, padding: Padding, shape: Shape, index: int) -> int:
    """Number of the tensor that the convolution takes, behind the operators that pad."""
    source, grid = graph.numbers[step.source], graph.grids[step.source]
    before = _before(step, padding, grid.zero)
    if before == ["PAD"]:
        ends = graph.constant(f"conv_{index}/ends", np.array([(0, 0), *padding.explicit, (0, 0)], np.int32))
        output = graph.activation(f"conv_{index}/padded", _grown(shape, padding.explicit), None, grid)
        graph.operator("PAD", [source, ends], output, "PadOptions")
        return output
    for axis, ends_of_axis in enumerate(padding.explicit):
        if any(ends_of_axis):
            source, shape = _framed(graph, step, source, shape, axis, ends_of_axis, f"conv_{index}/framed_{axis}")
    return source


def _framed(
    graph: _Graph, step: IntConv, source: int, shape: Shape, axis: int, ends: Ends, name: str
) -> tuple[int, Shape]:
    """Tensor `source` between constants along the height (0) or the width (1), and its new shape."""
    grid, parts = graph.grids[step.source], []
    for place, count in enumerate(ends):
        height, width = (count, shape[2]) if axis == 0 else (shape[1], count)
        if count:
            values = np.broadcast_to(step.border.astype(np.int8), (1, height, width, shape[0]))
            parts.append(graph.constant(f"{name}/{place}", values, grid.scale, grid.zero))
        if place == 0:
            parts.append(source)
    grown = _grown(shape, (ends, (0, 0)) if axis == 0 else ((0, 0), ends))
    output = graph.activation(name, grown, None, grid)
    graph.operator("CONCATENATION", parts, output, "ConcatenationOptions", axis=1 + axis)
    return output, grown


def _grown(shape: Shape, ends: tuple[Ends, Ends]) -> Shape:
    return shape[0], shape[1] + sum(ends[0]), shape[2] + sum(ends[1])
