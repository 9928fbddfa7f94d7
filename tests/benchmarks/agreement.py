"""Do our attacks find what the reference implementations find? `python -m tests.benchmarks.agreement`.

Digits networks of four sizes and three training methods are attacked by both sides with the same parameters, on the
same images: PGD against torchattacks, Auto-PGD and AutoAttack against pyautoattack. torchattacks counts the last
iterate only, so that accuracy of ours is compared; the stricter one, over all iterates, stands beside it. Noise comes
from one seed on both sides; after the first target, APGD-T draws it for all images here, there for standing ones.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.attacks import Apgd, AutoAttack, Pgd
from nas.attacks.threat import ThreatModel
from nas.base.machine import claim_threads
from nas.budgets import Deployment, count_costs
from nas.data.datasets import SearchData, load_search_data
from nas.data.split import Split
from nas.runs.config import RunConfig
from search_spaces.network import Network
from tests.benchmarks.equal_accuracy import digits_config, spec_of
from tests.builders import briefly_trained

SIZES = {0.25: 1, 0.5: 2, 0.75: 3, 1.0: 4}
"""Expand ratio of the networks of each width."""
EPSILONS = {"trades": 0.1, "madry": 0.1, "natural": 0.03}
"""Radius at which networks of each training method are neither unbroken nor all broken."""
PAIRS = ("PGD", "APGD-CE", "APGD-T", "AutoAttack")


@dataclass(frozen=True)
class Subject:
    """A trained network and the ball it is attacked in."""

    name: str
    params: int
    network: Network
    threat: ThreatModel


def subjects(config: RunConfig, data: SearchData, epochs: int) -> Iterator[Subject]:
    """Twelve networks, trained one by one."""
    for width, expand in SIZES.items():
        for method, epsilon in EPSILONS.items():
            values = {f"width_{i}": width for i in range(1, 5)} | {f"expand_{i}": expand for i in range(2, 5)}
            spec = spec_of(config, values)
            settings = config.training.model_copy(update={"method": method, "epochs": epochs})
            network = briefly_trained(spec, settings, config.threat, data, seed=0)
            threat = config.threat.model_copy(update={"epsilon": epsilon})
            params = count_costs(spec, Deployment()).params
            yield Subject(f"{width:g} × {expand}, {method}", params, network, threat)


def accuracies(subject: Subject, images: Split, steps: int, queries: int, seed: int = 0) -> dict[str, list[float]]:
    """Robust accuracies [ours, theirs] of every pair, in percent, and our PGD over all iterates."""
    import torchattacks
    from pyautoattack import AutoAttack as TheirAutoAttack
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

    network, threat = subject.network.eval(), subject.threat
    everything, classes = images.images.float() / 255, images.labels
    with torch.no_grad():  # their noise is drawn for correctly classified images only: those alone are attacked
        correct = network(everything).argmax(1) == classes
    x, labels = everything[correct], classes[correct]
    radius = {"norm": "Linf", "eps": threat.epsilon}
    pgd = Pgd(steps=20, step_size=threat.epsilon / 10)

    def accuracy(fooled: Tensor) -> float:
        return 100 * int((~fooled).sum()) / len(images)

    def wrong(adversarial: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = network(adversarial).argmax(1) != labels
        return found

    def ours(attack: Apgd | AutoAttack) -> float:
        return accuracy(attack.run(network, x, labels, threat, _generator(seed)).fooled)

    result = pgd.run(network, x, labels, threat, _generator(seed))
    found = {"PGD": [accuracy(wrong(result.adversarial))], "PGD, all iterates": [accuracy(result.fooled)]}
    found["APGD-CE"] = [ours(Apgd(steps=steps))]
    found["APGD-T"] = [ours(Apgd(steps=steps, loss="targeted_dlr"))]
    found["AutoAttack"] = [ours(AutoAttack(steps=steps, queries=queries))]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        theirs = torchattacks.PGD(network, eps=threat.epsilon, alpha=threat.epsilon / 10, steps=20)
        found["PGD"].append(accuracy(wrong(theirs(x, labels))))
        for name, kind in (("APGD-CE", APGDAttack), ("APGD-T", APGDAttack_targeted)):
            found[name].append(accuracy(wrong(kind(network, n_iter=steps, seed=seed, **radius).perturb(x, labels))))
        drawn = int(torch.randint(2**31 - 1, (1,), generator=_generator(seed)))  # the seed that our run draws
        standard = TheirAutoAttack(network, seed=drawn, **radius)
        for part in (standard.apgd, standard.apgd_targeted):
            part.n_iter = steps
            part.n_iter_2, part.n_iter_min = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1)
            part.size_decr = max(int(0.03 * steps), 1)
        standard.fab.n_iter, standard.square.n_queries = steps, queries
        adversarial, _ = standard.run_standard_evaluation(x, labels, batch_size=len(x))
        found["AutoAttack"].append(accuracy(wrong(adversarial)))
    return found


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def table(rows: list[tuple[Subject, dict[str, list[float]]]]) -> str:
    """Markdown: ours / theirs in percent for every network, then the largest and the mean difference in points."""
    columns = ("PGD, all iterates", *PAIRS)
    lines = [
        "| network | params | ε | " + " | ".join(columns) + " |",
        "|---|---|---|" + "---|" * len(columns),
    ]
    for subject, found in rows:
        cells = [" / ".join(f"{value:.2f}" for value in found[name]) for name in columns]
        lines.append(f"| {subject.name} | {subject.params} | {subject.threat.epsilon:g} | {' | '.join(cells)} |")
    for title, summary in (("largest difference", max), ("mean difference", lambda found: sum(found) / len(found))):
        cells = [f"{summary([abs(f[name][0] - f[name][1]) for _, f in rows]):.2f}" for name in PAIRS]
        lines.append(f"| {title} | | | | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--steps", type=int, default=100, help="of Auto-PGD and FAB")
    parser.add_argument("--queries", type=int, default=5000, help="of Square")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    claim_threads(arguments.threads)
    config = digits_config()
    data = load_search_data(config.data)
    rows = []
    for subject in subjects(config, data, arguments.epochs):
        started = time.perf_counter()
        found = accuracies(subject, data.validation[: arguments.images], arguments.steps, arguments.queries)
        rows.append((subject, found))
        print(json.dumps({"network": subject.name, "seconds": time.perf_counter() - started, **found}), flush=True)
    print(f"\n{min(arguments.images, len(data.validation))} validation images, ours / theirs in %\n\n{table(rows)}")


if __name__ == "__main__":
    main()
