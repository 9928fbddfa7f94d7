"""Weights and training states on disk: exact, or refused."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

from nas.attacks.threat import ThreatModel
from nas.base.errors import CheckpointError
from nas.networks.stored import load_weights, save_weights
from nas.training.loop import start_training, train_epoch
from nas.training.stored import load_training, save_training
from tests.builders import TINY_TRAINING, generator, tiny_images, tiny_network


def test_weights_and_statistics_survive_bit_for_bit(tmp_path: Path) -> None:
    network, other = tiny_network(0), tiny_network(7)
    network(torch.rand(4, 1, 8, 8, generator=generator()))
    with torch.no_grad():
        network.classifier.bias[0] = 5e-324
        network.classifier.bias[1] = -0.0
    save_weights(tmp_path / "w", network)
    load_weights(tmp_path / "w", other)
    for name, tensor in network.state_dict().items():
        assert other.state_dict()[name].numpy().tobytes() == tensor.numpy().tobytes(), name
    x = torch.rand(4, 1, 8, 8, generator=generator(1))
    assert torch.equal(network.eval()(x), other.eval()(x))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no weights at"):
        load_weights(tmp_path / "nothing", tiny_network())


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        load_weights(tmp_path, tiny_network())


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w"
    save_weights(path, tiny_network())
    whole = path.read_bytes()
    for length in (0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="damaged"):
            load_weights(path, tiny_network())


@pytest.mark.parametrize("content", [b"hello" * 100, b"\x80\x04\x95pickle", b"\xff" * 64])
def test_foreign_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_weights(tmp_path / "w", tiny_network())


def test_another_network_is_refused_with_the_first_difference(tmp_path: Path) -> None:
    save_weights(tmp_path / "w", tiny_network(num_classes=7))
    with pytest.raises(
        CheckpointError, match=r"2 tensors differ, first classifier\.bias \(file \(7,\), network \(10,\)"
    ):
        load_weights(tmp_path / "w", tiny_network())


@pytest.mark.parametrize("change", ["missing", "added"])
def test_missing_and_additional_tensors_are_refused_and_nothing_is_filled(tmp_path: Path, change: str) -> None:
    tensors = {name: tensor.contiguous() for name, tensor in tiny_network(3).state_dict().items()}
    if change == "missing":
        del tensors["classifier.bias"]
    else:
        tensors["classifier.scale"] = torch.ones(1)
    safetensors.torch.save_file(tensors, tmp_path / "w")
    network = tiny_network()
    with pytest.raises(CheckpointError, match=r"classifier\.(bias|scale)"):
        load_weights(tmp_path / "w", network)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), tiny_network().parameters(), strict=True))


def test_a_state_of_another_training_is_refused_with_what_to_do(tmp_path: Path) -> None:
    state = start_training(tiny_network(), TINY_TRAINING, generator())
    save_training(tmp_path / "s", state, "this one")
    with pytest.raises(CheckpointError, match=r"another training.*remove its folder"):
        load_training(tmp_path / "s", state, "that one")


def test_weights_are_no_state(tmp_path: Path) -> None:
    save_weights(tmp_path / "w", tiny_network())
    with pytest.raises(CheckpointError, match="another training"):
        load_training(tmp_path / "w", start_training(tiny_network(), TINY_TRAINING, generator()), "this one")


def test_a_cut_state_is_refused(tmp_path: Path) -> None:
    state = start_training(tiny_network(), TINY_TRAINING, generator())
    save_training(tmp_path / "s", state, "this one")
    whole = (tmp_path / "s").read_bytes()
    (tmp_path / "s").write_bytes(whole[:-10])
    with pytest.raises(CheckpointError, match="damaged"):
        load_training(tmp_path / "s", state, "this one")


def test_saving_changes_nothing_in_the_state(tmp_path: Path) -> None:
    data = tiny_images(32)
    quiet, saved = (start_training(tiny_network(), TINY_TRAINING, generator()) for _ in range(2))
    for _ in range(2):
        for state in (quiet, saved):
            train_epoch(state, data, TINY_TRAINING, ThreatModel(epsilon=0.05))
        save_training(tmp_path / "s", saved, "x")
    assert all(torch.equal(a, b) for a, b in zip(quiet.network.parameters(), saved.network.parameters(), strict=True))
    assert torch.equal(quiet.generator.get_state(), saved.generator.get_state())
