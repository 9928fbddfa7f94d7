"""Trials on machines that share no file system with the search: their files travel with them."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from nas.base.files import write_atomic
from nas.base.records import Candidate, Outcome
from nas.runs.trial import TrialPlan
from nas.runs.trial_files import RESULT, discard_leftovers, inherited_path, stored_outcome, trial_folder
from nas.workers.ray import Files

PARENT = "parent.safetensors"
"""Name under which the weights that a candidate inherits travel beside its own files."""


@dataclass(frozen=True)
class RemotePlan:
    """A TrialPlan whose trials run in a temporary folder of their node; the driver holds the run folder."""

    plan: TrialPlan

    def pack(self, candidate: Candidate) -> Files:
        """Files of a trial that is finished on some rung of the attack ladder: a climb goes on from them.

        The weights that it inherits travel with a candidate that begins its training. Where they are missing the node
        finds that out, and the candidate fails.
        """
        folder = self._folder(self.plan, candidate)
        files = _files(folder) if (folder / RESULT).is_file() else {}
        parent = inherited_path(self.plan.folder, candidate)
        if parent and parent.is_file() and stored_outcome(self.plan.folder, candidate) is None:
            files[PARENT] = parent.read_bytes()
        return files

    def run(self, candidate: Candidate, files: Files) -> tuple[Outcome, Files]:
        """Outcome of `candidate`, and the files that are new or have changed."""
        with TemporaryDirectory(prefix="nas-") as scratch:
            plan = dataclasses.replace(self.plan, folder=Path(scratch))
            folder = self._folder(plan, candidate)
            folder.mkdir(parents=True)
            parent = inherited_path(plan.folder, candidate)
            for name, content in files.items():
                path = parent if parent and name == PARENT else folder / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)
            outcome = plan(candidate)
            return outcome, {name: found for name, found in _files(folder).items() if files.get(name) != found}

    def unpack(self, candidate: Candidate, files: Files) -> None:
        """Writes `files` to the trial's folder, each whole or not at all, and last the one that says it is finished.

        The state of a training that is over is removed, as the node has done.
        """
        folder = self._folder(self.plan, candidate)
        folder.mkdir(parents=True, exist_ok=True)
        for name in sorted(files, key=lambda name: name == RESULT):
            write_atomic(folder / Path(name).name, files[name])
        finished = stored_outcome(self.plan.folder, candidate)
        if finished is not None:
            discard_leftovers(finished, folder)

    @staticmethod
    def _folder(plan: TrialPlan, candidate: Candidate) -> Path:
        return trial_folder(plan.folder, candidate.number, candidate.repeat)


def _files(folder: Path) -> dict[str, bytes]:
    """Files of a trial; hidden ones are half-written, folders are of other trainings."""
    found = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return {path.name: path.read_bytes() for path in found}
