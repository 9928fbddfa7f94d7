"""Computed measures of the registry: taken batch by batch while an attack is made, or once over all images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from nas.base.errors import NasError, UsageError
from nas.base.seeding import make_generator
from nas.measures import Attacked, Measure, measure


@dataclass
class Measuring:
    """The computed measures of one attack on all images."""

    names: tuple[str, ...]
    seed: int
    """Of the scoring: each measure's own generator is derived from it and from the measure's name."""
    _generators: dict[str, torch.Generator] = field(default_factory=dict, init=False)
    _batches: list[Attacked] = field(default_factory=list, init=False)

    @property
    def _measures(self) -> list[Measure]:
        return [measure(name) for name in self.names]

    def of_batch(self, batch: Attacked) -> dict[str, Tensor]:
        """Values of the measures that are taken image by image, (N,) each; keeps `batch` for the others."""
        if not all(entry.per_image for entry in self._measures):
            self._batches.append(batch)
        return {entry.name: self._computed(entry, batch) for entry in self._measures if entry.per_image}

    def of_all(self) -> dict[str, Tensor]:
        """Values of all other measures, scalars."""
        others = [entry for entry in self._measures if not entry.per_image]
        if not others:
            return {}
        names = ("images", "labels", "logits", "adversarial", "adversarial_logits")
        joined: dict[str, Any] = {name: torch.cat([getattr(one, name) for one in self._batches]) for name in names}
        whole = replace(self._batches[0], **joined)
        return {entry.name: self._computed(entry, whole) for entry in others}

    def _computed(self, entry: Measure, attacked: Attacked) -> Tensor:
        """Values on the CPU. Raises UsageError, a fault outside the candidate, where they cannot be had."""
        assert entry.compute is not None, "a config names no others"
        if entry.name not in self._generators:
            device = attacked.images.device
            self._generators[entry.name] = make_generator(self.seed, "measure", entry.name, device=device)
        chance = self._generators[entry.name]
        try:
            found = torch.as_tensor(entry.compute(replace(attacked, generator=chance))).detach().cpu()
        except (OSError, NasError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise UsageError(f"measure {entry.name} cannot be computed: {type(error).__name__}: {error}") from error
        wanted = (len(attacked.labels),) if entry.per_image else ()
        if found.shape != wanted:
            kind = f"one value for each of {wanted[0]} images" if wanted else "one number (per_image=False)"
            raise UsageError(f"measure {entry.name}: compute must give {kind} [got shape {tuple(found.shape)}]")
        return found


def means(measured: Mapping[str, Tensor]) -> dict[str, float]:
    """Means over the images where the value is finite; a measure without such an image is left out."""
    finite = {name: values[values.isfinite()] for name, values in measured.items()}
    return {name: float(values.double().mean()) for name, values in finite.items() if len(values)}


def gaps(measured: Mapping[str, Tensor]) -> Sequence[str]:
    """A warning for every measure that has values which are not finite."""
    counts = {name: (int((~values.isfinite()).sum()), values.numel()) for name, values in measured.items()}
    return [f"{name} is not finite for {lost} of {count} values, which are left out of its mean"
            for name, (lost, count) in counts.items() if lost]  # fmt: skip
