"""`nas evaluate --audit`: our checkpoints and anybody's networks, one page, and what is refused."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from torch import nn

from nas.attacks import Pgd
from nas.attacks.threat import ThreatModel
from nas.data.sources import Digits
from nas.evaluation import EvaluationSettings
from nas.runs.audit import Subject, audit
from tests.builders import TINY_LADDER, tiny_network, torch_threads, with_unknown_activation
from tests.tiny_run import nas, write_config

Capture = pytest.CaptureFixture[str]

THEIRS = """\
import torch
from torch import nn

def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))

def softmax():
    return nn.Sequential(build(), nn.Softmax(1))

def wrong_shape():
    return nn.Sequential(nn.Flatten(), nn.Linear(65, 10))

def few_classes():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

def not_a_network():
    return 3

def needs(argument):
    return build()

def broken():
    raise AttributeError("of their own")

class Refuses(nn.Module):
    def forward(self, x):
        raise AssertionError("no images, please")

def refuses():
    return Refuses()

def half():
    return build().to(torch.bfloat16)

class Normalises(nn.Module):
    def __init__(self, in_place):
        super().__init__()
        self.network, self.in_place = build(), in_place
        self.network[1].weight.data.fill_(0.01)
        self.network[1].bias.data.zero_()
        self.network[4].weight.data.copy_(torch.linspace(-1, 1, 160).reshape(10, 16))

    def forward(self, x):
        x = x.sub_(0.5).div_(0.25) if self.in_place else (x - 0.5) / 0.25
        return self.network(x)

def normalises():
    return Normalises(False)

def normalises_in_place():
    return Normalises(True)

def scripted():
    return torch.jit.script(build())

class Tires(nn.Module):
    def __init__(self):
        super().__init__()
        self.network, self.calls = build(), 0

    def forward(self, x):
        self.calls += 1
        if self.calls > 3:
            raise ValueError("tired")
        return self.network(x)

class NoBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, slope):
        raise RuntimeError("no way back")

class OneWay(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = build()

    def forward(self, x):
        return self.network(NoBackward.apply(x))

def chatty():
    print("loading …")
    return Chatty()

class Chatty(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = build()

    def forward(self, x):
        print("forward")
        return self.network(x)

def exits():
    raise SystemExit("usage: theirs.py [-h]")

class Half(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = build().to(torch.bfloat16)

    def forward(self, x):
        return self.network(x.to(torch.bfloat16))
"""
CONFIG_SET = ("--set", "evaluation.ladder.final=[{name: apgd, steps: 3}, {name: square, queries: 5}]")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"theirs_{abs(hash(tmp_path))}"  # modules are imported once per process
    (tmp_path / f"{name}.py").write_text(THEIRS)
    write_config(tmp_path)
    return tmp_path / f"{name}.py"


def weights(path: Path, seed: int = 0) -> Path:
    with torch.device("meta"):
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: torch.rand(value.shape, generator=generator) if value.is_floating_point() else torch.tensor(0)
        for name, value in network.state_dict().items()
    }
    safetensors.torch.save_file(state, path)
    return path


def audited(capsys: Capture, here: Path, function: str, *options: str | Path):  # type: ignore[no-untyped-def]
    state = torch.random.get_rng_state()  # nn.Linear draws its first weights from the global generator
    try:
        return nas(capsys, "evaluate", "--audit", f"{here.stem}:{function}", *options)
    finally:
        torch.random.set_rng_state(state)


def test_anybodys_network_is_filled_attacked_and_judged(here: Path, capsys: Capture) -> None:
    options = ("--weights", weights(here.parent / "net.safetensors"), "--config", "tiny.yaml", *CONFIG_SET)
    result = json.loads(audited(capsys, here, "build", *options, "--format", "json").out)
    found = result["evaluation"]
    assert result["network"] == f"{here.stem}:build"
    assert found["split"] == "test"
    assert found["num_images"] == 100
    assert [rung["attack"]["name"] for rung in found["ladder"]] == ["pgd", "apgd", "square"]
    assert len(found["checks"]) == 15
    assert result["trusted"] is all(check["passed"] for check in found["checks"])
    assert found["lipschitz_bound_log10"] is None
    again = json.loads(audited(capsys, here, "build", *options, "--format", "json").out)
    assert again == result


def test_the_page_has_the_verdict_the_ladder_and_every_check(here: Path, capsys: Capture) -> None:
    options = ("--config", "tiny.yaml", *CONFIG_SET, "--html", "audit.html", "--split", "validation", "--images", "20")
    printed = audited(capsys, here, "softmax", *options).out
    page = (here.parent / "audit.html").read_text()
    for text in (printed, page):
        assert "NOT TO BE TRUSTED" in text
        assert "probabilities" in text
        for name in ("logits", "converged", "black_box", "large_epsilon", "apgd", "square"):
            assert name in text
    assert "20 validation images" in printed
    for text in (printed, page):
        assert "only 20 of 40 validation images were scored (--images)" in text
    assert page.startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("function", "options", "words"),
    [
        ("nothing", ("--config", "tiny.yaml"), "has no attribute 'nothing'"),
        ("needs", ("--config", "tiny.yaml"), "called without arguments"),
        ("broken", ("--config", "tiny.yaml"), "AttributeError: of their own"),
        ("refuses", ("--config", "tiny.yaml"), "AssertionError: no images, please"),
        ("half", ("--config", "tiny.yaml"), "cannot take images"),
        ("exits", ("--config", "tiny.yaml"), "SystemExit: usage: theirs.py"),
        ("Tires", ("--config", "tiny.yaml", *CONFIG_SET), "ValueError: tired; it must take any number of them"),
        ("OneWay", ("--config", "tiny.yaml", *CONFIG_SET), "the attack on"),
        ("OneWay", ("--config", "tiny.yaml", *CONFIG_SET), "failed: RuntimeError: no way back"),
        ("build", ("--config", "tiny.yaml", "--weights", "."), "is not a safetensors file"),
        ("build", (), "needs --config"),
        ("not_a_network", ("--config", "tiny.yaml"), "returned int"),
        ("wrong_shape", ("--config", "tiny.yaml"), "cannot take images of shape (1, 8, 8)"),
        ("few_classes", ("--config", "tiny.yaml"), "10 or more classes"),
        ("build", ("--config", "tiny.yaml", "--weights", "none.safetensors"), "no weights at"),
        ("build", ("--config", "tiny.yaml", "--weights", "tiny.yaml"), "not a safetensors file"),
    ],
)
def test_what_cannot_be_audited_is_refused_in_words(
    here: Path, capsys: Capture, function: str, options: tuple[str, ...], words: str
) -> None:
    ended = audited(capsys, here, function, *options)
    assert ended.code in (1, 2)
    assert words in " ".join(ended.message.split())
    assert ended.out == ""


def test_a_network_of_low_precision_is_judged_and_named(here: Path, capsys: Capture) -> None:
    options = ("--config", "tiny.yaml", *CONFIG_SET, "--images", "20", "--format", "json")
    result = json.loads(audited(capsys, here, "Half", *options).out)
    failed = {check["name"] for check in result["evaluation"]["checks"] if not check["passed"]}
    assert "float32" in failed


QUICK = ("--config", "tiny.yaml", *CONFIG_SET, "--images", "10", "--format", "json")


def test_a_network_that_normalises_in_place_is_judged_as_one_that_does_not(here: Path, capsys: Capture) -> None:
    found = [json.loads(audited(capsys, here, f"normalises{how}", *QUICK).out) for how in ("", "_in_place")]
    assert found[0]["evaluation"] == found[1]["evaluation"]


def test_a_scripted_network_is_judged(here: Path, capsys: Capture) -> None:
    found = json.loads(audited(capsys, here, "scripted", *QUICK).out)["evaluation"]
    assert [rung["attack"]["name"] for rung in found["ladder"]] == ["pgd", "apgd", "square"]


def test_what_a_network_prints_is_not_part_of_the_result(here: Path, capsys: Capture) -> None:
    ended = audited(capsys, here, "chatty", *QUICK)
    assert json.loads(ended.out)["evaluation"]["num_images"] == 10
    assert "loading" in ended.err
    assert "forward" in ended.err


def test_a_checkpoint_of_other_images_is_refused_by_its_name(
    here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("nas.runs.audit._source", lambda *_: SimpleNamespace(network=tiny_network(input_shape=(3, 8, 8))))
        wrong_shape = audited(capsys, here, "build", *QUICK, "--transfer-from", "runs/other")
    assert "runs/other is a network for images of shape (3, 8, 8), these are (1, 8, 8)" in wrong_shape.message
    with monkeypatch.context() as patch:
        patch.setattr("nas.runs.audit._source", lambda *_: SimpleNamespace(network=tiny_network(num_classes=5)))
        few_classes = audited(capsys, here, "build", *QUICK, "--transfer-from", "runs/other")
    assert "runs/other must give logits (images, 10 or more classes), got (2, 5)" in few_classes.message


def test_autoattack_is_looked_for_before_the_first_attack(
    here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    monkeypatch.setattr("nas.runs.audit.score", lambda *_, **__: pytest.fail("attacked before it looked"))
    ended = audited(capsys, here, "build", *QUICK, "--autoattack")
    assert (ended.code, "pyautoattack" in ended.message) == (2, True)


def test_weights_of_another_network_are_refused(here: Path, capsys: Capture) -> None:
    path = weights(here.parent / "net.safetensors")
    ended = audited(capsys, here, "few_classes", "--config", "tiny.yaml", "--weights", path)
    assert "does not fit" in ended.message


def test_a_checkpoint_brings_its_own_protocol(here: Path, capsys: Capture) -> None:
    ended = nas(capsys, "evaluate", "--audit", "runs/none", "--config", "tiny.yaml")
    assert ended.code == 2
    assert "a checkpoint brings its own" in " ".join(ended.message.split())
    assert "no checkpoint in runs" in nas(capsys, "evaluate", "--audit", "runs/none").message


def test_two_threads_audit_a_foreign_network_as_one_does() -> None:
    network = nn.Sequential(with_unknown_activation(tiny_network()))
    protocol = EvaluationSettings(attack=Pgd(steps=2), batch_size=32, ladder=TINY_LADDER)
    data, cpu = Digits(name="digits", limit=200, test_limit=40), torch.device("cpu")
    subject, found = Subject("theirs", network, data, ThreatModel(epsilon=0.05), protocol, 0), []
    for threads in (1, 2):
        with torch_threads(threads):
            found.append(audit(subject, split_name="test", device=cpu, images=20, trust_images=0))
        assert all(module.training for module in network.modules())
        assert all(parameter.requires_grad for parameter in network.parameters())
    assert found[0].natural_accuracy == found[1].natural_accuracy
    assert found[0].robust_accuracy == pytest.approx(found[1].robust_accuracy, abs=0.051), "one image, by rounding"
    assert found[0].instability == pytest.approx(found[1].instability, abs=1e-5)
    assert [check.passed for check in found[0].checks] == [check.passed for check in found[1].checks]
