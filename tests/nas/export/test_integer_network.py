"""The integer network against the float one, and every file of it against its simulation, for every kind of block."""

from collections.abc import Callable
from pathlib import Path
from shutil import which

import numpy as np
import pytest
import torch

from nas.base.errors import UsageError
from nas.budgets.costs import Deployment, count_costs
from nas.data.split import Split
from nas.export.c_code import arena_of, c_header, inference_sources
from nas.export.exporting import fingerprint
from nas.export.integers import IntConv, IntNetwork, Ints, IntSum, to_levels, to_reals
from nas.export.padding import padding_of
from nas.export.quantize import quantized
from nas.export.simulate import every_tensor, simulated
from nas.export.tflite import TfliteFile, tflite_file
from nas.networks.build import new_network
from nas.networks.plain import plain_of, shapes_of, walked
from nas.networks.treatments.settings import FrozenZeros
from nas.runs.checkpoint import Checkpoint
from search_spaces import BlockSpec, NetworkSpec, SearchSpace
from search_spaces.mlperf_tiny import DsCnn, ResnetTiny, ds_cnn, resnet_tiny
from search_spaces.network import Network
from tests.builders import (
    BLOCKS,
    STEMS,
    generator,
    network_of,
    settled,
    small_resnet,
    spectrogram_spec,
    with_random_statistics,
    with_unknown_activation,
)
from tests.nas.export.compiled import run_c
from tests.nas.export.conftest import levels_of

interpreters = pytest.importorskip("ai_edge_litert.interpreter")


def first_adds_its_input() -> Network:
    blocks = (BlockSpec("residual", 0, 3, 4, 3, 3, 1), BlockSpec("conv", 1, 3, 6, 6, 1, 1))
    return with_random_statistics(settled(NetworkSpec((3, 8, 8), 5, blocks)))


def member(space: SearchSpace) -> Network:
    return with_random_statistics(settled(space.spec(space.smallest())))


NETWORKS = {
    **{name: (lambda blocks=blocks: with_random_statistics(network_of(blocks))) for name, blocks in BLOCKS.items()},
    **{
        f"stem {name}": (lambda stem=stem: with_random_statistics(network_of(BLOCKS["separable"], 8, stem=stem)))
        for name, stem in STEMS.items()
    },
    "even sizes": lambda: with_random_statistics(network_of(BLOCKS["residuals around a stride"], (8, 10))),
    "projections on even sizes": lambda: with_random_statistics(small_resnet()),
    "spectrogram": lambda: with_random_statistics(settled(spectrogram_spec())),
    "ResNet-8 of eight channels": lambda: member(resnet_tiny(ResnetTiny(), (3, 32, 32), 10)),
    "DS-CNN of sixteen channels": lambda: member(ds_cnn(DsCnn(), (1, 49, 10), 12)),
    "first block adds its input": first_adds_its_input,
    "first block is depthwise": lambda: with_random_statistics(
        settled(NetworkSpec((3, 8, 8), 5, (BlockSpec("separable", 0, 3, 3, 6, 3, 2),)))
    ),
}
each_network = pytest.mark.parametrize("name", NETWORKS)


def images_for(network: Network, count: int = 6, seed: int = 0) -> torch.Tensor:
    shape = (count, *network.spec.input_shape)
    return torch.randint(0, 256, shape, generator=generator(seed), dtype=torch.uint8) / 255


def logits_of_file(file: TfliteFile, q: Ints, classes: int) -> Ints:
    kernels = interpreters.OpResolverType.BUILTIN_REF
    own = interpreters.Interpreter(model_content=file.content, experimental_op_resolver_type=kernels, num_threads=1)
    own.allocate_tensors()
    found = np.empty((len(q), classes), np.int8)
    for row, image in zip(found, q.transpose(0, 2, 3, 1), strict=True):
        own.set_tensor(own.get_input_details()[0]["index"], image[None])
        own.invoke()
        row[:] = own.get_tensor(own.get_output_details()[0]["index"])
    return found


@each_network
def test_every_kind_of_block(name: str) -> None:
    network = NETWORKS[name]().eval()
    x = images_for(network)
    plain = plain_of(network)
    tensors = list(walked(plain, x))
    with torch.no_grad():
        wanted = network(x)
    assert torch.allclose(tensors[-1].float(), wanted, atol=1e-4), "the plain numbers are not the network"
    assert [tuple(one.shape[1:]) for one in tensors[:-2]] == list(shapes_of(plain))

    integers = quantized(plain, images_for(network, 40, 1))
    q = to_levels(x.numpy())
    found = simulated(integers, q)
    reals, spread = to_reals(found, integers.grids[-1]), float(wanted.std())
    rms = float(np.sqrt(((reals - wanted.numpy()) ** 2).mean()))
    assert rms < 0.08 * spread + 2 * integers.grids[-1].scale, (rms, spread)
    assert np.array_equal(logits_of_file(tflite_file(integers, "{}"), q, len(found[0])), found)


def test_all_logits_of_real_images_are_those_of_the_tflite_file(integers: IntNetwork, images: Split) -> None:
    q = levels_of(images)
    assert np.array_equal(q, to_levels(images.inputs().numpy()))
    assert np.array_equal(logits_of_file(tflite_file(integers, "{}"), q, 10), simulated(integers, q))


def test_tflite_micro_gives_the_logits_within_a_unit(integers: IntNetwork, images: Split) -> None:
    """Its FULLY_CONNECTED rounds twice. The package has development versions only, so it is in no extra."""
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    file, q = tflite_file(integers, "{}"), levels_of(images)
    own = runtime.Interpreter.from_bytes(file.content, arena_size=file.arena_bytes + 50_000)
    found = np.empty((len(q), 10), np.int16)
    for row, image in zip(found, q.transpose(0, 2, 3, 1), strict=True):
        own.set_input(image[None], 0)
        own.invoke()
        row[:] = own.get_output(0)[0]
    difference = np.abs(found - simulated(integers, q))
    assert difference.max() <= 1
    assert difference.mean() < 0.01


def test_a_small_convolution_with_known_integers() -> None:
    """One pixel, scales of powers of two: weights, bias, requantisation and logits by hand."""
    network = settled(NetworkSpec((1, 1, 1), 2, (BlockSpec("conv", 0, 1, 1, 1, 1, 1),)))
    with torch.no_grad():
        conv, norm, _ = network.features[0]
        network.normalization.mean.fill_(0)
        network.normalization.std.fill_(1)
        conv.weight.fill_(2.0)
        for values, number in ((norm.weight, 1), (norm.bias, 1), (norm.running_mean, 0), (norm.running_var, 1)):
            values.fill_(number)
        norm.eps = 0.0
        network.classifier.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        network.classifier.bias.zero_()
    integers = quantized(plain_of(network.eval()), torch.tensor([0.0, 1.0]).view(2, 1, 1, 1))
    conv_step = integers.steps[0]
    assert isinstance(conv_step, IntConv)
    assert conv_step.weight.item() == 127
    assert conv_step.scales.item() == pytest.approx(2 / 127)
    assert conv_step.bias.item() == round(1 / (2 / 127 / 255))
    assert conv_step.output.scale == pytest.approx(3 / 255)
    q = to_levels(np.array([0.0, 0.5, 1.0]).reshape(3, 1, 1, 1))
    activations = to_reals(every_tensor(integers, q)[1], conv_step.output).ravel()
    assert activations == pytest.approx([1.0, 2.0, 3.0], abs=0.6 * 3 / 255 + 2 / 255)
    assert integers.grids[-1].zero == -1  # of -3 … 3 in 255 steps of 2 / 85
    assert simulated(integers, q).tolist()[2] == [127 - 1, -127 - 1]


def test_the_border_is_the_mean_of_every_channel(integers: IntNetwork) -> None:
    network = network_of(BLOCKS["conv 3x3"])
    first = quantized(plain_of(network.eval()), images_for(network)).steps[0]
    assert isinstance(first, IntConv)
    assert first.border.tolist() == [round(0.4 * 255) - 128] * 3
    later = integers.steps[1]
    assert isinstance(later, IntConv)
    assert set(later.border.tolist()) == {integers.grids[later.source].zero}


def test_an_image_of_the_mean_has_no_edge() -> None:
    """Padding is what the float network pads with: where all pixels are the mean, all outputs are alike."""
    network = settled(NetworkSpec((3, 8, 8), 5, (BlockSpec("conv", 0, 3, 8, 8, 5, 1),))).eval()
    with torch.no_grad():
        network.normalization.mean.copy_(torch.tensor([51, 102, 204]).view(1, 3, 1, 1) / 255)
    integers = quantized(plain_of(network), images_for(network, 20))
    flat = np.broadcast_to(np.array([51, 102, 204]).reshape(1, 3, 1, 1) - 128, (1, 3, 8, 8)).astype(np.int8)
    first = every_tensor(integers, flat)[1]
    assert (first == first[:, :1, :1]).all()


@pytest.mark.skipif(which("gcc") is None, reason="no gcc")
@pytest.mark.parametrize("name", ["trained", "resnets in a row", "spectrogram", "first block is depthwise"])
def test_c_gives_the_same_bits(name: str, integers: IntNetwork, images: Split, tmp_path: Path) -> None:
    if name == "trained":
        network, q = integers, levels_of(images)
    else:
        source = NETWORKS[name]().eval()
        network, q = quantized(plain_of(source), images_for(source, 20)), to_levels(images_for(source, 9, 2).numpy())
    (tmp_path / "network.h").write_text(c_header(network, "a comment */ int x; /* and another"))
    for file, content in inference_sources(network).items():
        (tmp_path / file).write_bytes(content)
    logits, classes = run_c(tmp_path, q, tmp_path)
    wanted = simulated(network, q)
    assert np.array_equal(logits, wanted)
    assert np.array_equal(classes, wanted.argmax(1))


def test_weights_are_those_that_are_counted(integers: IntNetwork, trained: Checkpoint) -> None:
    counted = count_costs(trained.network.spec, Deployment(weight_bits=8, activation_bits=8))
    assert integers.weight_bytes == counted.weight_bytes - 4 * (10 - 1), "one scale for the classifier's ten rows"


def test_operators_and_arena(integers: IntNetwork, trained: Checkpoint) -> None:
    file = tflite_file(integers, "{}")
    assert set(file.operators) == {
        "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED"
    }  # fmt: skip
    counted = count_costs(trained.network.spec, Deployment(weight_bits=8, activation_bits=8)).peak_activation_bytes
    assert counted <= arena_of(integers).size <= file.arena_bytes < 2 * counted


def test_only_full_convolutions_on_even_sizes_need_a_pad() -> None:
    for name, padded in (("projections on even sizes", True), ("even sizes", False), ("spectrogram", False)):
        network = NETWORKS[name]().eval()
        file = tflite_file(quantized(plain_of(network), images_for(network)), "{}")
        assert ("PAD" in file.operators) is padded, name


def test_pruned_channels_are_exported_as_zeros() -> None:
    treatments = (FrozenZeros(share=0.25),)
    network = new_network(NetworkSpec((1, 8, 8), 10, (BlockSpec("conv", 0, 1, 8, 8, 3, 1),)), generator(),
                          treatments=treatments).eval()  # fmt: skip
    step = quantized(plain_of(network), images_for(network)).steps[0]
    assert isinstance(step, IntConv)
    assert int((step.weight == 0).all((1, 2, 3)).sum()) == 2


def test_biases_are_aligned_for_any_processor(integers: IntNetwork) -> None:
    content = tflite_file(integers, "{}").content
    for step in integers.steps:
        if not isinstance(step, IntSum) and hasattr(step, "bias"):
            assert content.find(step.bias.tobytes()) % 16 == 0


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 10])
@pytest.mark.parametrize("groups", [1, 2])
def test_padding_puts_the_kernel_where_torch_puts_it(stride: int, kernel: int, groups: int) -> None:
    for size in range(kernel, 14):
        pad = (kernel - 1) // 2
        outputs = (size + 2 * pad - kernel) // stride + 1
        weight = np.zeros((2, 2 // groups, kernel, kernel), np.int8)
        step = quantised_conv(weight, (stride, stride), (pad, pad), groups)
        found = padding_of(step, (2, size, size), 0)
        (before, after), length = found.explicit[0], found.kernel[0]
        inside = size + before + after
        if found.mode == "SAME":
            assert -(-inside // stride) == outputs
            before += max((outputs - 1) * stride + length - inside, 0) // 2
        else:
            assert (inside - length) // stride + 1 == outputs
        assert before == pad
        assert length - kernel in ((0, 1) if groups > 1 else (0,))
        assert groups == 1 or stride > 2 or not any(found.explicit[0]) or kernel % 2 == 0


def quantised_conv(weight: Ints, stride: tuple[int, int], padding: tuple[int, int], groups: int) -> IntConv:
    """A convolution whose integers do not matter."""
    source = quantized(plain_of(network_of(BLOCKS["conv 1x1"]).eval()), torch.rand(2, 3, 9, 9, generator=generator()))
    output = source.steps[0].output
    border = np.zeros(2, np.int8)
    return IntConv(
        0, weight, np.ones(2, np.float32), np.zeros(2, np.int32), stride, padding, groups, border, output, True
    )


def test_channels_without_weights_give_their_bias() -> None:
    network = network_of(BLOCKS["inverted, no residual"]).eval()
    with torch.no_grad():
        network.features[1].conv[0][0].weight[:3] = 0
        network.features[0][0].weight[1] = 0
    x = images_for(network, 20)
    integers = quantized(plain_of(network), x)
    found = to_reals(simulated(integers, to_levels(x.numpy())), integers.grids[-1])
    assert np.abs(found - network(x).detach().numpy()).max() < 6 * integers.grids[-1].scale


def test_weights_beyond_32_bits_are_refused() -> None:
    network = network_of(BLOCKS["conv 3x3"]).eval()
    with torch.no_grad():
        network.features[1][0].weight.mul_(1e9)
    with pytest.raises(UsageError, match=r"32-bit accumulators .* float ONNX"):
        quantized(plain_of(network), images_for(network))


def _hooked(network: Network) -> Network:
    network.features[0].register_forward_hook(lambda *_: None)
    return network


def _shared(network: Network) -> Network:
    network.features[1][1] = network.features[0][1]
    return network


def _without_norm(network: Network) -> Network:
    del network.features[0][1]
    return network


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            with_unknown_activation,
            r"^features\.\d\.2 \(\w+\): no other format is written for it \(allowed: convolution, ",
        ),
        (_hooked, r"^features\.0 \(Sequential\): .*model\.safetensors"),
        (_shared, "^a part that is used twice"),
        (_without_norm, r"^features\.0 \(a block of kind 'conv'\): .*retrain the genotype without that part"),
    ],
)
def test_what_cannot_be_exported_is_named(change: Callable[[Network], Network], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        plain_of(change(network_of(BLOCKS["conv 3x3"])).eval())


def test_a_fingerprint_names_the_weights(trained: Checkpoint) -> None:
    first = fingerprint(trained)
    assert first == fingerprint(trained)
    assert len(first) == 16
