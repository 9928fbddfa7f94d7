"""What every data set must deliver. Subclass, and give `registered` and the fixture `source`."""

from collections import Counter
from typing import Any

import pytest
import torch

from nas.data.datasets import load_search_data, load_test_data
from nas.data.domain import PIXELS
from nas.data.sources import DATASETS, Source, SourceEntry
from nas.data.split import Split


def as_counts(split: Split) -> Counter[tuple[int, bytes]]:
    """How often each labelled image occurs."""
    pairs = zip(split.labels.tolist(), split.images, strict=True)
    return Counter((label, image.numpy().tobytes()) for label, image in pairs)


class DatasetContract:
    """Inherit, and add a fixture `source` with settings whose data is there; `shape` is that of an image."""

    registered: str
    shape: tuple[int, int, int]
    num_classes: int

    def test_images_and_labels_are_those_of_the_settings(self, source: Source) -> None:
        data, test = load_search_data(source), load_test_data(source)
        assert data.name == self.registered
        assert data.input_shape == self.shape
        assert data.num_classes == len(data.class_names) == self.num_classes
        for split in (data.train, data.validation, test):
            assert split.images.shape[1:] == self.shape
            assert split.domain == data.domain == PIXELS
            assert split.labels.dtype == torch.int64
            assert set(split.labels.tolist()) == set(range(self.num_classes))

    def test_train_and_validation_are_the_whole_training_part_once(self, source: Source) -> None:
        data = load_search_data(source)
        raw = DATASETS[self.registered].load(source, "train")
        assert as_counts(data.train) + as_counts(data.validation) == as_counts(raw.split)
        if raw.held_out is None:
            assert len(data.validation) == round(len(raw.split) * source.validation_fraction)
        else:
            assert as_counts(data.validation) == as_counts(raw.split[raw.held_out])

    def test_the_same_settings_give_the_same_split_and_another_seed_another_if_it_is_drawn(
        self, source: Source
    ) -> None:
        first, again = load_search_data(source), load_search_data(source)
        assert torch.equal(first.train.images, again.train.images)
        assert torch.equal(first.validation.labels, again.validation.labels)
        other = load_search_data(source.model_copy(update={"split_seed": 1}))
        is_drawn = DATASETS[self.registered].load(source, "train").held_out is None
        assert (as_counts(other.validation) != as_counts(first.validation)) is is_drawn

    def test_the_test_part_does_not_depend_on_the_split_seed(self, source: Source) -> None:
        other = source.model_copy(update={"split_seed": 1})
        assert as_counts(load_test_data(source)) == as_counts(load_test_data(other))

    def test_limits_take_so_many_images_of_all_classes(self, source: Source) -> None:
        limited = source.model_copy(update={"limit": 20, "test_limit": 10, "validation_fraction": 0.5})
        data, test = load_search_data(limited), load_test_data(limited)
        assert len(data.train) + len(data.validation) == 20
        assert len(test) == 10
        if DATASETS[self.registered].load(limited, "train").held_out is None:
            assert len(data.validation) == 10
        assert len(set(test.labels.tolist())) >= 0.7 * self.num_classes
        whole = as_counts(DATASETS[self.registered].load(source, "train").split)
        assert as_counts(data.train) + as_counts(data.validation) <= whole

    def test_the_statistics_are_those_of_the_training_pixels(self, source: Source) -> None:
        data = load_search_data(source)
        pixels = data.train.images.double() / 255
        torch.testing.assert_close(torch.tensor(data.mean).double(), pixels.mean((0, 2, 3)), rtol=1e-6, atol=1e-7)
        deviation = pixels.std((0, 2, 3), correction=0)
        torch.testing.assert_close(torch.tensor(data.std).double(), deviation, rtol=1e-5, atol=1e-6)

    def test_a_search_never_asks_for_the_test_part(self, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
        entry = DATASETS[self.registered]
        asked: list[str] = []

        def guarded(settings: Any, part: Any) -> Any:
            asked.append(part)
            assert part != "test", "a search loaded the test images"
            return entry.load(settings, part)

        monkeypatch.setitem(DATASETS, self.registered, SourceEntry(entry.settings, guarded))
        load_search_data(source)
        assert asked == ["train"]
        with pytest.raises(AssertionError, match="test images"):
            load_test_data(source)
