"""Results image by image: what a robust accuracy is the mean of, and what a stronger attack goes on from."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from nas.base.errors import CheckpointError
from nas.base.files import write_atomic


@dataclass(frozen=True)
class ImageScores:
    """Results of N images; every field has shape (N,)."""

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

    def after(self, before: "ImageScores") -> "ImageScores":
        """These scores where the attacks behind `before` were made on the same images, too."""
        return dataclasses.replace(self, robust=self.robust & before.robust, stuck=self.stuck | before.stuck)


IMAGE_SCORES = {
    "natural_accuracy": "natural",
    "robust_accuracy": "robust",
    "instability": "instability",
    "instability_scaled": "instability_scaled",
    "lipschitz_empirical": "lipschitz",
    "lipschitz_empirical_scaled": "lipschitz_scaled",
    "lipschitz_maximised": "steepest",
}
"""Metrics that are means over images, with their field of ImageScores."""
FIELDS = tuple(field.name for field in dataclasses.fields(ImageScores))


def joined(parts: list[ImageScores]) -> ImageScores:
    """Scores of all images of `parts`, on the CPU."""
    return ImageScores(**{name: torch.cat([getattr(part, name) for part in parts]).cpu() for name in FIELDS})


def save_scores(path: Path, scores: ImageScores) -> None:
    """Writes `scores` to `path` (safetensors), atomically."""
    write_atomic(path, safetensors.torch.save({name: getattr(scores, name).contiguous() for name in FIELDS}))


def load_scores(path: Path) -> ImageScores:
    """Scores in `path`. Raises CheckpointError where the file is missing, damaged or of another version."""
    try:
        return ImageScores(**safetensors.torch.load_file(path))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except (OSError, TypeError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged, or of another version ({error})") from error


def finite_mean(values: Tensor) -> float:
    """Mean over the images where the value is finite; 0 where none is (a warning says so)."""
    finite = values[values.isfinite()]
    return float(finite.double().mean()) if len(finite) else 0.0
