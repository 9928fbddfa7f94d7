"""The subspace of largest variance."""

import torch
from torch import Tensor, nn

from nas.assets.manifold.codes import Decoder, Manifold
from nas.assets.manifold.settings import Pca
from nas.data.split import Split


class Subspace(nn.Module):
    """Images μ + z · A, clipped to [0, 1]: (N, D) to (N, C, H, W)."""

    mean: Tensor
    axes: Tensor

    def __init__(self, dimensions: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = shape
        self.shape = shape
        self.register_buffer("mean", torch.zeros(channels * height * width))
        self.register_buffer("axes", torch.zeros(dimensions, channels * height * width))

    def forward(self, z: Tensor) -> Tensor:
        """Images of codes."""
        return (self.mean + z @ self.axes).clamp(0, 1).view(-1, *self.shape)


class Projection(nn.Module):
    """Codes of the nearest points of a subspace with orthonormal axes."""

    def __init__(self, subspace: Subspace) -> None:
        super().__init__()
        self._subspace = (subspace,)  # no module of its own: on disk it is there once, as the decoder's

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """(x − μ) · Aᵀ, shape (N, D)."""
        (subspace,) = self._subspace
        return (x.flatten(1) - subspace.mean) @ subspace.axes.T


def untrained_pca(dimensions: int, shape: tuple[int, int, int]) -> Manifold:
    """A subspace whose numbers are yet to be filled in."""
    subspace = Subspace(dimensions, shape)
    return Manifold(Projection(subspace), Decoder(subspace, dimensions))


def estimated_dimensions(settings: Pca, data: Split, count: int = 1000) -> int:
    """About as many dimensions as `fitted_pca` keeps, by `count` images spread over `data`."""
    x = data[torch.linspace(0, len(data) - 1, min(count, len(data))).long()].inputs().cpu().flatten(1)
    return _dimensions(settings, torch.linalg.svdvals(x - x.mean(0)).double().square(), len(x))


def _dimensions(settings: Pca, variances: Tensor, images: int) -> int:
    """How many of the `variances`, the largest first, a subspace has."""
    shares = variances.cumsum(0) / variances.sum().clamp_min(1e-12)
    dimensions = settings.dimensions or 1 + int((shares < settings.variance - 1e-12).sum())
    return min(dimensions, int((variances > 1e-9 * variances[0]).sum()), images - 1)


@torch.no_grad()
def fitted_pca(settings: Pca, data: Split) -> Manifold:
    """The subspace of the images of `data`, by an eigendecomposition of their covariance in float64, on the CPU."""
    pixels = data.images[0].numel()
    total, products = torch.zeros(pixels, dtype=torch.float64), torch.zeros(pixels, pixels, dtype=torch.float64)
    for batch in data.batches(1024):
        x = batch.inputs().cpu().double().flatten(1)
        total += x.sum(0)
        products += x.T @ x
    mean = total / len(data)
    variances, vectors = torch.linalg.eigh(products / len(data) - mean.outer(mean))
    variances, vectors = variances.flip(0).clamp_min(0), vectors.flip(1).T
    dimensions = _dimensions(settings, variances, len(data))
    channels, height, width = data.images.shape[1:]
    manifold = untrained_pca(dimensions, (channels, height, width))
    subspace = manifold.decoder.raw
    assert isinstance(subspace, Subspace)
    subspace.mean.copy_(mean)
    subspace.axes.copy_(vectors[:dimensions])
    codes = [manifold.encoder(batch.inputs().cpu(), batch.labels.cpu()) for batch in data.batches(1024)]
    manifold.decoder.fit_(torch.cat(codes))
    return manifold.eval()
