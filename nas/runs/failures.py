"""Why a training fails: what is refused after it, and where the cause of an error lies."""

import torch

from nas.base.errors import Diverged, NasError
from nas.base.records import Cause
from nas.data.split import Split
from nas.networks.stored import not_finite
from search_spaces.network import Network


def check_finite(network: Network, split: Split) -> None:
    """Raises Diverged where a weight, a statistic or a logit of `split` is not finite."""
    if broken := not_finite(network):
        raise Diverged(f"training left values that are not finite in {broken[0]}; lower training.learning_rate")
    with torch.no_grad():
        for batch in split.batches(256):
            if not network(batch.inputs()).isfinite().all():
                raise Diverged("logits of validation images are not finite; lower training.learning_rate")


def cause_of(error: Exception) -> Cause:
    """Where the cause of `error` lies: with the candidate where it diverged, or where nothing else is known."""
    outside = (ImportError, MemoryError, torch.OutOfMemoryError, torch.AcceleratorError, NasError)
    no_memory = "DefaultCPUAllocator" in str(error)  # torch has no type for it on the CPU
    is_outside = isinstance(error, outside) and not isinstance(error, Diverged)
    return "environment" if is_outside or no_memory else "candidate"
