"""What a search would cover, and how long it will take on this machine, measured on a few of its own networks."""

import dataclasses
from collections.abc import Mapping
from random import Random
from typing import Any

import torch

from nas.bench import Workload, engine_speed, worker_pool
from nas.budgets import count_costs
from nas.config import RunConfig
from nas.crew import workers_and_threads
from nas.data import SearchData
from nas.data.sources import ImageFolder
from nas.evaluation import scoring_passes
from nas.evaluation.ladder import attacks_of
from nas.machine import available_cores, claim_threads, resolve_device
from nas.needs import check_needs
from nas.records import Costs
from nas.runs import check_budget, front_in, make_problem
from nas.search.start import first_genotypes, starts_of
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
    starts = starts_of(config.search.start_from, problem.space, front_in)
    anchors = first_genotypes(problem, config.search.anchors)
    begun = dataclasses.replace(problem, first=tuple(start.genotype for start in starts))
    first = first_genotypes(begun, config.search.anchors)
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
        "data": {"train": len(data.train), "validation": len(data.validation), "classes": data.num_classes,
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
    """Seconds and candidates per hour of a search of `config`, JSON-ready.

    Measures training and scoring of three networks (small, middle, large among random ones within the budget) in as
    many processes as the search will have, for about a second each, and takes the mean. A supernet's step is taken to
    cost as much as that of its subnets by themselves, on one worker. What halts early, is reused or is cut short is
    not foreseen.
    """
    epochs = 0 if config.search.evaluator == "supernet" else config.training.epochs
    workers, threads = workers_and_threads(config)
    images = min(len(data.validation), config.evaluation.max_images or len(data.validation))
    trained = sum(step_sizes(len(data.train), config.training.batch_size))  # in an epoch
    measured = []
    with worker_pool(workers, threads) as speeds:
        for spec, macs in _typical(config, data):
            found = speeds(_workload(config, len(data.train), spec, macs))
            training, scoring = (sum(part[key] for part in found) / workers for key in ("training", "scoring"))
            scorings = 1 + epochs * config.training.track_every_epoch
            seconds = epochs * trained / training + scorings * images / scoring
            measured.append({"macs": macs, "training": training, "scoring": scoring, "seconds": seconds,
                             "memory_bytes": max(part["memory_bytes"] for part in found)})  # fmt: skip
    mean = sum(one["seconds"] for one in measured) / len(measured)
    shared = sum(step_sizes(len(data.train), config.supernet.batch_size))
    an_epoch = shared * sum(1 / one["training"] for one in measured) / len(measured)
    has_supernet = config.search.evaluator != "scratch"
    supernet = has_supernet * config.supernet.epochs * (2 + config.supernet.subnets) * an_epoch
    return {
        "seconds_per_candidate": mean,
        "candidates_per_hour": 3600 * workers / mean,
        "supernet_seconds": supernet,
        "search_seconds": supernet + config.search.trials * mean / workers,
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
    spec = spec or _typical(config, data)[1][0]
    retrain, settings, epochs = config.retrain, config.evaluation, config.retrain.epochs if epochs is None else epochs
    own = config.model_copy(update={"training": retrain})
    speed = engine_speed(_workload(own, len(data.train), spec, count_costs(spec, config.deployment).macs))()
    trained = sum(step_sizes(len(data.train), retrain.batch_size))  # in an epoch
    classes = spec.num_classes
    a_pass = 1 / (speed["scoring"] * (settings.attack.passes(classes) + 1))
    validations = -(-epochs // retrain.validate_every) * len(data.validation)
    tested = _test_images(config)
    first, others = attacks_of(settings.ladder, settings.attack, "final", classes)
    assert first is not None, "the final rung begins with the evaluation's own attack"
    passes = scoring_passes(
        (first, *others), settings, classes, tested, round(standing * tested), has_first=True,
        deep=settings.ladder.trust_images > 0,
    )  # fmt: skip
    return {
        "training_seconds": epochs * trained / speed["training"]
        + validations * (retrain.validation_attack.passes(classes) + 1) * a_pass,
        "evaluation_seconds": passes * a_pass,
        "epochs": epochs,
        "attacks": 1 + len(others),
        "test_images": tested,
        "standing": standing,
    }


TEST_IMAGES = {"digits": 359, "cifar10": 10_000, "svhn": 26_032}


def _test_images(config: RunConfig) -> int:
    """Images that the final evaluation scores, counted without reading them."""
    data, limit = config.data, config.evaluation.final_images
    if isinstance(data, ImageFolder):
        count = sum(path.is_file() for path in (data.root / "test").glob("*/*"))
    else:
        count = TEST_IMAGES[data.name]
    return min(count, data.test_limit or count, limit or count)


def _typical(config: RunConfig, data: SearchData) -> list[tuple[NetworkSpec, int]]:
    """Networks at the middle of every third of the MACs of random ones within the budget, with their MACs."""
    problem, rng = make_problem(config, data), Random(0)
    drawn = [problem.space.smallest(), *(problem.space.sample(rng) for _ in range(300))]
    within = sorted((c.macs, index) for index, c in enumerate(map(problem.costs, drawn)) if problem.budget.allows(c))
    within = within or [(problem.costs(drawn[0]).macs, 0)]
    chosen = [within[len(within) * part // 6] for part in (1, 3, 5)]
    return [(problem.space.spec(drawn[index]), macs) for macs, index in chosen]


def _workload(config: RunConfig, images: int, spec: NetworkSpec, macs: int) -> Workload:
    """Steps of the config's training and scoring, on fewer images where a whole batch would take many seconds."""
    device = str(resolve_device(config.device))
    size = max(step_sizes(images, config.training.batch_size))
    if device == "cpu":
        size = max(8, min(size, STEP_MACS // (macs * (2 * config.training.attack.steps + 7))))
    training = config.training.model_copy(update={"batch_size": size})
    evaluation = config.evaluation.model_copy(update={"batch_size": size})
    return Workload(spec, config.threat, training, evaluation, device, 0.5)


STEP_MACS = 20_000_000_000
"""Arithmetic of about a second on one core of 2024."""
