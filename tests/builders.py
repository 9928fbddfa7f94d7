"""Small networks, images and records with known answers. All chance comes from generators given a seed."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas.attacks import Apgd, Square
from nas.attacks.threat import Threat, ThreatModel
from nas.base.records import Costs, Evaluation, Interval, TrialRecord, TrialState
from nas.base.seeding import make_generator
from nas.data import Augmentation
from nas.data.datasets import SearchData
from nas.data.domain import CropFlip, draw_crop_flip
from nas.evaluation import Ladder
from nas.networks.treatments import Quantize
from nas.networks.treatments.treatment import prepare_
from nas.networks.view import View
from nas.testing.small import (  # noqa: F401 - names of many tests
    TINY_SETTINGS,
    TINY_TRAINING,
    Broken,
    Unknown,
    generator,
    tiny_images,
    tiny_network,
    tiny_space,
    torch_threads,
    with_unknown_activation,
)
from nas.training import Training
from nas.training.batch import Batch
from nas.training.inner import maximise
from nas.training.loop import scored_network, start_training, train_epoch
from nas.training.settings import InnerAttack
from search_spaces import BlockSpec, Genotype, NetworkSpec, SearchSpace
from search_spaces.network import Network, build_network
from search_spaces.spec import Size
from search_spaces.tiny_blocks import BlockRow, TinyBlocks, tiny_blocks

TINY_BLOCKS = TinyBlocks(
    layers=(BlockRow(4), BlockRow(6, stride=2), BlockRow(8)),
    width_multipliers=(0.5, 1.0),
    expand_ratio=2,
    stem_channels=4,
    head_channels=8,
    divisor=2,
)
"""Kinds and widths of three layers; a few thousand weights at most."""

TINY_LADDER = Ladder(
    front=(Apgd(loss="dlr", steps=3),), final=(Apgd(loss="targeted_dlr", steps=3, targets=2), Square(queries=5)),
    trust_images=10,
)  # fmt: skip

BLOCKS = {
    "conv 3x3": [BlockSpec("conv", 1, 4, 6, 6, 3, 1)],
    "conv 5x5, stride 2": [BlockSpec("conv", 1, 4, 6, 6, 5, 2)],
    "conv 1x1": [BlockSpec("conv", 1, 4, 6, 6, 1, 1)],
    # Behind 8 channels: with 4, torch 2.14 (oneDNN, AVX2, no AVX-512) corrupts memory in autograd's weight gradient.
    "conv 1x1, stride 2": [BlockSpec("conv", 1, 4, 8, 8, 3, 1), BlockSpec("conv", 2, 8, 6, 6, 1, 2)],
    "inverted, residual": [BlockSpec("inverted_residual", 1, 4, 12, 4, 3, 1)],
    "inverted, no residual": [BlockSpec("inverted_residual", 1, 4, 12, 6, 3, 1)],
    "inverted, no expansion, residual": [BlockSpec("inverted_residual", 1, 4, 4, 4, 3, 1)],
    "inverted, no expansion, stride 2": [BlockSpec("inverted_residual", 1, 4, 4, 6, 3, 2)],
    "inverted, stride 2": [BlockSpec("inverted_residual", 1, 4, 12, 8, 3, 2)],
    "inverted 5x5, residual": [BlockSpec("inverted_residual", 1, 4, 12, 4, 5, 1)],
    "inverted 5x5, stride 2": [BlockSpec("inverted_residual", 1, 4, 12, 8, 5, 2)],
    "separable": [BlockSpec("separable", 1, 4, 4, 6, 3, 1)],
    "separable, stride 2": [BlockSpec("separable", 1, 4, 4, 4, 3, 2)],
    "residual": [BlockSpec("residual", 1, 4, 4, 4, 3, 1)],
    "residual without a shortcut": [BlockSpec("residual", 1, 4, 6, 6, 3, 1)],
    "residual, stride 2": [BlockSpec("residual", 1, 4, 8, 8, 3, 2)],
    "conv 3x1": [BlockSpec("conv", 1, 4, 6, 6, (3, 1), 1)],
    "conv 1x5, stride 2x1": [BlockSpec("conv", 1, 4, 6, 6, (1, 5), (2, 1))],
    "inverted 5x3, residual": [BlockSpec("inverted_residual", 1, 4, 12, 4, (5, 3), 1)],
    "inverted 1x3, stride 1x2": [BlockSpec("inverted_residual", 1, 4, 12, 6, (1, 3), (1, 2))],
    "separable 3x5, stride 3x2": [BlockSpec("separable", 1, 4, 4, 6, (3, 5), (3, 2))],
    "residual 3x1": [BlockSpec("residual", 1, 4, 6, 4, (3, 1), 1)],
    "resnet, the same shape": [BlockSpec("resnet", 1, 4, 6, 4, 3, 1)],
    "resnet, more channels": [BlockSpec("resnet", 1, 4, 6, 6, 3, 1)],
    # A strided projection, too, has 8 channels before it.
    "resnet, stride 2": [BlockSpec("conv", 1, 4, 8, 8, 3, 1), BlockSpec("resnet", 2, 8, 6, 6, 3, 2)],
    "resnet 3x5, stride 1x2": [BlockSpec("conv", 1, 4, 8, 8, 3, 1), BlockSpec("resnet", 2, 8, 4, 4, (3, 5), (1, 2))],
    "resnet 1x1 between matrices": [
        BlockSpec("conv", 1, 4, 6, 6, 1, 1),
        BlockSpec("resnet", 2, 6, 6, 8, 1, 1),
        BlockSpec("conv", 3, 8, 6, 6, 1, 1),
        BlockSpec("resnet", 4, 6, 4, 6, 1, 1),
        BlockSpec("conv", 5, 6, 4, 4, 1, 1),
    ],
    "resnets in a row": [
        BlockSpec("resnet", 1, 4, 8, 8, 3, 1),
        BlockSpec("resnet", 2, 8, 10, 10, 3, 2),
        BlockSpec("resnet", 3, 10, 6, 6, 3, 2),
        BlockSpec("inverted_residual", 4, 6, 12, 6, 3, 1),
    ],
    "all kinds": [
        BlockSpec("separable", 1, 4, 4, 6, 3, 1),
        BlockSpec("residual", 2, 6, 6, 6, 3, 1),
        BlockSpec("inverted_residual", 3, 6, 12, 6, 5, 1),
        BlockSpec("residual", 4, 6, 8, 8, 3, 2),
        BlockSpec("separable", 5, 8, 8, 8, 3, 1),
    ],
    "two residuals": [
        BlockSpec("inverted_residual", 1, 4, 8, 4, 3, 1),
        BlockSpec("inverted_residual", 1, 4, 12, 4, 3, 1),
    ],
    "residuals around a stride": [
        BlockSpec("inverted_residual", 1, 4, 8, 4, 3, 1),
        BlockSpec("inverted_residual", 2, 4, 8, 6, 3, 2),
        BlockSpec("inverted_residual", 2, 6, 12, 6, 3, 1),
        BlockSpec("conv", 3, 6, 10, 10, 1, 1),
    ],
}
"""Every kind of block, behind a stem of four channels."""
STEMS: dict[str, tuple[Size, Size]] = {
    "1x1": (1, 1), "1x1, stride 2": (1, 2), "3x3": (3, 1), "3x3, stride 2": (3, 2), "5x5, stride 2": (5, 2),
    "1x1, stride 1x2": (1, (1, 2)), "5x1": ((5, 1), 1), "3x5, stride 2x1": ((3, 5), (2, 1)), "2x4": ((2, 4), 1),
    "4x3, stride 2": ((4, 3), 2),
}  # fmt: skip
"""Kernel size and stride of a stem."""


def tiny_blocks_space() -> SearchSpace:
    return tiny_blocks(TINY_BLOCKS, (1, 8, 8), 10)


def network_of(
    blocks: Sequence[BlockSpec], size: int | tuple[int, int] = 9, channels: int = 3, stem: tuple[Size, Size] = (3, 1)
) -> Network:
    """Network of a stem and `blocks`, with settled statistics and affine parameters far from 1 and 0."""
    height, width = (size, size) if isinstance(size, int) else size
    first = BlockSpec("conv", 0, channels, 4, 4, *stem)
    return settled(NetworkSpec((channels, height, width), 5, (first, *blocks)))


def settled(spec: NetworkSpec) -> Network:
    """Network of `spec` as training leaves it: no statistic and no affine parameter at its first value."""
    channels = spec.input_shape[0]
    network = build_network(spec, generator(), [0.4] * channels, [0.3, 0.2, 0.5][:channels])
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            for values in (module.weight.data, module.running_var):
                values.copy_(0.5 + torch.rand(values.shape, generator=generator(1)))
            for values in (module.bias.data, module.running_mean):
                values.copy_(torch.randn(values.shape, generator=generator(2)))
    return network


def with_random_statistics(network: Network, seed: int = 0) -> Network:
    """`network` with batch-norms unlike fresh ones: scales of both signs; ReLU6 cuts off some pixels, not most."""
    g = generator(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(-1.5, 1.5, generator=g)
                module.bias.normal_(1.5, 1.0, generator=g)
                module.running_mean.normal_(0, 0.5, generator=g)
                module.running_var.uniform_(0.3, 3, generator=g)
    return network


def small_resnet(size: int | tuple[int, int] = 8) -> Network:
    """Blocks with projections of at most three channels, as they are dense on small maps (`nas.networks.maps`)."""
    height, width = (size, size) if isinstance(size, int) else size
    blocks = (
        BlockSpec("resnet", 0, 2, 3, 3, 3, 1),
        BlockSpec("resnet", 1, 3, 3, 3, (3, 1), 1),
        BlockSpec("resnet", 2, 3, 2, 2, 3, (2, 1)),
        BlockSpec("inverted_residual", 3, 2, 6, 3, 3, 1),
        BlockSpec("resnet", 4, 3, 3, 7, 3, 2),
        BlockSpec("conv", 5, 7, 6, 6, 1, 1),
    )
    return settled(NetworkSpec((2, height, width), 5, blocks))


def spectrogram_spec(kernel: Size = (10, 4), stride: Size = 2) -> NetworkSpec:
    """A small network for spectrograms of 49 steps and 10 coefficients, whose stem has `kernel` and `stride`."""
    blocks = (
        BlockSpec("conv", 0, 1, 8, 8, kernel, stride),
        BlockSpec("inverted_residual", 1, 8, 16, 8, (3, 1), 1),
        BlockSpec("separable", 2, 8, 8, 12, (3, 1), (2, 1)),
        BlockSpec("inverted_residual", 3, 12, 24, 16, (5, 3), (2, 1)),
        BlockSpec("conv", 4, 16, 20, 20, 1, 1),
    )
    return NetworkSpec((1, 49, 10), 4, blocks)


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


def briefly_trained(
    spec: NetworkSpec,
    training: Training,
    threat: ThreatModel,
    data: SearchData,
    seed: int,
    treatments: Sequence[Quantize] = (),
) -> Network:
    """Network of `spec` as a trial would score it, in eval mode."""
    network = build_network(spec, make_generator(seed, "weights"), data.mean, data.std)
    prepare_(network, treatments, make_generator(seed, "treatments"))
    state = start_training(network, training, make_generator(seed, "training"))
    for _ in range(training.epochs):
        train_epoch(state, data.train, training, threat)
    return scored_network(state, data.train, training)


def evaluation(
    robust: float = 0.5, natural: float = 0.8, instability: float = 0.1, bound: float = 3.0, **others: object
) -> Evaluation:
    fields = {
        "split": "validation", "num_images": 200, "natural_accuracy": natural,
        "natural_interval": Interval(natural - 0.05, natural + 0.05), "robust_accuracy": robust,
        "robust_interval": Interval(robust - 0.05, robust + 0.05), "instability": instability,
        "instability_scaled": instability / 0.1, "lipschitz_bound_log10": bound, "lipschitz_certified_log10": 4.5,
        "lipschitz_maximised": 2.5, "lipschitz_empirical": 2.5, "lipschitz_empirical_scaled": 25.0,
        "attack": {"name": "pgd", "steps": 20, "step_size": 0.025},
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


def batch_of(x: Tensor, labels: Tensor | None = None) -> Batch:
    """`x` as the first images of a data set, without crop and flip."""
    count = torch.arange(len(x), device=x.device)
    return Batch(x, count % 3 if labels is None else labels, count, CropFlip(0, None, None))


def maximise_kl(view: View, x: Tensor, threat: Threat, settings: InnerAttack, g: torch.Generator) -> Tensor:
    """Adversarial copy of `x` as TRADES makes it, from a normal start where none is set."""
    settings = settings.model_copy(update={"start": settings.start or "normal"})
    return maximise(view, batch_of(x), threat, settings.filled("normal", "kl"), g, {})


def maximise_cross_entropy(
    view: View, x: Tensor, labels: Tensor, threat: Threat, settings: InnerAttack, g: torch.Generator
) -> Tensor:
    """Adversarial copy of `x` as PGD adversarial training makes it, from a uniform start where none is set."""
    settings = settings.model_copy(update={"start": settings.start or "uniform"})
    return maximise(view, batch_of(x, labels), threat, settings.filled("uniform", "cross_entropy"), g, {})


def augmented(images: Tensor, settings: Augmentation, g: torch.Generator) -> Tensor:
    """`images` (N, C, H, W), each cropped and flipped by itself."""
    return draw_crop_flip(len(images), settings, g).apply(images)
