"""Results image by image: what a robust accuracy is the mean of, and what a stronger attack goes on from."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from nas.base.errors import CheckpointError
from nas.base.files import write_atomic
from nas.measures import Measure


@dataclass(frozen=True)
class ImageScores:
    """Results of N images; every field but the last has shape (N,)."""

    natural: Tensor
    """Classified correctly, with finite logits."""
    robust: Tensor
    """Classified correctly at every iterate of every attack so far."""
    fell: Tensor
    """Misclassified at some iterate of the attack that x̂ comes from."""
    stuck: Tensor
    """Met an attack that could not climb, as its gradient vanished or was not finite."""
    finite: Tensor
    """Logits of the image and of x̂ are finite."""
    instability: Tensor
    """KL(f(x) ‖ f(x̂)) in nats."""
    instability_scaled: Tensor
    lipschitz: Tensor
    """‖f(x) − f(x̂)‖₂ / ‖x − x̂‖₂."""
    lipschitz_scaled: Tensor
    steepest: Tensor
    """Largest slope that an ascent of the slope found; 0 where it was not asked for."""
    measured: Mapping[str, Tensor] = field(default_factory=dict)
    """Values of computed measures by name: (N,) or, of those that are not taken image by image, a scalar."""

    def after(self, before: "ImageScores") -> "ImageScores":
        """These scores where the attacks behind `before` were made on the same images, too."""
        return dataclasses.replace(self, robust=self.robust & before.robust, stuck=self.stuck | before.stuck)

    def of(self, measure: Measure) -> Tensor | None:
        """What `measure` is the mean of (N,); None where it is no mean over images, or was not measured."""
        if measure.images:
            return getattr(self, measure.images)  # type: ignore[no-any-return]
        found = self.measured.get(measure.name)
        return found if found is not None and found.ndim else None

    def tensors(self) -> dict[str, Tensor]:
        """All results by name, for a file."""
        own = {name: getattr(self, name).contiguous() for name in FIELDS}
        return own | {f"{MEASURED}{name}": values.contiguous() for name, values in self.measured.items()}


MEASURED = "measured."
"""What the names of computed measures begin with in a file."""
FIELDS = tuple(one.name for one in dataclasses.fields(ImageScores) if one.name != "measured")


def from_tensors(tensors: Mapping[str, Tensor]) -> ImageScores:
    """Inverse of `ImageScores.tensors`. Raises TypeError where it is none of this version."""
    measured = {name.removeprefix(MEASURED): values for name, values in tensors.items() if name.startswith(MEASURED)}
    own = {name: values for name, values in tensors.items() if not name.startswith(MEASURED)}
    return ImageScores(**own, measured=measured)


def joined(parts: list[ImageScores], of_all: Mapping[str, Tensor]) -> ImageScores:
    """Scores of all images of `parts`, on the CPU, with the measures `of_all` images together."""
    tensors = [part.tensors() for part in parts]
    return from_tensors({name: torch.cat([one[name] for one in tensors]).cpu() for name in tensors[0]}
                        | {f"{MEASURED}{name}": value for name, value in of_all.items()})  # fmt: skip


def save_scores(path: Path, scores: ImageScores) -> None:
    """Writes `scores` to `path` (safetensors), atomically."""
    write_atomic(path, safetensors.torch.save(scores.tensors()))


def load_scores(path: Path) -> ImageScores:
    """Scores in `path`. Raises CheckpointError where the file is missing, damaged or of another version."""
    try:
        return from_tensors(safetensors.torch.load_file(path))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except (OSError, TypeError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged, or of another version ({error})") from error


def finite_mean(values: Tensor) -> float:
    """Mean over the images where the value is finite; 0 where none is (a warning says so)."""
    finite = values[values.isfinite()]
    return float(finite.double().mean()) if len(finite) else 0.0
