"""Ten planted defects are caught, each by the check of its name; ten honest networks raise nothing."""

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.attacks import Pgd
from nas.attacks.result import AttackResult
from nas.attacks.threat import ThreatModel
from nas.base.records import Fidelity
from nas.data.domain import Domain
from nas.evaluation import EvaluationSettings, Ladder
from nas.evaluation.evaluate import Scored, score
from nas.evaluation.trust import CHECKS, DEEP, SHALLOW
from tests import honest
from tests.builders import generator
from tests.honest import RECIPES, digits_config, digits_data, honest_network


@pytest.fixture(scope="module", autouse=True)
def _shared(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One folder for all processes of this test run; pytest removes it."""
    own = tmp_path_factory.getbasetemp()
    honest.SHARED = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "honest"


QUICK = EvaluationSettings(attack=Pgd(steps=20), ladder=Ladder(front=(), final=(), trust_images=64))


def judged(
    network: nn.Module,
    settings: EvaluationSettings = QUICK,
    fidelity: Fidelity = "final",
    before: Scored | None = None,
    count: int = 160,
) -> Scored:
    return score(
        network,
        digits_data().validation[:count],
        digits_config().threat,
        settings,
        generator(5),
        split_name="validation",
        fidelity=fidelity,
        before=before,
    )


def failed(scored: Scored) -> set[str]:
    return {check.name for check in scored.evaluation.failed_checks}


class Wrapped(nn.Module):
    """`after(network(before(x)))`."""

    def __init__(
        self, before: Callable[[Tensor], Tensor] | None = None, after: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.network, self.before, self.after = copy.deepcopy(honest_network(1)), before, after

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.network(x if self.before is None else self.before(x))
        return z if self.after is None else self.after(z)


class BatchStatistics(Wrapped):
    """Batch-norm of this network always works in training mode, whatever mode it is in."""

    def train(self, mode: bool = True) -> "BatchStatistics":
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.training = True
                module.momentum = 0.0
        return self

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.train() else x


class NoisyInput(Wrapped):
    def __init__(self) -> None:
        super().__init__()
        self.generator = generator(3)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + torch.empty_like(x).normal_(0, 0.05, generator=self.generator))


class LeavesTheBall(Pgd):
    def run(self, network: Any, x: Tensor, labels: Tensor, threat: ThreatModel, g: torch.Generator) -> AttackResult:
        wider = ThreatModel(norm=threat.norm, epsilon=1.5 * threat.epsilon)
        return super().run(network, x, labels, wider, g)


class StopsAfterOneStep(Pgd):
    def run(self, network: Any, x: Tensor, labels: Tensor, threat: ThreatModel, g: torch.Generator) -> AttackResult:
        return Pgd(steps=1, step_size=threat.epsilon / 4).run(network, x, labels, threat, g)


class Lying(torch.autograd.Function):
    """Passes pixels on; gradients come back turned around."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return -gradient


def sharpened(x: Tensor) -> Tensor:
    """Makes noise three times as large: whatever processor trained the network, enough images fall to it."""
    return x + 2 * (x - F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))


def lying(index: int, before: Callable[[Tensor], Tensor] = lambda x: x) -> nn.Module:
    network = Wrapped(before=lambda x: Lying.apply(before(x)))
    network.network = copy.deepcopy(honest_network(index))
    return network


class LowPrecision(Wrapped):
    """Autocasts by itself, and gives 32 bits again."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(x).float()


class Halfhearted(Pgd):
    """Stays in a tenth of the ball."""

    def run(self, network: Any, x: Tensor, labels: Tensor, threat: ThreatModel, g: torch.Generator) -> AttackResult:
        return super().run(network, x, labels, ThreatModel(norm=threat.norm, epsilon=threat.epsilon / 10), g)


class StaysInTraining(nn.Module):
    """Batch-norm of vectors that cannot leave training mode: it refuses a single image."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.norm = copy.deepcopy(honest_network(1)), nn.BatchNorm1d(10, momentum=0.0)

    def train(self, mode: bool = True) -> "StaysInTraining":
        super().train(mode)
        self.norm.training = True
        return self

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.norm(self.network(x))
        return z


def with_a_masked_class(z: Tensor) -> Tensor:
    return torch.cat([z - z.mean(0), torch.full_like(z[:, :1], -1e9)], 1)


def not_a_number(z: Tensor) -> Tensor:
    return torch.where(z.argmax(1, keepdim=True) == 3, torch.nan, z)


def mixed(z: Tensor) -> Tensor:
    return z + 0.2 * z.roll(1, 0)


@dataclass(frozen=True)
class Defect:
    caught_by: str
    network: Callable[[], nn.Module]
    settings: EvaluationSettings = QUICK


def attacked_by(attack: Pgd) -> EvaluationSettings:
    return QUICK.model_copy(update={"attack": attack})


def in_training_mode() -> nn.Module:
    return copy.deepcopy(honest_network(1)).train()


DEFECTS = {
    "batch-norm left in training mode": Defect("eval_mode", in_training_mode),
    "batch-norm that cannot be frozen": Defect("independence", BatchStatistics),
    "softmax outputs": Defect("logits", lambda: Wrapped(after=lambda z: z.softmax(1))),
    "saturated logits": Defect("logit_scale", lambda: Wrapped(after=lambda z: 1e4 * z)),
    "quantised gradients": Defect("gradients", lambda: Wrapped(after=lambda z: (8 * z).round() / 8)),
    "random input noise": Defect("deterministic", NoisyInput),
    "non-differentiable preprocessing": Defect("gradients", lambda: Wrapped(before=lambda x: (16 * x).round() / 16)),
    "preprocessing outside the graph": Defect("gradients", lambda: Wrapped(before=lambda x: x.detach() ** 1.1)),
    "NaN logits on some inputs": Defect("finite_logits", lambda: Wrapped(after=not_a_number)),
    "an attack that leaves the ball": Defect("threat_model", Wrapped, attacked_by(LeavesTheBall())),
    "an attack stopped after one step": Defect("converged", Wrapped, attacked_by(StopsAfterOneStep())),
    "outputs that depend on batch order": Defect("independence", lambda: Wrapped(after=mixed)),
    "batch dependence beside a masked class": Defect("independence", lambda: Wrapped(after=with_a_masked_class)),
    "batch dependence beside a large offset": Defect("independence", lambda: Wrapped(after=lambda z: mixed(z) + 1e4)),
    "batch-norm that refuses a single image": Defect("independence", StaysInTraining),
    "scaled probabilities": Defect("logits", lambda: Wrapped(after=lambda z: 2 * z.softmax(1))),
    "autocast inside the network": Defect("float32", LowPrecision),
    "steps that cannot cross the ball": Defect("reach", Wrapped, attacked_by(Pgd(steps=3, step_size=0.01))),
    "an attack that stays near the image": Defect("monotone", Wrapped, attacked_by(Halfhearted())),
    "gradients that point downhill, noise": Defect("noise", lambda: lying(8, sharpened)),
    "gradients that point downhill, black box": Defect("black_box", lambda: lying(1)),
    "gradients that point downhill, large epsilon": Defect("large_epsilon", lambda: lying(4)),
}  # fmt: skip


@pytest.fixture(scope="module")
def sound() -> Scored:
    """An honest network with all checks."""
    return judged(honest_network(1))


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_caught_by_name(name: str) -> None:
    defect = DEFECTS[name]
    if defect.caught_by in SHALLOW:  # without further attacks, which the deep checks make
        found = judged(defect.network(), defect.settings, "attack", count=24)
    else:
        found = judged(defect.network(), defect.settings)
    assert defect.caught_by in failed(found)
    words = next(check.words for check in found.evaluation.checks if check.name == defect.caught_by)
    assert words in found.evaluation.warnings, "a failed check travels as a warning"


def test_every_check_has_a_defect_that_it_catches() -> None:
    assert {defect.caught_by for defect in DEFECTS.values()} == set(CHECKS)


@pytest.mark.parametrize("index", range(len(RECIPES)))
def test_an_honest_network_raises_nothing(index: int) -> None:
    network = honest_network(index)
    settings = digits_config().evaluation
    found = None
    for fidelity in settings.ladder.search_rungs:
        found = judged(network, settings, fidelity, found)
        assert failed(found) == set(), found.evaluation.failed_checks
    assert found is not None
    assert [check.name for check in found.evaluation.checks] == list(CHECKS)
    if index % 2 == 0 and RECIPES[index][0] != "natural":  # elsewhere PGD-20 alone need not have converged
        assert failed(judged(network)) == set()


def test_every_check_is_registered_under_its_name(sound: Scored) -> None:
    assert [check.name for check in sound.evaluation.checks] == list(CHECKS)
    assert set(SHALLOW).isdisjoint(DEEP)
    assert [check.name for check in judged(honest_network(1), fidelity="attack").evaluation.checks] == list(SHALLOW)


def test_every_check_of_an_honest_network_says_something_and_has_figures(sound: Scored) -> None:
    for check in sound.evaluation.checks:
        assert check.words
        assert check.figures
        assert all(isinstance(value, int | float) for value in check.figures.values())


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.4), ("l2", 0.4 * 18**0.5)])
def test_the_ball_that_reaches_grey_is_measured_in_the_domain(norm: str, epsilon: float) -> None:
    threats = []

    def broken(_: object, natural: Tensor, threat: ThreatModel) -> int:
        threats.append(threat)
        return int(natural.sum())

    probe: Any = SimpleNamespace(
        x=torch.zeros(4, 2, 3, 3), y=torch.arange(4), threat=ThreatModel(norm=norm, epsilon=0.1),  # type: ignore[arg-type]
        domain=Domain(-0.4, 0.4), scores=SimpleNamespace(natural=torch.ones(4, dtype=torch.bool)),
        head=lambda flags: flags, usual=Pgd, broken=broken,
    )  # fmt: skip
    assert CHECKS["large_epsilon"](probe).passed
    assert [(threat.norm, threat.epsilon) for threat in threats] == [(norm, pytest.approx(epsilon))]
