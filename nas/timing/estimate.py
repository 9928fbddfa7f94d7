"""What a search would cover, and how long it will take on this machine, measured on a few of its own networks."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from random import Random
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch

from nas.assets.manifold.keeping import untrained
from nas.assets.manifold.pca import estimated_dimensions
from nas.assets.manifold.settings import Known, Pca, Vae
from nas.assets.manifold.vae import start_vae
from nas.base.machine import available_cores, claim_threads, resolve_device
from nas.base.records import Costs
from nas.base.seeding import make_generator
from nas.budgets import count_costs
from nas.data.datasets import SearchData
from nas.data.settings import Simulated
from nas.evaluation.course import first_passes, rung_passes
from nas.evaluation.float_twin import EXTRA
from nas.runs import check_budget, front_in, make_problem
from nas.runs.config import RunConfig
from nas.runs.needs import check_needs
from nas.runs.placement import workers_and_threads
from nas.runs.quantized import quantization_of
from nas.search.problem import Problem
from nas.search.start import first_genotypes, starts_of
from nas.timing.bench import Workload, engine_speed, worker_pool
from nas.timing.forecast import REHEARSALS, ForecastTrial, forecast
from nas.training import Training
from nas.training.alarm import alarm_passes, held_out
from nas.training.methods import method_of
from nas.training.steps import step_sizes
from search_spaces import NetworkSpec


def coverage(config: RunConfig, data: SearchData, sample_size: int = 2000) -> Mapping[str, Any]:
    """What a search of `config` would cover, JSON-ready (see `nas check`).

    `begins_with` is for a run that is created now: how many architectures are proposed before the sampler proposes
    any, how many of them are anchors, and what exceeds the budget. Raises ConfigError as
    `nas.search.start.starts_of`.
    """
    config = config.above_chance(data)
    problem = make_problem(config, data)
    check_budget(problem)
    check_needs(config, problem.space)
    anchors = first_genotypes(problem, config.search.anchors)
    first = first_genotypes(_begun(config, data), config.search.anchors)
    rng = Random(0)
    space = problem.space
    drawn = [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(sample_size))]
    costs = [problem.costs(genotype) for genotype in drawn]
    within = [c for c in costs[2:] if problem.budget.allows(c)]
    ranges = {
        f.name: [min(getattr(c, f.name) for c in costs), max(getattr(c, f.name) for c in costs)]
        for f in dataclasses.fields(Costs)
    }
    workers, threads = workers_and_threads(config)
    typical = sorted(c.params for c in within or costs[:1])[len(within or costs[:1]) // 2]
    return {
        "name": config.name,
        "data": {"train": len(data.train),
                 "candidate": min(len(data.train), config.search.train_images or len(data.train)),
                 "validation": len(data.validation), "classes": data.num_classes,
                 "input_shape": data.input_shape, "images_per_class": _images_per_class(data),
                 "warnings": list(data.warnings)},
        "genotypes": space.size,
        "choices": {choice.name: list(choice.options) for choice in space.choices},
        "costs": ranges,
        "within_budget": len(within) / sample_size,
        "sampled": sample_size,
        "objectives": {o.name: o.direction for o in problem.objectives},
        "constraints": list(config.constraints),
        "reference_point": dict(zip((o.name for o in problem.objectives), problem.reference_point, strict=True)),
        "trials": config.search.trials,
        "begins_with": {
            "architectures": len(first),
            "anchors": len(anchors),
            "over_budget": sum(not problem.budget.allows(problem.costs(genotype)) for genotype in first),
            "anchors_over_budget": [
                name for name, genotype in zip(("smallest", "largest"), anchors, strict=False)
                if not problem.budget.allows(problem.costs(genotype))
            ],
        },
        "workers": workers,
        "threads_per_worker": threads,
        "device": str(resolve_device(config.device)),
        "disk_bytes": config.search.trials * (4 * typical + 20_000),
    }  # fmt: skip


def _images_per_class(data: SearchData) -> dict[str, dict[str, int | None]]:
    """Images of each class that are used for training and validation, and test images where their number is known."""
    used = torch.cat([data.train.labels, data.validation.labels]).bincount(minlength=data.num_classes).tolist()
    test = data.test_counts or {}
    return {name: {"train": used[label], "test": test.get(name)} for label, name in enumerate(data.class_names)}


def search_time(config: RunConfig, data: SearchData) -> dict[str, Any]:
    """Seconds and candidates per hour of a search of `config` on an otherwise idle machine, JSON-ready.

    Which candidates it would train, for how many epochs and with which rungs of the attack ladder is a forecast
    (nas/timing/forecast.py). Training and scoring are measured on three of these (smallest, middle one, largest), in
    as many processes as the search will have, for about a second each; all others are between them, by their MACs.
    Starting takes what this process has spent so far and its workers took to start. A supernet's step is taken to cost
    as much as that of its subnets by themselves, on one worker.
    """
    workers, threads = workers_and_threads(config)
    problem, part = _begun(config, data), data.trained_on(config.search.train_images)
    courses = [course for index in range(REHEARSALS) for course in forecast(problem, config.search, index)]
    macs = [problem.costs(course.genotype).macs for course in courses]
    measured = []
    began = perf_counter()
    with worker_pool(workers, threads) as speeds:
        startup = process_time() + perf_counter() - began
        for index in _typical(macs):
            spec = problem.space.spec(courses[index].genotype)
            found = speeds(_workload(config, part, spec, macs[index]))
            training, scoring = (sum(part[key] for part in found) / workers for key in ("training", "scoring"))
            measured.append({"macs": macs[index], "training": training, "scoring": scoring,
                             "memory_bytes": max(part["memory_bytes"] for part in found)})  # fmt: skip
    at = [one["macs"] for one in measured]
    per_image = {key: np.interp(macs, at, [1 / one[key] for one in measured]) for key in ("training", "scoring")}
    work = [_images(config, part, course) for course in courses]
    seconds = [
        trained * training + scored * scoring
        for (trained, scored), training, scoring in zip(work, per_image["training"], per_image["scoring"], strict=True)
    ]
    total = math.fsum(course.weight * one for course, one in zip(courses, seconds, strict=True)) / REHEARSALS
    mean = total / sum(course.weight / REHEARSALS for course in courses)
    again = [one for course, one in zip(courses, seconds, strict=True) if course.is_on_front]
    total += (config.evaluation.seeds - 1) * math.fsum(again) / REHEARSALS
    # Workers end at different times: on average each but one waits for half a candidate.
    total += mean * (workers - 1) / 2
    supernet = _supernet_images(config, data) * sum(1 / one["training"] for one in measured) / len(measured)
    manifold = _manifold_seconds(config, data)
    whole = ForecastTrial(problem.space.smallest(), config.training.epochs, ["attack"])
    for one in measured:
        trained, scored = _images(config, part, whole)
        one["seconds"] = trained / one["training"] + scored / one["scoring"]
    return {
        "seconds_per_candidate": mean,
        "candidates_per_hour": 3600 * workers / mean,
        "supernet_seconds": supernet,
        "manifold_seconds": manifold,
        "startup_seconds": startup,
        "search_seconds": startup + supernet + manifold + total / workers,
        "memory_bytes": workers * max(one["memory_bytes"] for one in measured),
        "workers": workers,
        "threads_per_worker": threads,
        "device": str(resolve_device(config.device)),
        "networks": measured,
    }


def retraining_time(
    config: RunConfig,
    data: SearchData,
    spec: NetworkSpec | None = None,
    epochs: int | None = None,
    standing: float = 1.0,
) -> dict[str, Any]:
    """Seconds of a retraining and of its final evaluation, JSON-ready, measured in this process with all cores.

    `spec` is the network (None: one of middle size), `epochs` those to come (None: all), `standing` the share of the
    test images that the attacks after the first will meet. Sets torch's number of threads to the cores.
    """
    claim_threads(available_cores())
    spec = spec or _middle_sized(config, data)
    retrain, settings, epochs = config.retrain, config.evaluation, config.retrain.epochs if epochs is None else epochs
    own = config.model_copy(update={"training": retrain})
    speed = engine_speed(_workload(own, data, spec, count_costs(spec, config.deployment).macs))()
    trained = sum(step_sizes(len(data.train), retrain.batch_size))  # in an epoch
    classes = spec.num_classes
    a_pass = 1 / (speed["scoring"] * _scored_passes(config, classes))
    validations = -(-epochs // retrain.validate_every) * len(data.validation)
    tested = _test_images(config, data)
    rounds = quantization_of(config.treatments) is not None
    passes = rung_passes("final", settings, classes, tested, round(standing * tested), is_quantized=rounds)
    return {
        "training_seconds": epochs * trained / speed["training"]
        + validations * (retrain.validation_attack.passes(classes) + 1) * a_pass
        + _alarm_passes(retrain, data, range(retrain.epochs - epochs + 1, retrain.epochs + 1)) * a_pass,
        "evaluation_seconds": passes * a_pass,
        "epochs": epochs,
        "attacks": (1 + len(settings.ladder.final) + EXTRA * rounds) * (1 + len(settings.threats)),
        "test_images": tested,
        "standing": standing,
    }


TEST_IMAGES = {"digits": 359, "cifar10": 10_000, "svhn": 26_032}
"""Of data sets whose test part only loading tells; one of a plugin is taken to have as many as validation images."""


def _test_images(config: RunConfig, data: SearchData) -> int:
    """Images that the final evaluation scores."""
    known = TEST_IMAGES.get(data.name, len(data.validation))
    count = known if data.test_counts is None else sum(data.test_counts.values())
    return min(count, config.data.test_limit or count, config.evaluation.final_images or count)


def _middle_sized(config: RunConfig, data: SearchData) -> NetworkSpec:
    """Network with the median of the MACs of random ones within the budget."""
    problem, rng = make_problem(config, data), Random(0)
    drawn = [problem.space.smallest(), *(problem.space.sample(rng) for _ in range(300))]
    macs = {index: costs.macs for index, costs in enumerate(map(problem.costs, drawn)) if problem.budget.allows(costs)}
    order = sorted(macs, key=lambda index: macs[index]) or [0]
    return problem.space.spec(drawn[order[len(order) // 2]])


def _begun(config: RunConfig, data: SearchData) -> Problem:
    """Problem of `config`, with what a run that is created now would begin with."""
    problem = make_problem(config, data)
    starts = starts_of(config.search.start_from, problem, front_in)
    return dataclasses.replace(problem, first=tuple(start.genotype for start in starts))


def _typical(macs: Sequence[int]) -> list[int]:
    """Indices of the smallest, the middle and the largest of `macs`."""
    order = sorted(range(len(macs)), key=lambda index: macs[index])
    return [order[0], order[len(macs) // 2], order[-1]]


def _images(config: RunConfig, data: SearchData, course: ForecastTrial) -> tuple[float, float]:
    """Images that a candidate trains on in all its epochs, and for which `evaluation.attack` takes as its scoring."""
    epochs = 0 if config.search.evaluator == "supernet" else course.epochs
    settings, classes = config.evaluation, data.num_classes
    validation = min(len(data.validation), settings.max_images or len(data.validation))
    rounds, standing = quantization_of(config.treatments) is not None, round(course.robust * validation)
    passes = sum(
        rung_passes(rung, settings, classes, validation, standing, is_quantized=rounds) for rung in course.rungs
    )
    tracked = epochs * validation * config.training.track_every_epoch * (1 + len(settings.threats))
    an_epoch = sum(step_sizes(len(data.train), config.training.batch_size))
    passes += _alarm_passes(config.training, data, range(1, epochs + 1))
    return epochs * an_epoch, tracked + passes / _scored_passes(config, classes)


def _scored_passes(config: RunConfig, num_classes: int) -> float:
    """Passes for one image of the scoring that is measured: a quantized network's float twin meets the attack, too."""
    settings, rounds = config.evaluation, quantization_of(config.treatments) is not None
    return first_passes(settings.attack, settings, num_classes) + rounds * settings.attack.passes(num_classes)


def _alarm_passes(training: Training, data: SearchData, epochs: range) -> float:
    """Passes of the alarm behind those `epochs` of a training."""
    if not training.alarm:
        return 0
    watched = len(held_out(data.validation, len(data.train)))
    return alarm_passes(method_of(training).attack, epochs, training.epochs, watched)


def _supernet_images(config: RunConfig, data: SearchData) -> int:
    """Images that the subnets of a supernet train on, one after the other; 0 where there is none."""
    if config.search.evaluator == "scratch":
        return 0
    settings = config.supernet
    return settings.epochs * (2 + settings.subnets) * sum(step_sizes(len(data.train), settings.batch_size))


def _workload(config: RunConfig, data: SearchData, spec: NetworkSpec, macs: int) -> Workload:
    """Steps of the config's training and scoring, on fewer images where a whole batch would take many seconds."""
    device = str(resolve_device(config.device))
    trained = max(step_sizes(len(data.train), config.training.batch_size))
    scored = min(config.evaluation.batch_size, len(data.validation))
    if device == "cpu":
        passes = _scored_passes(config, data.num_classes)
        trained = max(8, min(trained, STEP_MACS // (macs * (2 * config.training.attack.steps + 7))))
        scored = max(8, min(scored, int(STEP_MACS / (macs * 2 * passes))))
    training = config.training.model_copy(update={"batch_size": trained})
    # Without measures and other threats, which are a small part of scoring.
    evaluation = config.evaluation.model_copy(update={"batch_size": scored, "threats": {}, "measures": ()})
    return Workload(
        spec, config.threat, training, evaluation, device, 0.5, config.plugins, config.plugin_folder,
        config.treatments, _manifold(config, data) if training.on_manifold.weight else None,
    )  # fmt: skip


def _manifold(config: RunConfig, data: SearchData) -> Pca | Vae | None:
    """Manifold whose codes cost as much as those of the config's, which is not made yet."""
    settings = config.manifold
    if isinstance(settings, Known):
        return Pca(dimensions=data.settings.dimensions) if isinstance(data.settings, Simulated) else None
    return Pca(dimensions=estimated_dimensions(settings, data.train)) if isinstance(settings, Pca) else settings


def _manifold_seconds(config: RunConfig, data: SearchData) -> float:
    """Seconds that a variational autoencoder trains, by a few of its steps with all cores; 0 for other manifolds."""
    settings, device = config.manifold, resolve_device(config.device)
    if not isinstance(settings, Vae):
        return 0.0
    claim_threads(available_cores())
    drawn = make_generator(0, "manifold", device=device)
    state = start_vae(untrained(settings, data.input_shape, data.num_classes).to(device), settings, drawn)
    few = data.train[: 4 * settings.batch_size].to(device)
    state.train_epoch(few)
    began = perf_counter()
    state.train_epoch(few)
    return settings.epochs * len(data.train) / len(few) * (perf_counter() - began)


STEP_MACS = 20_000_000_000
"""Arithmetic of about a second on one core of 2024."""
