"""A convolutional variational autoencoder (Kingma & Welling 2014), one for a data set or for each of its classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import cos, pi

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.assets.manifold.codes import Decoder, Manifold
from nas.assets.manifold.settings import Vae
from nas.data.split import Split

NOISE = 0.1
"""Standard deviation of a pixel around its reconstruction, in the likelihood."""


class VaeEncoder(nn.Module):
    """Means and logarithms of variances of codes, and codes with the class behind them where it is `conditional`."""

    def __init__(self, settings: Vae, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        first, second, told = settings.channels, 2 * settings.channels, classes if settings.conditional else 0
        self.classes, self.conditional = classes, settings.conditional
        self.convolutions = nn.Sequential(
            nn.Conv2d(shape[0] + told, first, 3, 2, 1), nn.SiLU(),
            nn.Conv2d(first, second, 3, 2, 1), nn.SiLU(),
            nn.Conv2d(second, second, 3, 1, 1), nn.SiLU(),
        )  # fmt: skip
        self.linear = nn.Linear(second * _quarter(shape[1]) * _quarter(shape[2]), 2 * settings.dimensions)

    def moments(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log-variances, (N, D) each."""
        x = 2 * x - 1
        if self.conditional:
            planes = F.one_hot(labels, self.classes).to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])
            x = torch.cat([x, planes], 1)
        mean, log_variance = self.linear(self.convolutions(x).flatten(1)).chunk(2, 1)
        return mean, log_variance.clamp(-12, 8)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Means, with the class as one more coordinate where it is told: (N, D) or (N, D + 1)."""
        mean, _ = self.moments(x, labels)
        return torch.cat([mean, labels[:, None].to(mean.dtype)], 1) if self.conditional else mean


class VaeDecoder(nn.Module):
    """Images of codes; the class in the last coordinate is rounded, so a small perturbation does not change it."""

    def __init__(self, settings: Vae, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        first, second, told = settings.channels, 2 * settings.channels, classes if settings.conditional else 0
        self.classes, self.conditional, self.shape = classes, settings.conditional, shape
        self.small = (second, _quarter(shape[1]), _quarter(shape[2]))
        self.linear = nn.Linear(settings.dimensions + told, second * self.small[1] * self.small[2])
        self.convolutions = nn.Sequential(
            nn.SiLU(), nn.Conv2d(second, second, 3, 1, 1), nn.SiLU(), nn.Upsample(scale_factor=2),
            nn.Conv2d(second, first, 3, 1, 1), nn.SiLU(), nn.Upsample(scale_factor=2),
            nn.Conv2d(first, shape[0], 3, 1, 1),
        )  # fmt: skip

    def forward(self, z: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1]."""
        if self.conditional:
            label = z[:, -1].detach().round().long().clamp(0, self.classes - 1)
            z = torch.cat([z[:, :-1], F.one_hot(label, self.classes).to(z.dtype)], 1)
        height, width = self.shape[1:]
        image: Tensor = self.convolutions(self.linear(z).view(-1, *self.small))
        return image[:, :, :height, :width].sigmoid()


def _quarter(size: int) -> int:
    """Of a side: what two convolutions of stride 2 make of it."""
    return -(-size // 4)


def untrained_vae(settings: Vae, shape: tuple[int, int, int], classes: int, generator: torch.Generator) -> Manifold:
    """Autoencoder with weights drawn from `generator` alone, on the CPU."""
    with torch.device("meta"):  # or the global random state would be used
        encoder, decoder = VaeEncoder(settings, shape, classes), VaeDecoder(settings, shape, classes)
    encoder.to_empty(device="cpu")
    decoder.to_empty(device="cpu")
    for module in (*encoder.modules(), *decoder.modules()):
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, generator=generator)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    return Manifold(encoder, Decoder(decoder, settings.dimensions + settings.conditional))


def start_vae(manifold: Manifold, settings: Vae, generator: torch.Generator) -> VaeTraining:
    """State before the first epoch; `manifold` and `generator` are on the training device."""
    optimizer = torch.optim.Adam(manifold.parameters(), lr=settings.learning_rate)
    return VaeTraining(manifold, settings, optimizer, generator)


@dataclass
class VaeTraining:
    """State of a training, a `nas.training.stored.Resumable`; `network` is the manifold."""

    network: Manifold
    settings: Vae
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    average: nn.Module | None = None
    memory: dict[str, Tensor] = field(default_factory=dict)
    epoch: int = 0
    step: int = 0
    doublings: int = 0
    most_withstanding: int = 0

    def refresh_(self) -> None:
        """Nothing follows from the weights."""

    def train_epoch(self, data: Split) -> dict[str, float]:
        """One pass over the images of `data`; returns the mean loss and the root mean squared error of the epoch.

        Loss of an image: Σ (x − x̂)² / (2 · 0.1²) + weight · KL(q(z | x) ‖ N(0, 1)), by one draw of z.
        """
        encoder, decoder = self.network.encoder, self.network.decoder.raw
        assert isinstance(encoder, VaeEncoder)
        order = torch.randperm(len(data), generator=self.generator, device=self.generator.device)
        steps = -(-len(data) // self.settings.batch_size)
        losses, errors = 0.0, 0.0
        for step, indices in enumerate(torch.tensor_split(order, steps)):
            share = (self.epoch + step / steps) / self.settings.epochs
            for group in self.optimizer.param_groups:
                group["lr"] = self.settings.learning_rate * 0.5 * (1 + cos(pi * share))
            batch = data[indices]
            x = batch.inputs()
            mean, log_variance = encoder.moments(x, batch.labels)
            noise = torch.randn(mean.shape, generator=self.generator, device=mean.device)
            z = mean + noise * (0.5 * log_variance).exp()
            if encoder.conditional:
                z = torch.cat([z, batch.labels[:, None].to(z.dtype)], 1)
            squares = (decoder(z) - x).square().sum((1, 2, 3))
            divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
            loss = (squares / (2 * NOISE**2) + self.settings.divergence * divergence).mean()
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            losses += float(loss.detach()) * len(indices)
            errors += float(squares.detach().sum())
        self.epoch += 1
        self.step += steps
        return {"epoch": self.epoch, "loss": losses / len(data), "error": (errors / data.images.numel()) ** 0.5}


@torch.no_grad()
def finish_(manifold: Manifold, data: Split, settings: Vae) -> None:
    """Takes over the scale and the range of the codes of all images of `data`."""
    codes = torch.cat([manifold.encoder(batch.inputs(), batch.labels) for batch in data.batches(512)])
    free = torch.arange(codes.shape[1], device=codes.device) < settings.dimensions
    manifold.decoder.fit_(codes, free)
    manifold.eval().requires_grad_(False)
