"""Which images the steps of an epoch see, in every loop that trains."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import nas.assets.supernet.training as supernet_loop
from nas.assets.supernet import SupernetTraining
from nas.assets.supernet.training import start_supernet, train_supernet_epoch
from nas.assets.supernet.weights import Supernet
from nas.attacks.threat import ThreatModel
from nas.base.errors import DataError
from nas.data.split import Split
from nas.training import methods
from nas.training.batch import Batch
from nas.training.inner import maximise
from nas.training.loop import batch_norm_batches, start_training, train_epoch
from nas.training.steps import epoch_batches, step_sizes
from tests.builders import TINY_TRAINING, generator, tiny_images, tiny_network, tiny_space

given = pytest.importorskip("hypothesis").given
st = pytest.importorskip("hypothesis.strategies")

THREAT = ThreatModel(epsilon=0.05)


def plain_epoch(data: Split, batch_size: int) -> float:
    settings = TINY_TRAINING.model_copy(update={"batch_size": batch_size, "learning_rate": 1.0})
    state = start_training(tiny_network(), settings, generator())
    return train_epoch(state, data, settings, THREAT).learning_rate


def supernet_epoch(data: Split, batch_size: int) -> float:
    settings = SupernetTraining(**{**TINY_TRAINING.model_dump(), "batch_size": batch_size, "learning_rate": 1.0})
    settings = settings.model_copy(update={"subnets": 0, "attacked": "largest"})
    supernet = Supernet(tiny_space(), 1.0, generator(), [0.4], [0.3])
    return train_supernet_epoch(
        start_supernet(supernet, settings, generator(), 0), data, settings, THREAT
    ).learning_rate


LOOPS = pytest.mark.parametrize(
    ("module", "epoch"), [(methods, plain_epoch), (supernet_loop, supernet_epoch)], ids=["one network", "supernet"]
)


@pytest.mark.parametrize(
    ("images", "sizes"),
    [
        (1088, [64] * 17),
        (1090, [64] * 17),
        (1095, [64] * 17),
        (1119, [64] * 17),
        (1120, [64] * 17 + [32]),
        (1150, [64] * 17 + [62]),
        (64, [64]),
        (63, [63]),
        (20, [20]),
        (2, [2]),
        (1, []),
        (0, []),
    ],
)
def test_what_is_left_behind_whole_batches_is_a_step_from_half_a_batch_on(images: int, sizes: list[int]) -> None:
    assert step_sizes(images, 64) == sizes


@given(images=st.integers(2, 3000), batch_size=st.integers(2, 600))
def test_no_step_is_made_on_less_than_half_a_batch(images: int, batch_size: int) -> None:
    sizes = step_sizes(images, batch_size)
    assert all(2 <= size <= batch_size for size in sizes)
    assert min(sizes) >= min(images, batch_size) / 2
    assert images - batch_size / 2 - 1 < sum(sizes) <= images


@LOOPS
@pytest.mark.parametrize(("images", "sizes"), [(34, [16, 16]), (39, [16, 16]), (40, [16, 16, 8]), (12, [12]), (3, [3])])
def test_every_loop_makes_these_steps_and_ends_its_schedule_with_the_last(
    module: object, epoch: Callable[[Split, int], float], images: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def watched(view: object, batch: Batch, *others: object) -> Tensor:
        seen.append(len(batch.x))
        return maximise(view, batch, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "maximise", watched)
    rate = epoch(tiny_images(images), 16)
    assert seen == sizes
    assert rate == pytest.approx(0.5), "the cosine is at its middle after one of two epochs"


@LOOPS
def test_a_single_image_cannot_be_trained_on(module: object, epoch: Callable[[Split, int], float]) -> None:
    with pytest.raises(DataError, match="at least 2 images, got 1"):
        epoch(tiny_images(1), 16)


def test_an_epoch_shows_an_image_at_most_once_and_each_epoch_leaves_out_others() -> None:
    g = generator()
    epochs = [torch.cat(epoch_batches(35, 16, g)).tolist() for _ in range(200)]
    assert all(len(set(images)) == len(images) == 32 for images in epochs)
    assert set().union(*(set(range(35)) - set(images) for images in epochs)) == set(range(35))


def test_the_order_of_an_epoch_is_one_draw_of_the_generator() -> None:
    assert torch.equal(torch.cat(epoch_batches(40, 16, generator(3))), torch.randperm(40, generator=generator(3)))


@pytest.mark.parametrize(("images", "sizes"), [(0, []), (1, []), (12, [12]), (35, [16, 16]), (40, [16, 16, 8])])
def test_batch_norm_is_reestimated_on_batches_of_the_same_sizes(images: int, sizes: list[int]) -> None:
    settings = TINY_TRAINING.model_copy(update={"batch_size": 16, "batch_norm_images": images})
    data = tiny_images(50)
    batches = batch_norm_batches(data, settings)
    assert [len(batch) for batch in batches] == sizes
    if batches:
        assert torch.equal(torch.cat(batches) * 255, data.images[: sum(sizes)].float())
