"""Your own images: layout, formats, mistakes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas.data import load_search_data, load_test_data
from nas.data.sources import ImageFolder
from nas.errors import DataError
from tests.nas.data.files import write_image_folder


def source(root: Path, **others: object) -> ImageFolder:
    return ImageFolder(name="image_folder", root=root, image_size=8, validation_fraction=0.3, **others)  # type: ignore[arg-type]


def test_labels_follow_the_sorted_class_folders(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"train": 5, "test": 4})
    data, test = load_search_data(source(tmp_path)), load_test_data(source(tmp_path))
    assert data.class_names == ("cat", "dog", "owl")
    for split in (data.train, data.validation, test):
        assert torch.equal(split.images[:, 0].amax((1, 2)), (60 * split.labels).to(torch.uint8))


def test_images_of_any_size_and_mode_become_one_shape(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"train": 4, "test": 4}, size=(30, 5))
    folder = tmp_path / "train" / "cat"
    Image.new("L", (3, 3), 7).save(folder / "grey.png")
    Image.new("RGBA", (40, 40), (1, 2, 3, 128)).save(folder / "alpha.png")
    Image.new("P", (8, 8)).save(folder / "palette.gif")
    Image.new("RGB", (5, 5)).save(folder / "UPPER.JPG")
    data = load_search_data(source(tmp_path))
    assert data.input_shape == (3, 8, 8)
    assert len(data.train) + len(data.validation) == 4 * 3 + 4
    grey = load_search_data(source(tmp_path, channels=1))
    assert grey.input_shape == (1, 8, 8)


def test_an_image_of_the_right_size_keeps_its_pixels(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"train": 4, "test": 4}, size=(8, 8))
    expected = {
        np.asarray(Image.open(path)).transpose(2, 0, 1).tobytes() for path in (tmp_path / "test").glob("*/*.png")
    }
    assert {image.numpy().tobytes() for image in load_test_data(source(tmp_path)).images} == expected


def test_sixteen_bit_images_are_scaled_or_refused_but_never_cut_off(tmp_path: Path) -> None:
    # Pillow's convert("RGB") cuts 16-bit grey off at 255: nearly every pixel would become white.
    write_image_folder(tmp_path, {"train": 4, "test": 4})
    for name in ("cat", "dog", "owl"):
        pixels = np.full((8, 8), 32768, dtype=np.uint16)  # middle grey
        Image.fromarray(pixels).save(tmp_path / "train" / name / "deep.png")
    try:
        data = load_search_data(source(tmp_path))
    except DataError:
        return
    images = torch.cat([data.train.images, data.validation.images])
    grey = images[(images == images[:, :1, :1, :1]).flatten(1).all(1)]
    assert len(grey) == 3
    assert grey.unique().tolist() in ([127], [128])


def test_files_that_are_no_images_are_passed_over(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"train": 4, "test": 4})
    (tmp_path / "train" / "cat" / "notes.txt").write_text("hello")
    (tmp_path / "train" / ".DS_Store").write_text("x")
    data = load_search_data(source(tmp_path))
    assert len(data.train) + len(data.validation) == 12


def test_a_limit_is_applied_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image_folder(tmp_path, {"train": 30, "test": 4})
    opened: list[Path] = []
    really_open = Image.open
    monkeypatch.setattr(Image, "open", lambda path: (opened.append(path), really_open(path))[1])
    data = load_search_data(source(tmp_path, limit=20))
    assert len(data.train) + len(data.validation) == len(opened) == 20


def test_no_folder_is_refused_with_the_layout(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train/<class>.*data\.root") as refused:
        load_search_data(source(tmp_path / "nowhere"))
    assert str(tmp_path / "nowhere") in str(refused.value)


def test_a_missing_test_folder_is_noticed_when_it_is_needed(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"train": 6})
    load_search_data(source(tmp_path))
    with pytest.raises(DataError, match="test"):
        load_test_data(source(tmp_path))


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"train": 30}, classes=("cat",))
    with pytest.raises(DataError, match="1 class folders, at least 2"):
        load_search_data(source(tmp_path))


def test_an_empty_class_is_refused_by_name(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"train": 10})
    (tmp_path / "train" / "emu").mkdir()
    with pytest.raises(DataError, match="emu holds no image"):
        load_search_data(source(tmp_path))


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\x00" * 20])
def test_a_damaged_image_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    write_image_folder(tmp_path, {"train": 10})
    (tmp_path / "train" / "dog" / "bad.png").write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.png.*repair or remove"):
        load_search_data(source(tmp_path))


def test_a_truncated_image_is_refused_by_name(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"train": 10}, size=(40, 40))
    path = tmp_path / "train" / "dog" / "003.png"
    path.write_bytes(path.read_bytes()[:-1500])
    with pytest.raises(DataError, match=r"003\.png"):
        load_search_data(source(tmp_path))


@pytest.mark.parametrize("test_classes", [("cat", "dog", "owl", "yak"), ("bat", "dog", "owl"), ("ant", "cat")])
def test_test_folders_of_unknown_classes_are_refused(tmp_path: Path, test_classes: tuple[str, ...]) -> None:
    write_image_folder(tmp_path, {"train": 6})
    write_image_folder(tmp_path, {"test": 6}, classes=test_classes)
    with pytest.raises(DataError, match="class"):
        load_test_data(source(tmp_path))


def test_a_class_that_the_test_folder_lacks_never_shifts_the_labels(tmp_path: Path) -> None:
    # "owl" is label 2 in training; as label 1 in the test it would be a dog, and the accuracy silently wrong.
    write_image_folder(tmp_path, {"train": 6})
    write_image_folder(tmp_path, {"test": 6}, classes=("cat", "owl"))
    try:
        test = load_test_data(source(tmp_path))
    except DataError:
        return
    assert sorted(test.labels.tolist()) == [0] * 6 + [2] * 6


def test_every_class_is_in_training_and_validation_or_the_split_is_refused(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"train": 40}, classes=("cat", "dog"))
    write_image_folder(tmp_path, {"train": 1}, classes=("owl",))
    try:
        data = load_search_data(source(tmp_path))
    except DataError:
        return
    assert set(data.train.labels.tolist()) == set(data.validation.labels.tolist()) == {0, 1, 2}
