"""Fronts by the test images: what is left of them once nobody chooses by the scores.

    python -m tests.benchmarks.front_on_test runs/one_shot_digits runs/plain

A search picks the luckiest of its scores on the validation images, and the more it scores the luckier they are. Here
the members of each run's front are attacked once on the test images, with the weights that they were scored with and
the run's own attack. One JSON line for each run: hypervolume and mean robust accuracy by both splits.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from statistics import fmean
from typing import Any

from nas.base.machine import available_cores, claim_threads
from nas.base.seeding import make_generator
from nas.data.datasets import load_test_data
from nas.evaluation.evaluate import evaluate
from nas.pareto import hypervolume
from nas.runs import open_run
from nas.runs.work import trained_network


def measure(folder: Path) -> dict[str, Any]:
    """Front of the run in `folder`, by both splits."""
    run = open_run(folder)
    config, objectives, reference = run.config, run.config.parsed_objectives, run.reference_point()
    test = load_test_data(config.data)
    members = run.front().records
    tested = []
    for record in members:
        generator = make_generator(record.seed, "front on test")
        network = trained_network(run, record)
        found = evaluate(network, test, config.threat, config.evaluation, generator, split_name="test")
        tested.append(dataclasses.replace(record, evaluation=found))
    by = {"validation": members, "test": tested}
    return {"run": folder.name, "members": len(members), "images": len(test)} | {
        f"{what}_{split}": value
        for split, records in by.items()
        for what, value in (
            ("hypervolume", round(hypervolume(records, objectives, reference), 4)),
            ("robust", round(fmean(r.evaluation.robust_accuracy for r in records if r.evaluation), 4)),
        )
    }


def main() -> None:
    """Prints one JSON line for each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("runs", nargs="+", type=Path)
    claim_threads(available_cores())
    for folder in parser.parse_args().runs:
        print(json.dumps(measure(folder)), flush=True)


if __name__ == "__main__":
    main()
