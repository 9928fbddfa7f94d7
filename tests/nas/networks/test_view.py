"""The folded view is the network in eval mode: logits and gradients, whatever the layout, the threads, the chunks."""

import time
from threading import Event

import pytest
import torch
from torch import Tensor, nn

from nas.attacks import Pgd
from nas.attacks.chunks import in_chunks
from nas.attacks.threat import ThreatModel
from nas.networks import images, maps
from nas.networks.arithmetic import arithmetic_of
from nas.networks.layer import layers_of
from nas.networks.view import AutogradView, FoldedView, Scaled, View, view_of
from nas.training.settings import InnerAttack
from search_spaces import BlockSpec, NetworkSpec
from search_spaces.mobilenet_tiny import preset
from search_spaces.network import Network, build_network
from search_spaces.spec import CONVOLUTIONS, Size
from tests.builders import (
    BLOCKS,
    STEMS,
    Broken,
    generator,
    maximise_kl,
    network_of,
    settled,
    small_resnet,
    spectrogram_spec,
    torch_threads,
)


def slope(logits: Tensor) -> Tensor:
    return logits.softmax(1) - 0.1


def assert_same(network: Network, x: Tensor, atol: float = 1e-5) -> None:
    folded, plain = view_of(network), AutogradView(network)
    assert isinstance(folded, FoldedView)
    logits, gradient = folded.gradient(x, slope)
    expected_logits, expected = plain.gradient(x, slope)
    torch.testing.assert_close(logits, expected_logits, rtol=0, atol=atol)
    torch.testing.assert_close(folded.logits(x), expected_logits, rtol=0, atol=atol)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=atol * float(expected.abs().max()))


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_folds_exactly(name: str, size: int, layout: torch.memory_format) -> None:
    network = network_of(BLOCKS[name], size).to(memory_format=layout)
    x = torch.rand(4, 3, size, size, generator=generator(3)).contiguous(memory_format=layout)
    assert_same(network, x)


@pytest.mark.parametrize(
    ("size", "channels"), [((1, 1), 3), ((2, 3), 1), ((7, 5), 3), ((8, 8), 1), ((5, 14), 1)], ids=str
)
@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_folds_exactly_on_small_maps_of_any_shape(name: str, size: tuple[int, int], channels: int) -> None:
    network = network_of(BLOCKS[name], size, channels)
    assert_same(network, torch.rand(4, channels, *size, generator=generator(3)))


@pytest.mark.parametrize("size", [(7, 5), (8, 8), (9, 9)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("stem", STEMS)
def test_every_stem_folds_exactly(stem: str, channels: int, size: tuple[int, int]) -> None:
    network = network_of(BLOCKS["inverted, residual"], size, channels, STEMS[stem])
    assert_same(network, torch.rand(4, channels, *size, generator=generator(3)))


@pytest.mark.parametrize("stride", [1, 2, (3, 1)], ids=str)
@pytest.mark.parametrize("kernel", [(10, 4), (3, 1), (4, 5)], ids=str)
def test_networks_of_spectrograms_fold_exactly(kernel: Size, stride: Size) -> None:
    x = torch.rand(4, 1, 49, 10, generator=generator(3), dtype=torch.float64)
    assert_same(settled(spectrogram_spec(kernel, stride)).double(), x, atol=1e-12)
    network = settled(preset("mousavi_w0.35_e6", (1, 49, 10))).double()
    assert_same(network, x, atol=1e-10)


@pytest.mark.parametrize("size", [1, 7, 8, (4, 16), (5, 14)], ids=str)
def test_projections_fold_exactly_in_both_arithmetics(size: int | tuple[int, int]) -> None:
    network = small_resnet(size).double()
    layers = layers_of(network)
    assert layers is not None
    assert arithmetic_of(layers) == (images if size == (5, 14) else maps)
    x = torch.rand(4, *network.spec.input_shape, generator=generator(3), dtype=torch.float64)
    assert_same(network, x, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in BLOCKS if "resnet" in name])
def test_projections_fold_exactly_in_float64(name: str) -> None:
    x = torch.rand(4, 3, 9, 9, generator=generator(3), dtype=torch.float64)
    assert_same(network_of(BLOCKS[name]).double(), x, atol=1e-12)


@pytest.mark.parametrize(("size", "blocks"), [(8, "inverted, stride 2"), (9, "conv 3x3")])
def test_a_view_of_another_number_format_is_as_exact_as_that(size: int, blocks: str) -> None:
    network = network_of(BLOCKS[blocks], size).double()
    x = torch.rand(4, 3, size, size, generator=generator(3), dtype=torch.float64)
    assert_same(network, x, atol=1e-12)


def test_a_network_that_begins_with_a_residual_folds_exactly() -> None:
    for hidden in (3, 9):
        first = BlockSpec("inverted_residual", 0, 3, hidden, 3, 3, 1)
        assert_same(settled(NetworkSpec((3, 8, 8), 5, (first,))), torch.rand(4, 3, 8, 8, generator=generator(3)))


def test_every_kind_of_block_has_such_a_test() -> None:
    assert {block.kind for blocks in BLOCKS.values() for block in blocks} == set(CONVOLUTIONS)


def test_a_whole_mobilenet_tiny_folds_exactly() -> None:
    network = build_network(preset("mousavi_w0.35_e6"), generator())
    network(torch.rand(16, 3, 32, 32, generator=generator(1)))
    assert_same(network, torch.rand(3, 3, 32, 32, generator=generator(2)))


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("name", ["inverted, residual", "residuals around a stride"])
def test_refolding_takes_over_new_weights_in_place(name: str, size: int) -> None:
    network = network_of(BLOCKS[name], size)
    view = view_of(network)
    assert isinstance(view, FoldedView)
    x = torch.rand(4, 3, size, size, generator=generator(3))
    before = view.logits(x)
    addresses = [folded.matrix.data_ptr() for folded in view._folded]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.1)
    # The linear classifier is not folded and so live; the convolutions are those of the last refolding.
    view.refold_()
    assert addresses == [folded.matrix.data_ptr() for folded in view._folded]
    assert not torch.allclose(before, view.logits(x))
    assert_same(network, x)
    torch.testing.assert_close(view.logits(x), view_of(network).logits(x), rtol=0, atol=0)


def test_what_cannot_be_folded_is_viewed_by_autograd() -> None:
    def gelu(network: Network) -> nn.Module:
        network.features[0][2] = nn.GELU()
        return network

    def without_statistics(network: Network) -> nn.Module:
        network.features[0][1].track_running_stats = False
        return network

    def with_bias(network: Network) -> nn.Module:
        network.features[0][0].bias = nn.Parameter(torch.ones(4))
        return network

    def foreign(network: Network) -> nn.Module:
        return Broken(network, lambda logits: 2 * logits)

    x = torch.rand(4, 3, 9, 9, generator=generator(3))
    for change in (gelu, without_statistics, with_bias, foreign):
        changed = change(network_of(BLOCKS["inverted, residual"]))
        view = view_of(changed)
        assert isinstance(view, AutogradView), change.__name__
        changed.eval()
        torch.testing.assert_close(view.logits(x), changed(x).detach())


def test_an_attack_gives_the_same_images_folded_and_by_autograd() -> None:
    network = network_of(BLOCKS["two residuals"]).double().eval()
    x = torch.rand(8, 3, 9, 9, generator=generator(3), dtype=torch.float64)
    labels = torch.arange(8) % 5
    folded = Pgd(steps=10).run(network, x, labels, ThreatModel(epsilon=0.05), generator(4))
    plain = Pgd(steps=10).run(Broken(network, lambda z: z), x, labels, ThreatModel(epsilon=0.05), generator(4))
    torch.testing.assert_close(folded.adversarial, plain.adversarial, rtol=0, atol=1e-9)
    assert torch.equal(folded.fooled, plain.fooled)


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["conv 3x3", "inverted, stride 2", "two residuals"])
def test_the_inner_maximisation_is_the_same_folded_and_by_autograd(name: str, norm: str, size: int) -> None:
    network = network_of(BLOCKS[name], size).double()
    x = torch.rand(8, 3, size, size, generator=generator(3), dtype=torch.float64)
    threat = ThreatModel(norm=norm, epsilon=0.1)
    views: list[View] = [view_of(network), AutogradView(network)]
    found, expected = (maximise_kl(view, x, threat, InnerAttack(steps=5), generator(4)) for view in views)
    assert isinstance(views[0], FoldedView)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    assert float(threat.distance(found, x).max()) > 0.01


@pytest.mark.parametrize("size", [8, 9])
def test_a_view_in_bfloat16_is_the_same_network_more_coarsely(size: int) -> None:
    network = network_of(BLOCKS["inverted, residual"], size)
    x = torch.rand(16, 3, size, size, generator=generator(3))
    coarse, exact = view_of(network, torch.bfloat16), view_of(network)
    logits, gradient = coarse.gradient(x, slope)
    expected_logits, expected = exact.gradient(x, slope)
    assert logits.dtype == gradient.dtype == torch.float32
    assert 0 < (logits - expected_logits).abs().max() < 0.05 * expected_logits.abs().max()
    assert torch.nn.functional.cosine_similarity(gradient.flatten(), expected.flatten(), 0) > 0.98


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [None, 1, 3, 64])
def test_chunks_and_threads_change_nothing(size: int | None, threads: int) -> None:
    network = network_of(BLOCKS["inverted, stride 2"])
    view = view_of(network)
    x = torch.rand(10, 3, 9, 9, generator=generator(3))
    whole = view.gradient(x, slope)
    view.chunk_size = size  # type: ignore[misc]
    with torch_threads(threads):
        chunked = in_chunks(view, lambda part: view.gradient(part, slope), x)
        assert torch.get_num_threads() == threads
    for found, expected in zip(chunked, whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_an_error_in_a_chunk_comes_out_and_the_threads_come_back() -> None:
    def fail(part: Tensor) -> tuple[Tensor]:
        raise ArithmeticError(f"{len(part)} images")

    with torch_threads(2):
        with pytest.raises(ArithmeticError, match="2 images"):
            in_chunks(AutogradView(nn.Identity()), fail, torch.zeros(4, 1))
        assert torch.get_num_threads() == 2


def test_an_error_in_a_chunk_comes_out_when_no_thread_uses_the_network_any_more() -> None:
    network, modes, begun = nn.Identity().train(), list[bool](), Event()

    def work(part: Tensor) -> tuple[Tensor]:
        if part[0] == 0:
            assert begun.wait(60)
            raise ArithmeticError
        begun.set()
        time.sleep(0.05)
        modes.append(network.training)
        return (part,)

    with torch_threads(2), pytest.raises(ArithmeticError):
        in_chunks(AutogradView(network), work, torch.arange(2))
    assert modes == [False]
    assert network.training


def test_a_view_in_use_stays_so_until_its_owner_is_done() -> None:
    network = nn.Sequential(network_of(BLOCKS["conv 1x1"])).train()
    view, x = AutogradView(network), torch.rand(2, 3, 9, 9, generator=generator())
    with Scaled(view, 2.0).in_use():
        view.gradient(x, slope)
        with view.in_use():
            view.logits(x)
        assert not any(module.training for module in network.modules())
        assert not any(parameter.requires_grad for parameter in network.parameters())
    assert all(module.training for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_chunk_fits_the_cache_and_is_never_too_small_to_be_worth_it() -> None:
    small = view_of(network_of(BLOCKS["conv 1x1"])).chunk_size
    large = view_of(build_network(preset("mousavi_w1.0_e6"), generator())).chunk_size
    assert small is not None
    assert large is not None
    assert small > 64 > large >= 8


def test_a_view_of_a_view_is_that_view() -> None:
    view = view_of(network_of(BLOCKS["conv 3x3"]))
    assert view_of(view) is view


@pytest.mark.parametrize("factor", [1e-2, 1.0, 1e2])
def test_a_scaled_view_is_the_network_with_its_logits_times_the_factor(factor: float) -> None:
    network = network_of(BLOCKS["inverted, residual"]).double()
    x = torch.rand(4, 3, 9, 9, generator=generator(3), dtype=torch.float64)
    scaled = Scaled(view_of(network), factor)
    logits, gradient = scaled.gradient(x, slope)
    expected_logits, expected = AutogradView(Broken(network, lambda z: factor * z)).gradient(x, slope)
    torch.testing.assert_close(logits, expected_logits, rtol=0, atol=1e-12)
    torch.testing.assert_close(scaled.logits(x), expected_logits, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)
    assert scaled.chunk_size == view_of(network).chunk_size


@pytest.mark.parametrize(
    "change",
    [torch.Tensor.detach, lambda z: z.detach() + torch.zeros(1, requires_grad=True), torch.round],
    ids=["detached", "another leaf", "rounded"],
)
def test_logits_that_do_not_depend_smoothly_on_the_pixels_give_a_zero_gradient(change: object) -> None:
    network = Broken(network_of(BLOCKS["conv 3x3"]), change)  # type: ignore[arg-type]
    x = torch.rand(4, 3, 9, 9, generator=generator(3))
    logits, gradient = view_of(network).gradient(x, slope)
    assert torch.equal(gradient, torch.zeros_like(x))
    assert not gradient.requires_grad
    assert not logits.requires_grad
    result = Pgd(steps=2).run(network, x, network.eval()(x).argmax(1), ThreatModel(epsilon=1e-6), generator())
    assert result.stuck.all()
