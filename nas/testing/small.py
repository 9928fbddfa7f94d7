"""Small networks and images that the contracts run on. All chance comes from generators given a seed."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import torch
from torch import Tensor, nn

from nas.data import Augmentation
from nas.data.split import Split
from nas.training import Training
from nas.training.settings import InnerAttack
from search_spaces import SearchSpace
from search_spaces.mobilenet_tiny import MobileNetTiny, Row, mobilenet_tiny
from search_spaces.network import Network, build_network

TINY_SETTINGS = MobileNetTiny(
    blocks=(Row(4, expand_ratio=1), Row(4), Row(8, stride=2)),
    stem_channels=4,
    head_channels=8,
    width_multipliers=(0.5, 1.0),
    expand_ratios=(1, 2),
    divisor=2,
)
"""32 genotypes; the largest network has a few hundred weights."""

TINY_TRAINING = Training(
    epochs=2,
    batch_size=16,
    learning_rate=0.05,
    attack=InnerAttack(steps=2, step_size=0.05, start="normal"),
    augmentation=Augmentation(crop_padding=1, flip=True),
    ema_decay=0.9,
    batch_norm_images=32,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny_space(input_shape: tuple[int, int, int] = (1, 8, 8), num_classes: int = 10) -> SearchSpace:
    return mobilenet_tiny(TINY_SETTINGS, input_shape, num_classes)


def tiny_network(seed: int = 0, input_shape: tuple[int, int, int] = (1, 8, 8), num_classes: int = 10) -> Network:
    """Largest network of the tiny space, in training mode, with a classifier that tells images apart."""
    space = tiny_space(input_shape, num_classes)
    network = build_network(space.spec(space.largest()), generator(seed))
    with torch.no_grad():
        network.classifier.weight.normal_(generator=generator(seed + 1))
    return network


def tiny_images(count: int = 40, num_classes: int = 10, channels: int = 1, size: int = 8, seed: int = 0) -> Split:
    """Noise with the class written into it as brightness; the labels repeat 0, 1, …, K - 1."""
    labels = torch.arange(count) % num_classes
    noise = torch.randint(0, 60, (count, channels, size, size), generator=generator(seed))
    brightness = labels * (190 // num_classes)
    return Split((noise + brightness[:, None, None, None]).to(torch.uint8), labels)


class Unknown(nn.Module):
    """Activation that no fast pass knows. Its mode may be changed by the main thread alone; others see eval mode."""

    def train(self, mode: bool = True) -> Self:
        assert threading.current_thread() is threading.main_thread(), "a thread changed the mode of a shared module"
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        if threading.current_thread() is not threading.main_thread():
            assert not self.training, "a thread saw a shared module in training mode"
        return nn.functional.gelu(x)


def with_unknown_activation(network: Network) -> Network:
    """`network` with another activation in its stem, which leaves it to autograd."""
    stem = network.features[0]
    assert isinstance(stem, nn.Sequential)
    stem[2] = Unknown()
    return network


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """As many threads for torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Broken(nn.Module):
    """Applies `change` to the logits of `network` at every call, or raises where `change` is None."""

    def __init__(self, network: nn.Module, change: Callable[[Tensor], Tensor] | None) -> None:
        super().__init__()
        self.network, self.change = network, change

    def forward(self, x: Tensor) -> Tensor:
        if self.change is None:
            raise RuntimeError("the network broke")
        return self.change(self.network(x))
