"""The plain loop is TRADES, and the comparison reports what it measured."""

import copy
import io

import torch
from rich.console import Console

from nas.attacks.threat import ThreatModel
from nas.evaluation import EvaluationSettings
from nas.networks.view import view_of
from nas.report.tables import bench_table
from nas.timing.bench import Workload, compare, plain_trades_step
from nas.training import Training
from nas.training.loop import start_training
from nas.training.losses import trades_loss
from nas.training.settings import InnerAttack
from tests.builders import generator, maximise_kl, tiny_images, tiny_network

THREAT = ThreatModel(epsilon=0.06)


def test_the_plain_loop_and_the_engine_take_the_same_step() -> None:
    # Same noise, same attack, same loss: what is compared differs in speed only. In float64, where a sign decides
    # as the formula says; batch-norm's statistics differ (2 : 1 against 1 : 1) and are no part of the step.
    engine = tiny_network().double()
    plain = copy.deepcopy(engine)
    split = tiny_images(12)
    x, y = 0.2 + 0.6 * split.images.double() / 255, split.labels  # inside the box, where clipping the start is idle
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    plain_trades_step(plain, optimizer, x, y, THREAT.epsilon, 0.02, 4, 3.0, generator())
    settings = Training(attack=InnerAttack(steps=4, step_size=0.02), beta=3, ema_decay=0, momentum=0, weight_decay=0)
    state = start_training(engine, settings, generator())
    x_adv = maximise_kl(view_of(engine), x, THREAT, settings.attack, generator())
    engine.train()
    trades_loss(engine(x), engine(x_adv), y, 3.0).backward()  # type: ignore[no-untyped-call]
    for group in state.optimizer.param_groups:
        group["lr"] = 0.1
    state.optimizer.step()
    for name, value in plain.named_parameters():
        torch.testing.assert_close(dict(engine.named_parameters())[name], value, rtol=1e-7, atol=1e-9, msg=name)


def test_the_comparison_reports_rates_and_ratios_of_the_same_rounds() -> None:
    spec = tiny_network().spec
    training = Training(batch_size=8, attack=InnerAttack(steps=2, step_size=0.03))
    reported: list[int] = []
    found = compare(
        Workload(spec, THREAT, training, EvaluationSettings(batch_size=8), seconds=0.01), 2, 1, 1, reported.append
    )
    assert reported == [1, 2]
    for side in ("plain", "engine", "plain_machine", "machine"):
        for kind in ("training", "scoring"):
            spread = found[side][kind]
            assert 0 < spread["low"] <= spread["median"] <= spread["high"]
    ratio = found["engine"]["ratio"]["training"]
    assert ratio["low"] >= found["engine"]["training"]["low"] / found["plain"]["training"]["high"]
    assert found["machine"]["ratio"]["training"]["low"] >= (
        found["machine"]["training"]["low"] / found["plain_machine"]["training"]["high"]
    )
    assert "ratio" not in found["plain"]
    assert "ratio" not in found["plain_machine"]
    shown = Console(width=110, record=True, file=io.StringIO())
    shown.print(bench_table(found))
    text = shown.export_text()
    rows = [line.split("  ")[0].strip(" │") for line in text.splitlines() if " of 1 thread" in line]
    assert rows == ["1 plain loop of 1 thread", "1 worker of 1 thread"] * 2, text
    assert found["params"] == sum(p.numel() for p in tiny_network().parameters())
