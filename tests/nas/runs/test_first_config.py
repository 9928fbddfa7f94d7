"""`nas init`: a config for a user's own images that fits a budget."""

from pathlib import Path
from random import Random

import pytest

from nas.base.errors import EmptyBudget, UsageError
from nas.budgets import Budget, count_costs
from nas.runs.config import load_config
from nas.runs.devices import DEVICES
from nas.runs.first_config import DEPLOYMENT, first_config, limits_of
from nas.runs.fitted import fitted_space, scaled_space
from tests.conftest import ROOT
from tests.nas.data.files import write_image_folder
from tests.tiny_run import nas

Capture = pytest.CaptureFixture[str]
MCU = "params=100k,macs=8M,peak_activation_bytes=64 KiB"
SMALL = "params=10k,peak_activation_bytes=32KiB"
LIMITS = {
    **{name: board.limits for name, board in DEVICES.items()},
    "mcu": limits_of("", MCU),
    "small": limits_of("", SMALL),
}


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of 36 images of three classes in the current folder; one name is not in ASCII."""
    monkeypatch.chdir(tmp_path)
    write_image_folder(tmp_path / "fotos ä", {"train": 20, "test": 4})
    return Path("fotos ä")


@pytest.mark.parametrize("name", LIMITS)
def test_most_random_networks_fit_the_smallest_easily_and_the_largest_not(name: str) -> None:
    size, classes = ((28, 3), (64, 100))[list(LIMITS).index(name) % 2]
    budget = Budget.model_validate(LIMITS[name])
    found = fitted_space((3, size, size), classes, budget, DEPLOYMENT)
    rng = Random(7)
    drawn = [count_costs(found.space.spec(found.space.sample(rng)), DEPLOYMENT) for _ in range(100)]
    assert 0.2 <= sum(map(budget.allows, drawn)) / 100 <= 0.95
    smallest, largest = (
        budget.overrun(count_costs(found.space.spec(one), DEPLOYMENT))
        for one in (found.space.smallest(), found.space.largest())
    )
    assert max(smallest.values()) <= -0.4
    assert 0 < max(largest.values()) <= 7


def test_at_factor_one_it_is_the_space_of_the_example() -> None:
    assert scaled_space(1, 32) == load_config(ROOT / "configs" / "cifar10_mcu.yaml").space


def test_a_budget_that_is_too_small_is_refused_with_the_largest_part() -> None:
    with pytest.raises(EmptyBudget, match=r"too small for images of 128 × 128 pixels: .*smaller --image-size"):
        fitted_space((3, 128, 128), 10, Budget(peak_activation_bytes=4096), DEPLOYMENT)


def test_limits_that_are_wrong_are_refused() -> None:
    assert limits_of("", "params=100k, macs = 8M") == {"params": "100k", "macs": "8M"}
    assert limits_of("", "") == DEVICES["cortex-m4"].limits
    for device, budget, message in (
        ("z80", "", r"--device z80: unknown \(allowed: cortex-m4, "),
        ("cortex-m4", "params=1", "give one of them"),
        ("", "weights=1", r"allowed: params, macs"),
        ("", "params=1k,params=2k", "each name once"),
        ("", "params=many", "--budget params=many: write a number"),
        ("", "params=0", "greater than or equal to 1"),
    ):
        with pytest.raises(UsageError, match=message):
            limits_of(device, budget)


def test_what_it_writes_is_checked_searched_and_not_overwritten(images: Path, capsys: Capture) -> None:
    made = nas(capsys, "init", "my search", "--data", images, "--image-size", "16", "--budget", SMALL)
    assert made.code == 0, made.err
    path = Path("my search/config.yaml")
    assert [line for line in made.out.splitlines() if line.startswith("  nas ")] == [
        "  nas check 'my search/config.yaml'", "  nas search 'my search/config.yaml'", "  nas report runs/my_search",
        "  nas retrain runs/my_search --pick expected",
        "  nas export --front runs/my_search --format tflite",
    ]  # fmt: skip
    assert "of random ones within params 10k, peak_activation_bytes 32KiB" in made.out

    config, text = load_config(path), path.read_text(encoding="utf-8")
    assert config.data.root == images.resolve()
    assert config.budget == Budget(params=10_000, peak_activation_bytes=32_768)
    assert config.constraints == ("natural_accuracy >= 0.40",)
    assert max(map(len, text.splitlines())) <= 120
    assert nas(capsys, "check", path, "--no-time").code == 0
    small = ("training.epochs=1", "search.trials=2", "search.executor=in_process", "evaluation.attack.steps=2",
             "evaluation.ladder.front=[]", "training.alarm=false", "search.prescreen.proposals=1",
             "constraints=[natural_accuracy >= 0]", "device=cpu")  # fmt: skip
    searched = nas(capsys, "search", path, *(word for one in small for word in ("--set", one)))
    assert searched.code == 0, searched.err

    again = nas(capsys, "init", "my search", "--data", images)
    assert (again.code, path.read_text(encoding="utf-8")) == (2, text)
    assert "exists already and is not overwritten" in again.message


def test_images_are_looked_at_first_with_the_errors_of_check(images: Path, capsys: Capture) -> None:
    wrong = nas(capsys, "init", "mine", "--data", "nowhere")
    assert wrong.code == 2
    assert "an image folder has" in wrong.message
    (images / "test" / "cat").rename(images / "test" / "cats")
    other = nas(capsys, "init", "mine", "--data", images)
    assert "cats is no class of them" in " ".join(other.message.split())
    assert not Path("mine").exists()


def test_a_folder_of_recordings_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "testing_list.txt").write_text("stop/a_1.wav\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"recordings of words.*configs/speech\.yaml"):
        first_config("mine", tmp_path, 32, {"params": "100k"}, "")
