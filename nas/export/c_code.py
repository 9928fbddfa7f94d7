"""C header of an integer network: its integers, and tables that sources/robust_tiny.h walks. Plain C99.

Where weights or tensors have less than 8 bits, sources/robust_tiny_packed.h walks further tables, too.
"""

from collections.abc import Iterable, Iterator
from importlib.resources import files
from math import prod

import numpy as np

from nas.export.arena import Arena, planned
from nas.export.fixed_point import Multiplier, conv_multiplier, dense_multiplier, mean_multiplier, sum_multipliers
from nas.export.integers import INT8, IntConv, IntDense, IntMean, IntNetwork, Ints, IntStep, IntSum, sources
from nas.export.packing import packed

INFERENCE = "robust_tiny.h"
"""Reference inference, which the header includes: written beside it."""
PACKED_INFERENCE = "robust_tiny_packed.h"
"""That of networks of less than 8 bits, beside both; it includes the other one."""
WIDTH = 120
_IMAGE = ("CHANNELS", "HEIGHT", "WIDTH")


def inference_sources(network: IntNetwork) -> dict[str, bytes]:
    """Reference inference by the names of its files, ready to be compiled."""
    names = (INFERENCE, PACKED_INFERENCE) if network.is_packed else (INFERENCE,)
    return {name: files("nas.export").joinpath("sources", name).read_bytes() for name in names}


def arena_of(network: IntNetwork) -> Arena:
    """Where the tensors of one image are kept."""
    sizes = {index: prod(shape) for index, shape in enumerate(network.shapes)}
    return planned(sizes, [(sources(step), index) for index, step in enumerate(network.steps, 1)])


def c_header(network: IntNetwork, facts: str) -> str:
    """The header; `facts`, lines of text, become its first comment."""
    arena, shapes = arena_of(network), network.shapes
    inference = PACKED_INFERENCE if network.is_packed else INFERENCE
    comment = "\n".join(f" * {line}" for line in facts.replace("*/", "* /").replace("/*", "/ *").splitlines())
    lines = [
        f"/* An integer network, written by robust-tiny-nas.\n *\n{comment}\n */",
        "#ifndef NETWORK_H", "#define NETWORK_H", "", f'#include "{inference}"', "",
        *(f"#define NETWORK_{name} {size}" for name, size in zip(_IMAGE, shapes[0], strict=True)),
        f"#define NETWORK_CLASSES {shapes[-1][0]}", f"#define NETWORK_ARENA_BYTES {arena.size}", "",
    ]  # fmt: skip
    for index, step in enumerate(network.steps, 1):
        lines += _arrays(network, step, index)
    tensors = (
        f"{{{height}, {width}, {channels}, {grid.zero}, {arena.offsets[index]}}}"
        for index, ((channels, height, width), grid) in enumerate(zip(shapes, network.grids, strict=True))
    )
    steps = (_step(step, index) for index, step in enumerate(network.steps, 1))
    lines += ["static const rt_tensor network_tensors[] = {", *_wrapped(tensors), "};", ""]
    lines += ["static const rt_step network_steps[] = {", *(f"    {step}," for step in steps), "};", ""]
    table = f"{{network_tensors, network_steps, {len(network.steps)}}}"
    if network.is_packed:
        lines += _packed_tables(network)
        lines += [f"static const rt_packed_network network = {{{table}, network_packed, network_limits}};", ""]
    else:
        lines += [f"static const rt_network network = {table};", ""]
    return "\n".join([*lines, "#endif", ""])


def _packed_tables(network: IntNetwork) -> Iterator[str]:
    """How the weights of every step are coded, and the limits of every tensor."""
    rows = []
    for index, step in enumerate(network.steps, 1):
        if isinstance(step, IntConv) and step.coding != INT8:
            coding = step.coding
            rows.append(f"{{weights_{index}, {coding.bits}, {int(coding.odd)}, {coding.unit}}}")
        else:
            rows.append(f"{{0, 8, 0, {step.unit if isinstance(step, IntMean) else 1}}}")
    yield from ("static const rt_packed network_packed[] = {", *_wrapped(rows), "};", "")
    limits = (f"{{{grid.low}, {grid.high}}}" for grid in network.grids)
    yield from ("static const rt_limits network_limits[] = {", *_wrapped(limits), "};", "")


def _multipliers(network: IntNetwork, step: IntStep) -> list[Multiplier]:
    grids = network.grids
    if isinstance(step, IntSum):
        return list(sum_multipliers(grids[step.left], grids[step.right], step.output))
    source = grids[step.source]
    if isinstance(step, IntMean):
        return [mean_multiplier(source, step.output, prod(network.shapes[step.source][1:]), step.unit)]
    return [conv_multiplier(step, source) if isinstance(step, IntConv) else dense_multiplier(step, source)]


def _arrays(network: IntNetwork, step: IntStep, index: int) -> Iterator[str]:
    """Definitions of the constants of a step."""
    if isinstance(step, IntConv):
        if step.coding == INT8:
            order = (1, 2, 3, 0) if step.groups > 1 else (0, 2, 3, 1)
            yield from _array("int8_t", f"weights_{index}", step.weight.transpose(order))
        else:
            codes = packed(step.weight.transpose(0, 2, 3, 1), step.coding)
            yield from _array("uint8_t", f"weights_{index}", codes)
        yield from _array("int8_t", f"border_{index}", step.border)
    elif isinstance(step, IntDense):
        yield from _array("int8_t", f"weights_{index}", step.weight)
    if isinstance(step, IntConv | IntDense):
        yield from _array("int32_t", f"bias_{index}", step.bias)
    pairs = [
        f"{{{fraction}, {shift}}}"
        for found in _multipliers(network, step)
        for fraction, shift in zip(found.fraction, found.shift, strict=True)
    ]
    yield from (f"static const rt_multiplier multipliers_{index}[] = {{", *_wrapped(pairs), "};", "")


def _array(kind: str, name: str, values: Ints) -> tuple[str, ...]:
    numbers = (str(value) for value in np.ravel(values).tolist())
    return (f"static const {kind} {name}[] = {{", *_wrapped(numbers), "};", "")


def _wrapped(items: Iterable[str]) -> Iterator[str]:
    """Lines of `items`, each with a comma behind it."""
    line = "   "
    for item in items:
        if len(line) + len(item) + 2 > WIDTH:
            yield line
            line = "   "
        line += f" {item},"
    yield line


def _step(step: IntStep, index: int) -> str:
    """One entry of the table of steps."""
    left, right = sources(step)[0], sources(step)[-1]
    if isinstance(step, IntConv):
        kind, sizes = "DEPTHWISE" if step.groups > 1 else "CONV", (*step.weight.shape[2:], *step.stride, *step.padding)
    else:
        kind, sizes = {IntSum: "SUM", IntMean: "MEAN", IntDense: "DENSE"}[type(step)], (0,) * 6
    has_weights, has_border = isinstance(step, IntConv | IntDense), isinstance(step, IntConv)
    is_packed = isinstance(step, IntConv) and step.coding != INT8
    arrays = (
        ("weights", has_weights and not is_packed),
        ("bias", has_weights),
        ("multipliers", True),
        ("border", has_border),
    )
    named = (f"{name}_{index}" if exists else "0" for name, exists in arrays)
    return f"{{RT_{kind}, {left}, {right}, {index}, {', '.join(map(str, sizes))}, {', '.join(named)}}}"
