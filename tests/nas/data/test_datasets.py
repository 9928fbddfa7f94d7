"""Every registered data set meets the contract, from files in its own format."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from pydantic import TypeAdapter, ValidationError

from nas.base.errors import DataError
from nas.data import DataSettings
from nas.data.datasets import load_search_data, load_test_data
from nas.data.sources import DATASETS, Cifar10, Digits, ImageFolder, Simulated, Source, SpeechFolder, Svhn
from nas.testing.datasets import DatasetContract, as_counts
from tests.nas.data.files import write_image_folder, write_speech_folder


class TestDigits(DatasetContract):
    registered, shape, num_classes = "digits", (1, 8, 8), 10

    @pytest.fixture
    def source(self) -> Source:
        return Digits(name="digits")


class TestSimulated(DatasetContract):
    registered, shape, num_classes = "simulated", (1, 8, 8), 4

    @pytest.fixture
    def source(self) -> Source:
        return Simulated(name="simulated", images=200, test_images=60)


class TestImageFolder(DatasetContract):
    registered, shape, num_classes = "image_folder", (3, 8, 8), 3

    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        write_image_folder(tmp_path, {"train": 10, "test": 5}, size=(8, 8))
        return ImageFolder(name="image_folder", root=tmp_path, image_size=8, validation_fraction=0.2)


def speech(root: Path, **others: object) -> SpeechFolder:
    """Settings of recordings of a quarter of a second."""
    return SpeechFolder(name="speech_folder", root=root, sample_rate=8000, seconds=0.25, **others)  # type: ignore[arg-type]


class TestSpeechFolder(DatasetContract):
    registered, shape, num_classes = "speech_folder", (1, 11, 10), 3

    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        write_speech_folder(tmp_path, {"train": 8, "validation": 3, "test": 5})
        return speech(tmp_path)


class TestSpeechFolderWithoutValidationList(DatasetContract):
    registered, shape, num_classes = "speech_folder", (1, 11, 40), 3

    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        write_speech_folder(tmp_path, {"train": 11, "test": 5}, has_validation_list=False)
        return speech(tmp_path, validation_fraction=0.2, front_end={"kind": "log_mel"})


class TestCifar10(DatasetContract):
    registered, shape, num_classes = "cifar10", (3, 32, 32), 10

    @pytest.fixture
    def source(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
        """Python batches of 10 (test: 20) images, as torchvision leaves them on disk."""
        from torchvision.datasets import CIFAR10

        folder = tmp_path / CIFAR10.base_folder
        folder.mkdir()
        lists: dict[str, list[list[str]]] = {"train_list": [], "test_list": []}
        names = {"train_list": [f"data_batch_{number}" for number in range(1, 6)], "test_list": ["test_batch"]}
        rng = np.random.default_rng(0)
        for which, files in names.items():
            for name in files:
                count = 20
                labels = [index % 10 for index in range(count)]
                pixels = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
                content = pickle.dumps({"data": pixels, "labels": labels})
                (folder / name).write_bytes(content)
                lists[which].append([name, hashlib.md5(content).hexdigest()])
            monkeypatch.setattr(CIFAR10, which, lists[which])
        meta = pickle.dumps({"label_names": list("abcdefghij")})
        (folder / "batches.meta").write_bytes(meta)
        described = {"filename": "batches.meta", "key": "label_names", "md5": hashlib.md5(meta).hexdigest()}
        monkeypatch.setattr(CIFAR10, "meta", described)
        return Cifar10(name="cifar10", root=tmp_path, validation_fraction=0.2)

    def test_pixels_keep_their_place(self, source: Cifar10) -> None:
        stored = pickle.loads((source.root / "cifar-10-batches-py" / "test_batch").read_bytes())  # noqa: S301 - ours
        expected = {row.tobytes() for row in stored["data"]}  # rows are channel, height, width
        assert {image.numpy().tobytes() for image in load_test_data(source).images} == expected

    def test_class_names_come_from_the_files(self, source: Cifar10) -> None:
        assert load_search_data(source).class_names == tuple("abcdefghij")


class TestSvhn(DatasetContract):
    registered, shape, num_classes = "svhn", (3, 32, 32), 10

    @pytest.fixture
    def source(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
        """MATLAB files with the digit 0 labelled 10, as torchvision leaves them on disk."""
        from torchvision.datasets import SVHN

        rng = np.random.default_rng(0)
        described = {}
        for part, count in (("train", 100), ("test", 20)):
            path = tmp_path / f"{part}_32x32.mat"
            labels = np.array([[index % 10 + 1] for index in range(count)], dtype=np.uint8)
            scipy.io.savemat(path, {"X": rng.integers(0, 256, (32, 32, 3, count), dtype=np.uint8), "y": labels})
            described[part] = ["url", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
        monkeypatch.setattr(SVHN, "split_list", described)
        return Svhn(name="svhn", root=tmp_path, validation_fraction=0.2)

    def test_the_label_ten_is_the_digit_zero_and_pixels_keep_their_place(self, source: Svhn) -> None:
        stored = scipy.io.loadmat(source.root / "test_32x32.mat")
        test = load_test_data(source)
        for index in range(20):
            image = stored["X"][:, :, :, index].transpose(2, 0, 1)
            place = (test.images.numpy() == image).reshape(20, -1).all(1).nonzero()[0].item()
            assert test.labels[place] == stored["y"][index, 0] % 10


def test_every_registered_data_set_has_a_contract_case() -> None:
    assert {case.registered for case in DatasetContract.__subclasses__()} == set(DATASETS)


@pytest.mark.parametrize("name", DATASETS)
def test_every_registered_data_set_can_be_named_in_a_config(name: str) -> None:
    settings = TypeAdapter(DataSettings).validate_python(
        {"name": name} if name in ("digits", "simulated") else {"name": name, "root": "x"}
    )
    assert type(settings) is DATASETS[name].settings


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("kind", [Cifar10, Svhn])
def test_missing_files_are_refused_with_their_place_and_the_settings_that_help(
    kind: type[Cifar10] | type[Svhn], part: str, tmp_path: Path
) -> None:
    name = kind.__name__.lower()
    source = kind(name=name, root=tmp_path / "nowhere")
    with pytest.raises(DataError) as refused:
        (load_search_data if part == "train" else load_test_data)(source)
    message = str(refused.value)
    assert name in message
    assert str(tmp_path / "nowhere") in message
    assert "data.download" in message
    assert "data.root" in message


def test_the_digits_are_sklearns_split_once_for_all() -> None:
    from sklearn.datasets import load_digits

    data, test = load_search_data(Digits(name="digits")), load_test_data(Digits(name="digits"))
    assert (len(data.train), len(data.validation), len(test)) == (1150, 288, 359)  # a fifth of 1797, then of 1438
    bunch = load_digits()
    pixels = np.rint(bunch.images * 255 / 16).astype(np.uint8)
    everything = sorted((label, image.tobytes()) for label, image in zip(bunch.target.tolist(), pixels, strict=True))
    parts = as_counts(data.train) + as_counts(data.validation) + as_counts(test)
    assert sorted(parts.elements()) == everything
    assert max(parts.values()) == 1, "no image occurs twice, so nothing of the test set is in training"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_seed_or_limit_brings_test_digits_into_training(seed: int) -> None:
    source = Digits(name="digits", split_seed=seed, limit=500, test_limit=100)
    data, test = load_search_data(source), load_test_data(source)
    whole_test = as_counts(load_test_data(Digits(name="digits")))
    assert not (as_counts(data.train) + as_counts(data.validation)) & whole_test
    assert as_counts(test) <= whole_test


def test_classes_of_the_digits_are_balanced_in_every_part() -> None:
    data, test = load_search_data(Digits(name="digits")), load_test_data(Digits(name="digits"))
    for split in (data.train, data.validation, test, data.train[:100], test[:100]):
        shares = np.bincount(split.labels, minlength=10) / len(split)
        assert shares.min() > 0.08
        assert shares.max() < 0.12


def test_a_split_that_leaves_a_class_out_is_refused_with_the_settings_that_help() -> None:
    with pytest.raises(DataError, match=r"data\.limit.*data\.validation_fraction"):
        load_search_data(Digits(name="digits", limit=30, validation_fraction=0.1))


@pytest.mark.parametrize(
    "wrong", [{"limit": 5}, {"test_limit": 0}, {"validation_fraction": 0}, {"validation_fraction": 0.95}, {"size": 8}]
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Digits(name="digits", **wrong)  # type: ignore[arg-type]
