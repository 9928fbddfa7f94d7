"""What all candidates of a run share and is made before them: made once, kept in the run's folder, taken from there."""

from pathlib import Path
from typing import Protocol, TypeVar

from nas.base.errors import UsageError
from nas.base.files import write_atomic

T_co = TypeVar("T_co", covariant=True)


class Asset(Protocol[T_co]):
    """How one kind of asset is made and loaded, for one run."""

    @property
    def kind(self) -> str:
        """Name of the kind, of its settings in a config, and of its folder in a run."""

    @property
    def file(self) -> str:
        """Name of the finished file, written last."""

    def make_(self, place: Path) -> None:
        """Makes it in the folder `place`, going on from what a kill left there."""

    def load(self, path: Path, *, taken: bool) -> T_co:
        """The asset of the finished file `path`, on the CPU.

        Raises CheckpointError where its fingerprint is another one; one that is `taken` from another run may have been
        made in another way, from the same data.
        """


def has_asset(run: Path, kind: str, file: str) -> bool:
    """Whether the run in the folder `run` has a finished asset of this kind."""
    return (run / kind / file).is_file()


def kept(run: Path, asset: Asset[T_co], taken_from: Path | None) -> T_co:
    """The asset of the run in the folder `run`: made there where it is not yet, or copied from the run `taken_from`.

    Raises UsageError where that run has none, CheckpointError as `Asset.load`.
    """
    place, is_taken = run / asset.kind, taken_from is not None
    if taken_from is not None and not has_asset(run, asset.kind, asset.file):
        if not has_asset(taken_from, asset.kind, asset.file):
            raise UsageError(f"{asset.kind}.taken_from: {taken_from} has no {asset.kind}; train one with `nas search`")
        other = taken_from / asset.kind / asset.file
        asset.load(other, taken=True)  # or it is refused
        place.mkdir(parents=True, exist_ok=True)
        write_atomic(place / asset.file, other.read_bytes())
    if not has_asset(run, asset.kind, asset.file):
        place.mkdir(parents=True, exist_ok=True)
        asset.make_(place)
    return asset.load(place / asset.file, taken=is_taken)
