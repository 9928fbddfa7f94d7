"""Every knob of a manifold. Without torch: a config is read without it."""

from typing import Annotated, Literal

from pydantic import Field

from nas.base.registry import ChosenFrom
from nas.base.settings import Settings

FOLDER, FILE, PICTURE = "manifold", "manifold.safetensors", "reconstructions.png"
"""Of a run: where its manifold is, and a picture of images and their reconstructions."""


class Pca(Settings):
    """The affine subspace of largest variance of the training images (eigenspace of Xiao 2022, arXiv 2210.00430)."""

    name: Literal["pca"] = "pca"
    dimensions: int = Field(0, ge=0, le=4096)
    """Of the subspace; 0: as many as `variance` needs."""
    variance: float = Field(0.95, gt=0, le=1)
    """Share of the training images' variance that it has; not where `dimensions` are given."""


class Vae(Settings):
    """The decoder of a convolutional variational autoencoder, trained on the training images before the candidates."""

    name: Literal["vae"] = "vae"
    dimensions: int = Field(10, ge=1, le=1024)
    """Of a code, without its class (Stutz 2019: 10)."""
    conditional: bool = False
    """Whether encoder and decoder are told the class: one manifold for each class, in place of one for all."""
    channels: int = Field(32, ge=4, le=512)
    """Of the first convolution; twice as many of the second."""
    epochs: int = Field(40, ge=1, le=10_000)
    """Passes over the training images."""
    batch_size: int = Field(64, ge=2, le=65_536)
    """Images of a step."""
    learning_rate: float = Field(2e-3, gt=0, le=1)
    """Of Adam, falling to 0 by a cosine."""
    divergence: float = Field(0.5, ge=0, le=1000)
    """Weight of the divergence from the normal distribution; the weight of the squared errors is 1 / (2 · 0.1²)."""


class Known(Settings):
    """The map that made the images, of data that was simulated by one (data set `simulated`)."""

    name: Literal["known"] = "known"


MANIFOLDS: dict[str, type[Pca] | type[Vae] | type[Known]] = {"pca": Pca, "vae": Vae, "known": Known}
"""By name."""
ManifoldSettings = Annotated[Pca | Vae | Known, ChosenFrom(MANIFOLDS, "manifold")]
