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
from typing import Any

import torch

from nas.assets.supernet.weights import Supernet, begin_with, copied
from nas.attacks.threat import ThreatModel
from nas.base.errors import CheckpointError, Diverged, NasError
from nas.base.files import write_atomic, write_json
from nas.base.plugins import load_plugins
from nas.base.records import Candidate, Cause, Halfway, Outcome, to_json
from nas.base.seeding import make_generator
from nas.base.settings import Settings
from nas.data.datasets import SearchData
from nas.data.split import Split
from nas.evaluation import EvaluationSettings
from nas.evaluation.evaluate import Scored, score
from nas.evaluation.ladder import RUNGS
from nas.evaluation.scores import load_scores, save_scores
from nas.networks.build import new_network, stored_network
from nas.networks.inheritance import inherit
from nas.networks.stored import not_finite, read_weights, save_weights
from nas.pareto import scores_of
from nas.runs.trial_files import (
    CURVE,
    ERROR,
    LOG,
    RESULT,
    STATE,
    WEIGHTS,
    discard_leftovers,
    images_path,
    inherited_path,
    stored_outcome,
    trial_folder,
)
from nas.training import Training
from nas.training.loop import scored_network, start_training, train_epoch
from nas.training.resumable import EpochFile, Facts, Saved, resume_, train_until
from nas.training.stored import save_training
from search_spaces import SearchSpace
from search_spaces.network import Network


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
    supernet: Supernet | None = None
    """Whose weights candidates begin with, in place of random ones."""
    trains: bool = True
    """Whether candidates are trained before they are scored."""
    treatments: tuple[Settings, ...] = ()
    """Settings of what is done to every network besides (nas/networks/treatments)."""
    plugins: tuple[str, ...] = ()
    """Modules whose entries of the registries the trials need; a worker imports them."""

    def __call__(self, candidate: Candidate) -> Outcome:
        """Outcome of training and scoring `candidate`; failures are outcomes too, with their cause.

        A candidate whose results already lie in its folder is not trained again: they are the outcome (the search
        was killed before it was told), or the rung of the attack ladder below the one that is asked for now.
        Raises OSError where the folder cannot be written.
        """
        load_plugins(self.plugins)
        folder = trial_folder(self.folder, candidate.number, candidate.repeat)
        finished = stored_outcome(self.folder, candidate)
        if finished is not None and _reaches(finished, candidate):
            discard_leftovers(finished, folder)
            return finished
        folder.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        try:
            if finished is None or finished.epochs is not None:
                outcome = self._run(candidate, folder, finished, started)
            else:
                outcome = self._climb(candidate, folder, finished)
        except OSError:
            raise
        except Exception as error:
            text = traceback.format_exc()
            write_atomic(folder / ERROR, text.encode())
            return Outcome(None, time.perf_counter() - started, text, cause=cause_of(error))
        write_json(folder / RESULT, {"candidate": to_json(candidate), "outcome": to_json(outcome)})
        discard_leftovers(outcome, folder)  # not before: a kill in between goes on from it
        return outcome

    def _run(self, candidate: Candidate, folder: Path, reached: Outcome | None, started: float) -> Outcome:
        """Outcome of training to the stage of epochs that is asked for, from the one that was `reached`."""
        device, seed = torch.device(self.device), candidate.seed
        data = self.data.to(device)
        spec = self.space.spec(candidate.genotype)
        weights = make_generator(seed, "weights")
        network = new_network(spec, weights, data.mean, data.std, self.treatments).to(device)
        origin = {} if reached else self._inherited(network, candidate)
        if self.supernet is not None and self.trains:
            begin_with(self.supernet, network, data.train, self.training)
        elif self.supernet is not None:
            copied(self.supernet, network)  # batch-norm is re-estimated for scoring
        state = start_training(network, self.training, make_generator(seed, "training", device=device))
        log, curve = EpochFile(folder / LOG), EpochFile(folder / CURVE)
        saved = Saved(folder / STATE, _name_of(candidate))
        resume_(state, saved if reached else None, log, curve)
        if origin:
            log.append(origin)

        def train() -> Facts:
            return dataclasses.asdict(train_epoch(state, data.train, self.training, self.threat))

        def track(facts: Facts) -> None:
            if self.training.track_every_epoch:
                tracked = dataclasses.replace(candidate, fidelity="attack")
                scored = self._score(scored_network(state, data.train, self.training), data, tracked)
                curve.append({"epoch": facts["epoch"], **to_json(scored.evaluation)})

        if self.trains:
            train_until(state, candidate.epochs or self.training.epochs, train, log, None, track)
        network = scored_network(state, data.train, self.training)
        _check_finite(network, data.validation)
        save_weights(folder / WEIGHTS, network)
        scoring = time.perf_counter()
        scored = self._score(network, data, candidate)
        save_scores(images_path(folder, candidate.fidelity), scored.images)
        ended = time.perf_counter()
        before = reached or Outcome(None, 0.0)
        outcome = Outcome(
            scored.evaluation, before.seconds + ended - started,
            scoring_seconds=before.scoring_seconds + ended - scoring, halfway=before.halfway,
        )  # fmt: skip
        if candidate.epochs is None:
            return outcome
        save_training(saved.path, state, saved.fingerprint)
        passed = Halfway(candidate.epochs, scores_of(scored.evaluation))
        return dataclasses.replace(outcome, epochs=candidate.epochs, halfway=(*outcome.halfway, passed))

    def _inherited(self, network: Network, candidate: Candidate) -> dict[str, Any]:
        """Fills `network` with what it shares with its parent's; whose that is and its share of the parameters.

        Nothing for a candidate without a parent. Raises CheckpointError where the parent's weights cannot be had:
        from random ones, it would be another experiment.
        """
        path = inherited_path(self.folder, candidate)
        if path is None:
            return {}
        try:
            weights = read_weights(path)
        except CheckpointError as error:
            raise CheckpointError(
                f"trial {candidate.number} inherits the weights of trial {candidate.inherits}, and these cannot be "
                f"had: {error}; put them back, or begin a new run (--run NAME)"
            ) from error
        return {"inherits": candidate.inherits, "share": inherit(network, weights)}

    def _climb(self, candidate: Candidate, folder: Path, reached: Outcome) -> Outcome:
        """Outcome after the next rung of the attack ladder, on the network as it was trained."""
        assert reached.evaluation is not None, "only a scored candidate climbs"
        started = time.perf_counter()
        spec = self.space.spec(candidate.genotype)
        network = stored_network(spec, folder / WEIGHTS, self.treatments).to(self.device)
        data = self.data.to(torch.device(self.device))
        # A file for each rung: after a kill, the one of `reached` is still what its evaluation says.
        images = load_scores(images_path(folder, reached.evaluation.fidelity))
        scored = self._score(network, data, candidate, Scored(reached.evaluation, images))
        save_scores(images_path(folder, candidate.fidelity), scored.images)
        spent = time.perf_counter() - started
        return Outcome(
            scored.evaluation, reached.seconds + spent, scoring_seconds=reached.scoring_seconds + spent,
            halfway=reached.halfway,
        )  # fmt: skip

    def _score(self, network: Network, data: SearchData, candidate: Candidate, before: Scored | None = None) -> Scored:
        """Scores on the validation images that a search uses, with the same noise each time."""
        fidelity, device = candidate.fidelity, torch.device(self.device)
        generator = make_generator(candidate.seed, "evaluation", fidelity, device=device)
        return score(
            network, data.validation[: self.evaluation.max_images], self.threat, self.evaluation, generator,
            split_name="validation", fidelity=fidelity, before=before,
        )  # fmt: skip


def cause_of(error: Exception) -> Cause:
    """Where the cause of `error` lies: with the candidate where it diverged, or where nothing else is known."""
    outside = (ImportError, MemoryError, torch.OutOfMemoryError, torch.AcceleratorError, NasError)
    no_memory = "DefaultCPUAllocator" in str(error)  # torch has no type for it on the CPU
    is_outside = isinstance(error, outside) and not isinstance(error, Diverged)
    return "environment" if is_outside or no_memory else "candidate"


def _check_finite(network: Network, split: Split) -> None:
    """Raises Diverged where a weight, a statistic or a logit is not finite: such scores would mean nothing."""
    if broken := not_finite(network):
        raise Diverged(f"training left values that are not finite in {broken[0]}; lower training.learning_rate")
    with torch.no_grad():
        for batch in split.batches(256):
            if not network(batch.inputs()).isfinite().all():
                raise Diverged("logits of validation images are not finite; lower training.learning_rate")


def _reaches(outcome: Outcome, candidate: Candidate) -> bool:
    """Whether `outcome` is what `candidate` asks for, or of more epochs or a higher rung of the attack ladder."""
    found = outcome.evaluation
    if outcome.epochs is not None:
        return candidate.epochs is not None and outcome.epochs >= candidate.epochs
    return (
        found is None or candidate.epochs is not None or RUNGS.index(found.fidelity) >= RUNGS.index(candidate.fidelity)
    )


def _name_of(candidate: Candidate) -> str:
    """Names the whole training of `candidate`, on whatever rung it is."""
    named = to_json(dataclasses.replace(candidate, fidelity="attack", epochs=None))
    if candidate.inherits is None:
        del named["inherits"]  # states that were saved before there was inheritance lack it
    return json.dumps(named)
