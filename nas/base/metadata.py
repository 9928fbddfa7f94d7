"""What stands beside the tensors of a safetensors file. Without torch."""

from pathlib import Path

import safetensors

from nas.base.errors import CheckpointError


def read_metadata(path: Path) -> dict[str, str]:
    """What was written beside the tensors of `path`. Raises CheckpointError where it is missing or damaged."""
    try:
        with safetensors.safe_open(path, "np") as file:
            return file.metadata() or {}
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged or not a safetensors file ({error})") from error
