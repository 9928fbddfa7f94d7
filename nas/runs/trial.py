"""One trial, from a candidate to its outcome. The file to read first.

A candidate's genotype becomes a network, the network is briefly trained against an adversary, scored on
held-out training images, and everything is written to the trial's folder.
"""

import dataclasses
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nas.assets.supernet.weights import Supernet
from nas.attacks.threat import ThreatModel
from nas.base.files import write_atomic, write_json
from nas.base.records import Candidate, Halfway, Outcome, to_json
from nas.base.seeding import make_generator
from nas.base.settings import Settings
from nas.data.datasets import SearchData
from nas.evaluation import EvaluationSettings
from nas.evaluation.evaluate import Scored, score
from nas.evaluation.scores import load_scores, save_scores
from nas.networks.build import stored_network
from nas.networks.stored import save_weights
from nas.pareto import scores_of
from nas.runs.begin import begin
from nas.runs.failures import cause_of, check_finite
from nas.runs.parts import load_parts
from nas.runs.trial_files import (
    CURVE,
    ERROR,
    LOG,
    RESULT,
    STATE,
    WEIGHTS,
    discard_leftovers,
    fingerprint_of,
    images_path,
    reaches,
    stored_outcome,
    trial_folder,
)
from nas.training import Training
from nas.training.alarm import alarm_warnings, held_out
from nas.training.loop import TrainingState, scored_network, start_training, train_epoch
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
    """Modules whose entries of the registries the trials need, and parts in them; a worker imports them."""
    plugin_folder: Path | None = None
    """Folder that holds them where they are not installed."""

    def __call__(self, candidate: Candidate) -> Outcome:
        """Outcome of training and scoring `candidate`; failures are outcomes too, with their cause.

        A candidate whose results already lie in its folder is not trained again: they are the outcome (the search
        was killed before it was told), or the rung of the attack ladder below the one that is asked for now.
        Raises OSError where the folder cannot be written.
        """
        load_parts(self.plugins, self.plugin_folder)
        folder = trial_folder(self.folder, candidate.number, candidate.repeat)
        finished = stored_outcome(self.folder, candidate)
        if finished is not None and reaches(finished, candidate):
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
        data = self.data.to(torch.device(self.device))
        network, origin = begin(self, candidate, data, resumes=reached is not None)
        generator = make_generator(candidate.seed, "training", device=data.train.images.device)
        state = start_training(network, self.training, generator)
        saved = Saved(folder / STATE, fingerprint_of(candidate))
        self._train(state, candidate, data, folder, saved if reached else None, origin)
        network = scored_network(state, data.train, self.training)
        check_finite(network, data.validation)
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

    def _train(
        self,
        state: TrainingState,
        candidate: Candidate,
        data: SearchData,
        folder: Path,
        saved: Saved | None,
        origin: Mapping[str, Any],
    ) -> None:
        """Trains `state`, from what is `saved`, to the candidate's stage of epochs; every epoch is logged."""
        log, curve = EpochFile(folder / LOG), EpochFile(folder / CURVE)
        resume_(state, saved, log, curve)
        if origin:
            log.append(origin)

        watched = held_out(data.validation, len(data.train))

        def train() -> Facts:
            return dataclasses.asdict(train_epoch(state, data.train, self.training, self.threat, watched))

        def track(facts: Facts) -> None:
            if self.training.track_every_epoch:
                tracked = dataclasses.replace(candidate, fidelity="attack")
                scored = self._score(scored_network(state, data.train, self.training), data, tracked)
                curve.append({"epoch": facts["epoch"], **to_json(scored.evaluation)})

        if self.trains:
            train_until(state, candidate.epochs or self.training.epochs, train, log, None, track)

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
        scored = score(
            network, data.validation[: self.evaluation.max_images], self.threat, self.evaluation, generator,
            split_name="validation", fidelity=fidelity, before=before,
        )  # fmt: skip
        raised = alarm_warnings(EpochFile(trial_folder(self.folder, candidate.number, candidate.repeat) / LOG).read())
        found = scored.evaluation
        return dataclasses.replace(scored, evaluation=dataclasses.replace(found, warnings=(*found.warnings, *raised)))
