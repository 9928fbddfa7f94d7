"""One trial, from a candidate to its outcome. The file to read first.

A candidate's genotype becomes a network, the network is briefly trained against an adversary, scored on
held-out training images, and everything is written to the trial's folder.
"""

import dataclasses
import json
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import torch

from nas.data import SearchData, Split
from nas.errors import Diverged
from nas.evaluation import EvaluationSettings, evaluate
from nas.files import write_atomic, write_json
from nas.records import Candidate, Evaluation, Outcome, from_json, to_json
from nas.seeding import make_generator
from nas.threat import ThreatModel
from nas.training import Training, scored_network, start_training, train_epoch
from nas.training.checkpoint import save_weights
from search_spaces import SearchSpace
from search_spaces.network import Network, build_network


@dataclass(frozen=True)
class TrialPlan:
    """Everything the trials of a search share. Picklable; calling it runs a trial."""

    space: SearchSpace
    data: SearchData
    threat: ThreatModel
    training: Training
    evaluation: EvaluationSettings
    device: str
    folder: Path
    """Folder of the trials; each writes to a folder of its own there."""

    def __call__(self, candidate: Candidate) -> Outcome:
        """Outcome of training and scoring `candidate`; its own failures are outcomes too.

        A candidate whose results already lie in its folder (the search was killed before it was told) is
        not trained again. Raises OSError where the folder cannot be written.
        """
        folder = self.folder / f"{candidate.number:05d}"
        finished = _finished(folder, candidate)
        if finished is not None:
            return finished
        folder.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        try:
            outcome = self._run(candidate, folder, started)
        except OSError:
            raise
        except Exception:
            error = traceback.format_exc()
            write_atomic(folder / "error.txt", error.encode())
            return Outcome(None, time.perf_counter() - started, error)
        write_json(folder / RESULT, {"candidate": to_json(candidate), "outcome": to_json(outcome)})
        return outcome

    def _run(self, candidate: Candidate, folder: Path, started: float) -> Outcome:
        device, seed = torch.device(self.device), candidate.seed
        data = self.data.to(device)
        spec = self.space.spec(candidate.genotype)
        network = build_network(spec, make_generator(seed, "weights"), data.mean, data.std).to(device)
        state = start_training(network, self.training, make_generator(seed, "training", device=device))
        (folder / CURVE).unlink(missing_ok=True)
        with (folder / "log.jsonl").open("w") as log:
            for _ in range(self.training.epochs):
                epoch = train_epoch(state, data.train, self.training, self.threat)
                log.write(json.dumps(dataclasses.asdict(epoch)) + "\n")
                log.flush()
                if self.training.track_every_epoch:
                    evaluation = self._evaluate(scored_network(state, data.train, self.training), data, candidate)
                    with (folder / CURVE).open("a") as curve:
                        curve.write(json.dumps({"epoch": epoch.epoch, **to_json(evaluation)}) + "\n")
        scored = scored_network(state, data.train, self.training)
        _check_finite(scored, data.validation)
        save_weights(folder / "model.safetensors", scored)
        return Outcome(self._evaluate(scored, data, candidate), time.perf_counter() - started)

    def _evaluate(self, network: Network, data: SearchData, candidate: Candidate) -> Evaluation:
        """Scores on the validation images, with the same noise each time."""
        generator = make_generator(candidate.seed, "evaluation", device=torch.device(self.device))
        return evaluate(network, data.validation, self.threat, self.evaluation, generator, split_name="validation")


def _check_finite(network: Network, split: Split) -> None:
    """Raises Diverged where a weight, a statistic or a logit is not finite: such scores would mean nothing."""
    broken = [name for name, tensor in network.state_dict().items() if not tensor.isfinite().all()]
    if broken:
        raise Diverged(f"training left values that are not finite in {broken[0]}; lower training.learning_rate")
    with torch.no_grad():
        for batch in split.batches(256):
            if not network(batch.images.float() / 255).isfinite().all():
                raise Diverged("logits of validation images are not finite; lower training.learning_rate")


CURVE = "curve.jsonl"
"""An Evaluation after every epoch, where `track_every_epoch` asks for it."""

RESULT = "evaluation.json"
"""Written last: a trial folder with this file is finished."""


def _finished(folder: Path, candidate: Candidate) -> Outcome | None:
    """Outcome stored in `folder`, if it is of the same candidate."""
    try:
        stored = json.loads((folder / RESULT).read_text())
        same = from_json(Candidate, stored["candidate"]) == candidate
        return from_json(Outcome, stored["outcome"]) if same else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
