"""The manifold of a run: made once, before its candidates, and kept in its folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from nas.assets.manifold.codes import Manifold, on_manifold
from nas.assets.manifold.known import known_manifold
from nas.assets.manifold.pca import fitted_pca, untrained_pca
from nas.assets.manifold.settings import FILE, FOLDER, PICTURE, Known, Pca, Vae
from nas.assets.manifold.vae import finish_, start_vae, untrained_vae
from nas.base.errors import CheckpointError
from nas.base.files import write_atomic
from nas.base.metadata import read_metadata
from nas.base.seeding import make_generator
from nas.data.datasets import SearchData
from nas.networks.stored import fill_, read_weights, save_tensors, tensors_of
from nas.training.resumable import EpochFile, Saved, resume_, train_until

STATE, LOG = "state.safetensors", "log.jsonl"


@dataclass(frozen=True)
class ManifoldAsset:
    """The manifold of a run: an `nas.assets.asset.Asset`."""

    settings: Pca | Vae | Known
    data: SearchData
    seed: int
    device: torch.device
    """Where it is trained."""
    kind = FOLDER
    file = FILE

    def load(self, path: Path, *, taken: bool) -> Manifold:
        """The manifold in `path`. Raises CheckpointError where it is of other data or settings."""
        if read_metadata(path).get("fingerprint") != self.fingerprint:
            raise CheckpointError(f"{path} is of other data or settings; remove it, and it is made again")
        return loaded(path)

    def make_(self, place: Path) -> None:
        """Fits or trains it, from the last finished epoch on; leaves it and a picture of reconstructions in `place`."""
        data = self.data.train
        if isinstance(self.settings, Vae):
            manifold = self._trained(place)
        else:
            manifold = fitted_pca(self.settings, data) if isinstance(self.settings, Pca) else known_manifold(self.data)
        errors = {part: manifold.error(split.to(manifold.decoder.centre.device))
                  for part, split in (("train", data), ("validation", self.data.validation))}  # fmt: skip
        facts: dict[str, Any] = {
            "settings": self.settings.model_dump(mode="json"), "shape": self.data.input_shape,
            "classes": self.data.num_classes, "dimensions": len(manifold.decoder.centre), "error": errors,
        }  # fmt: skip
        write_atomic(place / PICTURE, _png(manifold.reconstruction_picture(self.data.validation)))
        save_tensors(
            place / FILE, tensors_of(manifold), {"fingerprint": self.fingerprint, "manifold": json.dumps(facts)}
        )
        (place / STATE).unlink(missing_ok=True)

    def _trained(self, place: Path) -> Manifold:
        assert isinstance(self.settings, Vae)
        data, settings = self.data.train.to(self.device), self.settings
        drawn = make_generator(self.seed, "manifold")
        manifold = untrained_vae(settings, self.data.input_shape, self.data.num_classes, drawn).to(self.device)
        state = start_vae(manifold, settings, make_generator(self.seed, "manifold training", device=self.device))
        log, saved = EpochFile(place / LOG), Saved(place / STATE, self.fingerprint)
        resume_(state, saved, log)
        train_until(state, settings.epochs, lambda: state.train_epoch(data), log, saved)
        finish_(manifold, data, settings)
        return manifold

    @property
    def fingerprint(self) -> str:
        """Names the data, the settings and the seed."""
        text = json.dumps([self.data.fingerprint, self.settings.model_dump(mode="json"), self.seed])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _png(picture: torch.Tensor) -> bytes:
    from torchvision.utils import save_image

    buffer = BytesIO()
    save_image(picture, buffer, format="png")
    return buffer.getvalue()


def loaded(path: Path) -> Manifold:
    """The manifold in the file `path`, on the CPU, frozen. Raises CheckpointError where it is missing or damaged."""
    tensors = read_weights(path)
    try:
        facts = json.loads(read_metadata(path)["manifold"])
        channels, height, width = facts["shape"]
        is_vae = facts["settings"]["name"] == "vae"
        settings = Vae.model_validate(facts["settings"]) if is_vae else Pca(dimensions=facts["dimensions"])
        manifold = untrained(settings, (channels, height, width), facts["classes"])
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path} is no manifold of this version ({error}); remove it, and it is made again"
        ) from error
    fill_(manifold, tensors, path)
    return manifold.eval().requires_grad_(False)


def untrained(settings: Pca | Vae, shape: tuple[int, int, int], classes: int) -> Manifold:
    """A manifold of images of `shape` whose numbers are yet to be filled in; a subspace has `dimensions`."""
    if isinstance(settings, Vae):
        return untrained_vae(settings, shape, classes, make_generator(0, "manifold"))
    return untrained_pca(settings.dimensions, shape)


def with_manifold(data: SearchData, manifold: Manifold) -> SearchData:
    """`data` whose images have codes."""
    return replace(data, train=on_manifold(data.train, manifold), validation=on_manifold(data.validation, manifold))
