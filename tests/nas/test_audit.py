"""`nas audit`: our checkpoints and anybody's networks, one page, and what is refused."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

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
        return nas(capsys, "audit", f"{here.stem}:{function}", *options)
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


def test_weights_of_another_network_are_refused(here: Path, capsys: Capture) -> None:
    path = weights(here.parent / "net.safetensors")
    ended = audited(capsys, here, "few_classes", "--config", "tiny.yaml", "--weights", path)
    assert "does not fit" in ended.message


def test_a_checkpoint_brings_its_own_protocol(here: Path, capsys: Capture) -> None:
    ended = nas(capsys, "audit", "runs/none", "--config", "tiny.yaml")
    assert ended.code == 2
    assert "a checkpoint brings its own" in " ".join(ended.message.split())
    assert "no checkpoint in runs" in nas(capsys, "audit", "runs/none").message
