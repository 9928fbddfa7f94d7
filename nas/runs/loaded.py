"""A retrained network as a module to be used: weights, genotype, scores and class names together."""

from pathlib import Path

from torch import Tensor, nn

from nas.base.files import read_json
from nas.base.records import Evaluation, from_json
from nas.runs.checkpoint import RESULT, Checkpoint, load_checkpoint
from search_spaces.space import Value


class RetrainedNetwork(nn.Module):
    """A network that `nas retrain` made: pixels in [0, 1] (N, C, H, W) to logits (N, K), in eval mode and frozen."""

    def __init__(self, folder: Path, checkpoint: Checkpoint, evaluation: Evaluation | None) -> None:
        super().__init__()
        self.network = checkpoint.network
        """The network itself, which the attacks walk by hand."""
        self.folder = folder
        self.checkpoint = checkpoint
        """Data, threat model and scoring that it was made with."""
        self.genotype: dict[str, Value] = dict(checkpoint.genotype)
        """Values of the search space's choices."""
        self.evaluation = evaluation
        """Scores on the test images, with their attacks, threat model and warnings; None while they are being made."""
        self.class_names = checkpoint.class_names
        """Of the K logits, in their order."""
        self.input_shape = checkpoint.network.spec.input_shape
        """(C, H, W) of an image."""
        self.requires_grad_(False).eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (N, K) of images (N, C, H, W), floats in [0, 1]; the network normalises them itself.

        Raises ValueError for integers (divide images of 8 bits by 255) and for another shape.
        """
        if not pixels.is_floating_point():
            raise ValueError(f"pixels must be floats in [0, 1], got {pixels.dtype}: divide images of 8 bits by 255")
        if pixels.dim() != 4 or tuple(pixels.shape[1:]) != self.input_shape:
            wanted = "×".join(map(str, self.input_shape))
            raise ValueError(f"images must be (N, {wanted}), got shape {tuple(pixels.shape)}")
        logits: Tensor = self.network(pixels)
        return logits


def retrained_network(folder: Path) -> RetrainedNetwork:
    """Network in `folder`, on the CPU, in eval mode and frozen. Nothing is unpickled.

    Raises CheckpointError where weights or description are missing, damaged or of something else, and UsageError where
    its evaluation is.
    """
    checkpoint, result = load_checkpoint(folder), folder / RESULT
    remedy = f"`nas evaluate {folder}` makes these numbers again from the weights"
    evaluation = read_json(result, lambda data: from_json(Evaluation, data), remedy) if result.exists() else None
    return RetrainedNetwork(folder, checkpoint, evaluation)
