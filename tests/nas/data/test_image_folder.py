"""Your own images: layout, formats, mistakes."""

import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas.base.errors import DataError
from nas.data.datasets import load_search_data, load_test_data
from nas.data.image_folder import survey_image_folder
from nas.data.sources import ImageFolder
from nas.data.split import Split
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


def write_deep(root: Path, part: str, *values: int) -> None:
    for name in ("cat", "dog", "owl"):
        for index, value in enumerate(values):
            Image.fromarray(np.full((8, 8), value, dtype=np.uint16)).save(root / part / name / f"deep{index}.png")


def constant_values(*splits: Split) -> list[int]:
    """Values of the images that have one, ascending."""
    images = torch.cat([split.images for split in splits])
    constant = images[(images == images[:, :1, :1, :1]).flatten(1).all(1)]
    return sorted(set(constant[:, 0, 0, 0].tolist()))


@pytest.mark.parametrize(("values", "expected"), [((32768, 65535), [128, 255]), ((2048, 4095), [128, 255]),
                                                  ((100, 255), [100, 255]), ((1000, 2000), [125, 249])])  # fmt: skip
def test_sixteen_bit_images_are_scaled_by_the_range_of_all_of_them(
    tmp_path: Path, values: tuple[int, int], expected: list[int]
) -> None:
    # Pillow's convert("RGB") cuts 16-bit grey off at 255, and 12 bits in 16 would become nearly black.
    write_image_folder(tmp_path, {"train": 4, "test": 4})
    write_deep(tmp_path, "train", *values)
    data = load_search_data(source(tmp_path))
    assert constant_values(data.train, data.validation) == expected
    assert any("data.bits" in text for text in data.warnings) is (values[1] < 32768)


def test_test_images_are_scaled_like_the_training_images(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"train": 4, "test": 4})
    write_deep(tmp_path, "train", 2048, 4095)
    write_deep(tmp_path, "test", 512)
    assert constant_values(load_test_data(source(tmp_path))) == [32]
    settled = load_search_data(source(tmp_path)).settings
    assert settled == source(tmp_path, bits=12, classes=("cat", "dog", "owl"))
    shutil.rmtree(tmp_path / "train")
    assert constant_values(load_test_data(settled)) == [32]
    with pytest.raises(DataError, match=r"set data\.bits"):
        load_test_data(source(tmp_path, classes=("cat", "dog", "owl")))


def test_a_stated_range_is_used(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"train": 4, "test": 4})
    write_deep(tmp_path, "train", 2048)
    data = load_search_data(source(tmp_path, bits=16))
    assert constant_values(data.train, data.validation) == [8]


def test_constant_images_and_classes_are_named(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"train": 6, "test": 4})
    for index in range(6):
        Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "train" / "owl" / f"{index:03d}.png")
    constant, same = load_search_data(source(tmp_path)).warnings
    assert "6 of 18 images have one colour throughout: owl/" in constant
    assert "data.background" in constant
    assert same.startswith("all images of owl are the same picture")


def test_images_that_are_nearly_black_are_noticed(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"train": 6})
    for path in (tmp_path / "train").rglob("*.png"):
        Image.fromarray(np.asarray(Image.open(path)) // 16).save(path)
    assert load_search_data(source(tmp_path)).warnings == (
        "no pixel is brighter than 15 of 255: the images are nearly black",
    )


def test_images_without_fault_bring_no_warning(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"train": 6, "test": 4})
    assert load_search_data(source(tmp_path)).warnings == ()


@pytest.mark.parametrize("name", ["a.jfif", "b.JPE", "c", "d.dat", "more/e.png", "more/and/more/f.jpg", "g.jp2"])
def test_whatever_pillow_reads_is_read_under_any_name_and_in_any_subfolder(tmp_path: Path, name: str) -> None:
    write_image_folder(tmp_path, {"train": 6})
    path = tmp_path / "train" / "dog" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "JPEG2000" if name.endswith("jp2") else "PNG" if name.endswith("png") else "JPEG"
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, format=kind)
    data = load_search_data(source(tmp_path))
    assert len(data.train) + len(data.validation) == 19
    assert data.warnings == ()


def test_linked_folders_are_read_and_a_circle_of_links_ends(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"train": 6})
    write_image_folder(tmp_path / "other", {"train": 3})
    (tmp_path / "train" / "cat" / "more").symlink_to(tmp_path / "other" / "train" / "cat")
    (tmp_path / "train" / "dog" / "back").symlink_to(tmp_path / "train" / "dog")
    data = load_search_data(source(tmp_path))
    assert len(data.train) + len(data.validation) == 18 + 3


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"train": 6})
    for index in range(4):
        (tmp_path / "train" / "cat" / f"IMG_{index}.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 12)
    (tmp_path / "train" / "cat" / "notes").write_text("hello")
    shutil.copy(tmp_path / "train" / "cat" / "000.png", tmp_path / "train" / "loose.png")
    unread, loose = load_search_data(source(tmp_path)).warnings
    assert "5 files are left out, no image that Pillow reads (.heic 4, no suffix 1): cat/IMG_0.heic" in unread
    assert "and 2 more" in unread
    assert "1 file is left out, in no class folder (.png 1): loose.png" in loose


def test_hidden_folders_are_no_classes_and_their_images_are_not_read(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"train": 6, "test": 2})
    for folder in ("train", "train/cat", "test"):
        shutil.copytree(tmp_path / "train" / "dog", tmp_path / folder / ".ipynb_checkpoints")
    (tmp_path / "train" / "cat" / ".DS_Store").write_bytes(b"x")
    data = load_search_data(source(tmp_path))
    assert data.class_names == ("cat", "dog", "owl")
    assert len(data.train) + len(data.validation) == 18
    (hidden,) = data.warnings
    assert "12 files are left out, an image in a hidden folder" in hidden
    assert survey_image_folder(source(tmp_path), data.class_names).counts == {"cat": 2, "dog": 2, "owl": 2}


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
    monkeypatch.setattr(Image, "open", lambda path, **named: (opened.append(path), really_open(path, **named))[1])
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


def test_the_test_images_are_counted_but_none_is_decoded(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"train": 6, "test": 4})
    for path in (tmp_path / "test" / "owl").iterdir():
        path.write_bytes(b"")
    found = survey_image_folder(source(tmp_path), ("cat", "dog", "owl"))
    assert (found.counts, found.warnings) == ({"cat": 4, "dog": 4, "owl": 4}, ())


@pytest.mark.parametrize("empty", [False, True])
def test_a_class_without_test_images_is_a_warning(tmp_path: Path, empty: bool) -> None:
    write_image_folder(tmp_path, {"train": 6})
    write_image_folder(tmp_path, {"test": 2}, classes=("cat", "dog"))
    if empty:
        (tmp_path / "test" / "owl").mkdir()
    found = survey_image_folder(source(tmp_path), ("cat", "dog", "owl"))
    assert found.counts == {"cat": 2, "dog": 2, "owl": 0}
    assert "holds no image of owl" in found.warnings[0]


@pytest.mark.parametrize("others", [(), ("val",)])
def test_a_missing_test_folder_is_found_by_a_survey(tmp_path: Path, others: tuple[str, ...]) -> None:
    write_image_folder(tmp_path, {"train": 6, **dict.fromkeys(others, 2)})
    with pytest.raises(DataError, match=r"no folder .*/test") as refused:
        survey_image_folder(source(tmp_path), ("cat", "dog", "owl"))
    assert ("val is not read" in str(refused.value)) is bool(others)


NFC, NFD = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")


@pytest.mark.parametrize(("trained", "tested", "words"), [
    (NFC, NFD, ("'caf\\xe9'", "'cafe\\u0301'")),
    (NFD, NFC, ("'caf\\xe9'", "'cafe\\u0301'")),
    ("Cat", "cat", ("'Cat'", "'cat'")),
])  # fmt: skip
def test_names_that_look_alike_are_shown_with_what_differs(
    tmp_path: Path, trained: str, tested: str, words: tuple[str, str]
) -> None:
    write_image_folder(tmp_path, {"train": 6}, classes=(trained, "dog"))
    write_image_folder(tmp_path, {"test": 6}, classes=(tested, "dog"))
    class_names = load_search_data(source(tmp_path)).class_names
    with pytest.raises(DataError, match="case or Unicode normalisation") as refused:
        survey_image_folder(source(tmp_path), class_names)
    assert all(word in str(refused.value) for word in words)


def test_classes_that_look_the_same_are_refused_and_those_that_differ_in_case_are_noticed(tmp_path: Path) -> None:
    write_image_folder(tmp_path / "a", {"train": 6}, classes=(NFC, NFD))
    with pytest.raises(DataError, match="Unicode normalisation only"):
        load_search_data(source(tmp_path / "a"))
    write_image_folder(tmp_path / "b", {"train": 6}, classes=("E", "e"))
    data = load_search_data(source(tmp_path / "b"))
    assert data.warnings == ("the classes E and e differ in upper and lower case only",)


def test_test_images_need_no_training_folder_where_the_classes_are_known(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"train": 6, "test": 4})
    expected = load_test_data(source(tmp_path))
    shutil.rmtree(tmp_path / "train")
    found = load_test_data(source(tmp_path), ("cat", "dog", "owl"))
    assert torch.equal(found.images, expected.images)
    assert torch.equal(found.labels, expected.labels)


@pytest.mark.parametrize(("classes", "words"), [
    (("cat", "dog", "yak"), ("yak is no class", "owl is missing")),
    (("cat", "dog"), ("owl is missing",)),
    (("cat", "dog", "owl", "yak"), ("yak is no class",)),
])  # fmt: skip
def test_other_classes_than_those_of_the_network_are_refused_with_the_difference(
    tmp_path: Path, classes: tuple[str, ...], words: tuple[str, ...]
) -> None:
    write_image_folder(tmp_path, {"train": 6, "test": 4}, classes=classes)
    with pytest.raises(DataError) as refused:
        load_test_data(source(tmp_path), ("cat", "dog", "owl"))
    assert all(word in str(refused.value) for word in words)


def test_advice_names_a_limit_only_where_there_is_one(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"train": 40}, classes=("cat", "dog"))
    write_image_folder(tmp_path, {"train": 1}, classes=("owl",))
    with pytest.raises(DataError, match=r"'owl' \(it has 1\); add images of it or") as refused:
        load_search_data(source(tmp_path))
    assert "data.limit" not in str(refused.value)
    with pytest.raises(DataError, match=r"raise data\.limit"):
        load_search_data(source(tmp_path, limit=30))
