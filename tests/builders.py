"""Small networks, images and records with known answers. All chance comes from generators given a seed."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nas.data import Augmentation, SearchData, Split
from nas.records import Costs, Evaluation, Interval, TrialRecord, TrialState
from nas.training import Training
from nas.training.settings import InnerAttack
from search_spaces import BlockSpec, Genotype, NetworkSpec, SearchSpace
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
    attack=InnerAttack(steps=2, step_size=0.05),
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
    """Noise with the class written into it as brightness; labels 0, 1, …, K - 1, 0, 1, …"""
    labels = torch.arange(count) % num_classes
    noise = torch.randint(0, 60, (count, channels, size, size), generator=generator(seed))
    brightness = labels * (190 // num_classes)
    return Split((noise + brightness[:, None, None, None]).to(torch.uint8), labels)


def tiny_data(count: int = 40) -> SearchData:
    """`count` training and 10 validation images of ten classes, as a search sees them."""
    names = tuple(map(str, range(10)))
    return SearchData("tiny", names, tiny_images(count), tiny_images(10, seed=1), (0.4,), (0.25,))


def linear_spec(size: int, num_classes: int, channels: int = 1) -> NetworkSpec:
    """A spec whose only use is to name the number of classes and a known Lipschitz bound of 0."""
    return NetworkSpec((channels, size, size), num_classes, (BlockSpec("conv", 0, channels, 1, 1, 1, 1),))


class Linear(nn.Module):
    """f(x) = W x + b on flattened images, with the `spec` that an evaluation reads."""

    def __init__(self, weight: Tensor, bias: Tensor, size: int, channels: int = 1) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.spec = linear_spec(size, len(bias), channels)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T + self.bias


class Broken(nn.Module):
    """Applies `change` to the logits of `network` at every call, or raises where `change` is None."""

    def __init__(self, network: nn.Module, change: Callable[[Tensor], Tensor] | None) -> None:
        super().__init__()
        self.network, self.change = network, change

    def forward(self, x: Tensor) -> Tensor:
        if self.change is None:
            raise RuntimeError("the network broke")
        return self.change(self.network(x))


def evaluation(
    robust: float = 0.5, natural: float = 0.8, instability: float = 0.1, bound: float = 3.0, **others: object
) -> Evaluation:
    fields = {
        "split": "validation", "num_images": 200, "natural_accuracy": natural,
        "natural_interval": Interval(natural - 0.05, natural + 0.05), "robust_accuracy": robust,
        "robust_interval": Interval(robust - 0.05, robust + 0.05), "instability": instability,
        "instability_scaled": instability / 0.1, "lipschitz_bound_log10": bound, "lipschitz_empirical": 2.5,
        "lipschitz_empirical_scaled": 25.0, "attack": {"name": "pgd", "steps": 20, "step_size": 0.025},
        "threat": {"norm": "linf", "epsilon": 0.1}, "warnings": ("only 50 images",),
    }  # fmt: skip
    return Evaluation(**{**fields, **others})  # type: ignore[arg-type]


def trial(
    number: int,
    params: int = 1000,
    state: TrialState = TrialState.COMPLETE,
    violations: dict[str, float] | None = None,
    reused_from: int | None = None,
    **scores: float,
) -> TrialRecord:
    """A finished trial with these scores (an untrained one without any, where `state` is not complete)."""
    genotype = Genotype("tiny", {"width": 0.5, "expand": number}, f"{number:012x}")
    scored = evaluation(**scores) if state is TrialState.COMPLETE else None  # type: ignore[arg-type]
    costs = Costs(params, 50 * params, 4 * params, 2048)
    return TrialRecord(number, genotype, 7, state, costs, scored, violations or {}, reused_from=reused_from)
