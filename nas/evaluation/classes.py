"""What uneven classes do to an accuracy: the answer that needs no image, and the mean over classes.

Letters: N images.
"""

from torch import Tensor

EVEN = 1.5
"""Classes whose largest has at most so many times the images of the smallest, and one more, are called even."""


def chance_of(labels: Tensor) -> float:
    """Accuracy of always answering with the most frequent class of `labels` (N,): the largest class's share."""
    return int(labels.bincount().max()) / len(labels)


def balanced_accuracy(correct: Tensor, labels: Tensor) -> float | None:
    """Mean, over the classes of `labels` (N,), of the share of each that is `correct` (N,), bool.

    None where the classes are even: the mean over images says the same then.
    """
    counts = labels.bincount()
    present = counts > 0
    if counts.max() <= EVEN * counts[present].min() + 1:
        return None
    right = labels[correct].bincount(minlength=len(counts))
    return float((right[present].double() / counts[present]).mean())
