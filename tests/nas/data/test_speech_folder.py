"""Recordings of words: layout, lists, mistakes, and the way back from features to waveforms."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.base.errors import DataError
from nas.data import recordings
from nas.data.datasets import at_root, load_search_data, load_test_data
from nas.data.domain import Amplitudes
from nas.data.sources import DATASETS
from nas.data.speech_folder import layout_of, speaker_of, survey_speech_folder
from nas.data.wav import read_wav
from tests.nas.data.files import WORDS, write_speech_folder, write_wav
from tests.nas.data.test_datasets import speech

COUNTS = {"train": 4, "validation": 2, "test": 2}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_speech_folder(tmp_path, COUNTS)
    return tmp_path


def listed(root: Path, name: str) -> set[str]:
    return set((root / name).read_text(encoding="utf-8").split())


def test_the_lists_decide_what_is_validation_and_what_is_test(root: Path) -> None:
    layout = layout_of(speech(root))
    assert layout.words == WORDS
    assert set(layout.test) == listed(root, "testing_list.txt")
    assert layout.validation == listed(root, "validation_list.txt")
    everything = {path.relative_to(root).as_posix() for path in root.rglob("*.wav")}
    assert set(layout.train) == everything - set(layout.test)
    assert all(WORDS[label] == name.split("/")[0] for name, label in (layout.train | layout.test).items())


def test_a_search_reads_no_test_recording(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(
        recordings,
        "read_wav",
        lambda path, *rest: (read.append(path.relative_to(root).as_posix()), read_wav(path, *rest))[1],
    )
    data = load_search_data(speech(root), survey_test=True)
    assert len(read) == 18
    data.validation.at_origin("waveforms")
    assert set(read).isdisjoint(listed(root, "testing_list.txt"))


def test_each_word_has_features_of_its_own_tone(root: Path) -> None:
    source = speech(root, front_end={"kind": "log_mel"})
    data = load_search_data(source)
    for split in (data.train, data.validation, load_test_data(source)):
        loudest = split.images.float().mean((1, 2)).argmax(1)
        bands = [loudest[split.labels == label].unique().tolist() for label in range(3)]
        assert [len(band) for band in bands] == [1, 1, 1]
        assert bands == sorted(bands), "400, 800 and 1,600 Hz"


def test_a_limit_is_applied_before_reading_and_keeps_the_share_of_validation(tmp_path: Path) -> None:
    write_speech_folder(tmp_path, {"train": 12, "validation": 4, "test": 6})
    data = load_search_data(speech(tmp_path, limit=24))
    assert (len(data.train), len(data.validation)) == (18, 6)
    assert data.validation.labels.bincount().tolist() == [2, 2, 2]


def test_words_may_be_chosen_in_any_order_and_the_others_are_named(root: Path) -> None:
    write_wav(root / "_background_noise_" / "rain.wav", np.zeros(90, np.int16))
    data = load_search_data(speech(root, words=("stop", "left"), limit=None), survey_test=True)
    assert data.class_names == ("stop", "left")
    assert data.test_counts == {"stop": 2, "left": 2}
    (left_out,) = [text for text in data.warnings if "left out" in text]
    assert "9 files are left out, of no word that is told apart (.wav 9)" in left_out
    everything = load_search_data(speech(root))
    assert everything.class_names == WORDS, "a folder that begins with _ is no word"
    assert any("_background_noise_/rain.wav" in text for text in everything.warnings)


@pytest.mark.parametrize("words", [("stop", "go"), ("stop", "stop")])
def test_words_that_are_not_there_or_named_twice_are_refused(root: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match=r"no recording of go|not 2 or more"):
        load_search_data(speech(root, words=words))


def test_other_files_are_named_but_for_those_of_the_data_set(root: Path) -> None:
    for name in ("README.md", "LICENSE", "stop/notes.txt", "loose.wav"):
        (root / name).write_bytes(b"x")
    texts = layout_of(speech(root)).warnings
    assert len(texts) == 2
    assert "1 file is left out, no WAV file (.txt 1): stop/notes.txt" in texts[0]
    assert "in no class folder (.wav 1): loose.wav" in texts[1]


def test_lines_that_name_no_recording_are_counted(root: Path) -> None:
    with (root / "testing_list.txt").open("a", encoding="utf-8") as file:
        file.write("stop/gone_1.wav\nstop\\gone_2.wav\n\ngo/of_another_word.wav\n")
    (text,) = [text for text in layout_of(speech(root)).warnings if "testing_list" in text]
    assert text.endswith("testing_list.txt: 2 lines name no recording: stop/gone_1.wav, stop/gone_2.wav")


def test_a_recording_in_both_lists_is_refused(root: Path) -> None:
    shutil.copy(root / "testing_list.txt", root / "validation_list.txt")
    with pytest.raises(
        DataError, match=r"left/22222222_nohash_0\.wav.* is in testing_list\.txt and in validation_list"
    ):
        load_search_data(speech(root))


@pytest.mark.parametrize("content", [None, "", "stop/of_no_file.wav"])
def test_without_test_recordings_the_survey_and_the_test_say_what_to_write(root: Path, content: str | None) -> None:
    (root / "testing_list.txt").unlink()
    if content is not None:
        (root / "testing_list.txt").write_text(content, encoding="utf-8")
    state = "is missing" if content is None else "names no recording"
    for ask in (lambda: load_search_data(speech(root), survey_test=True), lambda: load_test_data(speech(root))):
        with pytest.raises(DataError, match=f"testing_list.txt {state}.*one <word>/<name>.wav a line"):
            ask()


def test_a_folder_that_is_not_there_is_refused_with_the_layout(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"<word>/\*\.wav.*data\.root"):
        load_search_data(speech(tmp_path / "nowhere"))


def test_a_broken_recording_is_refused_by_name(root: Path) -> None:
    (root / "stop" / "00000000_nohash_0.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"stop/00000000_nohash_0\.wav cannot be read"):
        load_search_data(speech(root))


def test_a_clean_folder_brings_no_warning(root: Path) -> None:
    assert load_search_data(speech(root), survey_test=True).warnings == ()


@pytest.mark.parametrize(
    ("name", "speaker"),
    [("cat/0a7c2a8d_nohash_1.wav", "0a7c2a8d"), ("one/jackson_12.wav", "jackson"), ("one/x_y_3.wav", "x_y"),
     ("one/recording.wav", None)],
)  # fmt: skip
def test_file_names_show_speakers(name: str, speaker: str | None) -> None:
    assert speaker_of(name) == speaker


def test_speakers_and_recordings_in_two_parts_are_noticed(root: Path) -> None:
    for word, part, speaker in (("stop", "validation", 1), ("left", "testing", 2)):
        (root / word / f"00000000_nohash_7{speaker}.wav").write_bytes(
            (root / word / "00000000_nohash_0.wav").read_bytes()
        )
        with (root / f"{part}_list.txt").open("a", encoding="utf-8") as file:
            file.write(f"{word}/00000000_nohash_7{speaker}.wav\n")
    texts = load_search_data(speech(root), survey_test=True).warnings
    known = "1 of 2 speakers of the {} recordings are among those of training (00000000): results are those for known"
    copied = "1 {} recordings are among those of training, too, under other names: {}"
    for part, name in (("validation", "stop/00000000_nohash_71.wav"), ("test", "left/00000000_nohash_72.wav")):
        assert any(known.format(part) in text for text in texts)
        assert any(copied.format(part, name) in text for text in texts)
    assert len(texts) == 4


def test_a_drawn_validation_set_is_said_to_be_of_known_voices(root: Path) -> None:
    (root / "validation_list.txt").unlink()
    (text,) = load_search_data(speech(root, validation_fraction=0.3)).warnings
    assert text.startswith("no validation_list.txt: validation recordings are drawn")


def test_silent_long_slow_and_mislabelled_recordings_are_noticed(root: Path) -> None:
    write_wav(root / "stop" / "a_1.wav", np.zeros(1600, np.int16))
    write_wav(root / "stop" / "a_2.wav", np.arange(4000, dtype=np.int16))
    write_wav(root / "stop" / "a_3.wav", np.arange(800, dtype=np.int16), rate=4000)
    shutil.copy(root / "stop" / "00000000_nohash_0.wav", root / "left" / "a_4.wav")
    texts = load_search_data(speech(root)).warnings
    wanted = ("1 of 22 recordings are silent throughout: stop/a_1.wav", "1 of 22 recordings have fewer than",
              "1 of 22 recordings are longer than data.seconds = 0.25, their ends are cut off (longest: 0.50 s)",
              "2 recordings are in the folders of several words")  # fmt: skip
    assert len(texts) == 4
    assert all(any(text.startswith(start) for text in texts) for start in wanted)


def test_other_words_than_those_of_a_training_are_refused_at_its_test(root: Path) -> None:
    words = load_search_data(speech(root)).class_names
    shutil.copytree(root / "stop", root / "stopp")
    with pytest.raises(DataError, match="it has stopp"):
        load_test_data(speech(root), words)


def test_waveforms_are_those_of_the_images_in_their_order_and_lead_back_to_them(root: Path) -> None:
    data = load_search_data(speech(root))
    chosen = data.validation[torch.tensor([4, 1])]
    waves = chosen.at_origin("waveforms")
    assert waves.domain == Amplitudes()
    assert waves.images.shape == (2, 1, 40, 50)
    assert torch.equal(waves.labels, chosen.labels)
    for wave, label, index in zip(waves.images, chosen.labels.tolist(), (4, 1), strict=True):
        assert "waveforms" in chosen.origins
        name = data.validation.origins["waveforms"].files[data.validation.origins["waveforms"].index[index]]  # type: ignore[attr-defined]
        assert name.startswith(WORDS[label])
        assert np.array_equal(wave.flatten(), read_wav(root / name, speech(root)).samples)
    features = chosen.origins["waveforms"].front_end()(waves.inputs())
    assert (features - chosen.inputs()).abs().max() <= 1 / 510 + 1e-6, "half a stored step"


def test_recordings_that_have_changed_are_not_attacked(root: Path) -> None:
    data = load_search_data(speech(root))
    name = data.validation.origins["waveforms"].files[data.validation.origins["waveforms"].index[0]]  # type: ignore[attr-defined]
    write_wav(root / name, np.zeros(1600, np.int16))
    with pytest.raises(DataError, match="have changed since they were read"):
        data.validation.at_origin("waveforms")


def test_the_fingerprint_names_the_recordings_and_not_their_place(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("x") / "moved"
    shutil.copytree(root, elsewhere)
    here, there = load_search_data(speech(root)), load_search_data(at_root(speech(root), elsewhere))
    assert here.fingerprint == there.fingerprint
    write_wav(elsewhere / "stop" / "00000000_nohash_0.wav", np.arange(1600, dtype=np.int16))
    assert load_search_data(at_root(speech(root), elsewhere)).fingerprint != here.fingerprint


def test_the_part_that_is_loaded_has_no_other_settings_than_those_given(root: Path) -> None:
    assert DATASETS["speech_folder"].load(speech(root), "train").settings is None
    assert survey_speech_folder(speech(root), WORDS).counts == dict.fromkeys(WORDS, 2)
