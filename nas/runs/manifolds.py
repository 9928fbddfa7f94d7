"""The manifold of a run: which configs need one, and data whose images have codes on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from nas.assets.manifold.settings import FILE, FOLDER, PICTURE
from nas.base.errors import CheckpointError, UsageError
from nas.base.metadata import read_metadata

if TYPE_CHECKING:
    from nas.data.datasets import SearchData
    from nas.runs.config import RunConfig

OF_THREAT = ("on_manifold_accuracy", "reconstruction_accuracy")
"""Read from the first further threat that acts on the manifold."""


def check_manifold(config: RunConfig) -> None:
    """Raises ValueError where something asks for a manifold and there is none, or for a threat on it."""
    threats = {name: one for name, one in config.evaluation.threats.items() if one.acts_on == "manifold"}
    wanted = [one.name for one in config.wanted if one.name in OF_THREAT]
    if wanted and not threats:
        raise ValueError(
            f"{wanted[0]} is not measured: add evaluation.threats: {{manifold: {{acts_on: manifold, epsilon: 0.3}}}}"
        )
    trained = [name for name in ("training", "retrain") if getattr(config, name).on_manifold.weight]
    if config.manifold is None and (threats or trained):
        field = f"evaluation.threats.{next(iter(threats))}" if threats else f"{trained[0]}.on_manifold"
        raise ValueError(f"{field}: there is no manifold; add `manifold: {{name: pca}}`, or leave it out")
    if config.search.evaluator != "scratch" and config.supernet.on_manifold.weight:
        raise ValueError("supernet.on_manifold.weight: a supernet has no such term; set it to 0")


def data_on_manifold(data: SearchData, config: RunConfig, folder: Path) -> SearchData:
    """`data` with codes of its images on the manifold of the run in `folder`, which is made now where it is not yet.

    `data` itself where the config has no manifold. Raises UsageError where the map behind the data is not known, or
    where a perturbation of a code may change the class in it, CheckpointError where the kept manifold is of other data
    or settings.
    """
    if config.manifold is None:
        return data
    from nas.assets.asset import kept
    from nas.assets.manifold.keeping import ManifoldAsset, with_manifold
    from nas.base.machine import available_cores, claim_threads, resolve_device

    claim_threads(available_cores())
    asset = ManifoldAsset(config.manifold, data, config.search.seed, resolve_device(config.device))
    manifold = kept(folder, asset, None)
    check_epsilons(config, manifold.most_epsilon)
    return with_manifold(data, manifold)


def check_epsilons(config: RunConfig, most: float) -> None:
    """Raises UsageError where an attack of `config` moves codes so far, `most`, that the class in them is another."""
    asked = {f"evaluation.threats.{name}": one.epsilon for name, one in config.evaluation.threats.items()
             if one.acts_on == "manifold"}  # fmt: skip
    asked |= {f"{part}.on_manifold": getattr(config, part).on_manifold.epsilon for part in ("training", "retrain")
              if getattr(config, part).on_manifold.weight}  # fmt: skip
    for name, epsilon in asked.items():
        if epsilon >= most:
            raise UsageError(
                f"{name}.epsilon {epsilon:g} reaches codes of another class, whose images are then called wrong: with "
                f"so many classes in one coordinate it must be less than {most:.3g}; lower it, or set "
                "manifold.conditional: false"
            )


def manifold_words(run: Path) -> str:
    """Reconstruction error of the manifold of the run in the folder `run`; empty where it has none. Without torch."""
    path = run / FOLDER / FILE
    if not path.exists():
        return ""
    try:
        facts = json.loads(read_metadata(path)["manifold"])
        name, error = facts["settings"]["name"], facts["error"]["validation"]
        said = (
            f"manifold {name}, {facts['dimensions']} dimensions: root mean squared error {error:.3g} of reconstructed "
            "validation images"
        )
    except (CheckpointError, KeyError, ValueError) as error:
        return f"manifold: {path} cannot be read ({error})"
    picture = path.parent / PICTURE
    return f"{said} ({picture})" if picture.exists() else said
