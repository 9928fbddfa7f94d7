"""The manifold of simulated data: the map that made the images."""

import torch

from nas.assets.manifold.codes import Manifold
from nas.assets.manifold.pca import Subspace, untrained_pca
from nas.base.errors import UsageError
from nas.data.datasets import SearchData
from nas.data.settings import Simulated
from nas.data.simulated import waves


@torch.no_grad()
def known_manifold(data: SearchData) -> Manifold:
    """The map of the simulation, with the scale of the training images' codes.

    Raises UsageError for data that was not simulated.
    """
    settings = data.settings
    if not isinstance(settings, Simulated):
        raise UsageError(
            f"manifold: the map behind the data set {data.name} is not known (allowed: simulated); take pca or vae"
        )
    manifold = untrained_pca(settings.dimensions, data.input_shape)
    subspace = manifold.decoder.raw
    assert isinstance(subspace, Subspace)
    subspace.mean.fill_(0.5)
    subspace.axes.copy_(waves(settings))
    codes = [manifold.encoder(batch.inputs(), batch.labels) for batch in data.train.batches(1024)]
    manifold.decoder.fit_(torch.cat(codes))
    return manifold.eval()
