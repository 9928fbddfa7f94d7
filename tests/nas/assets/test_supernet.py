"""A supernet: whose weights its subnets are, what a step does, and what a kill costs."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

import nas.assets.supernet.training as one_shot
from nas.assets.asset import kept
from nas.assets.supernet import SupernetTraining
from nas.assets.supernet.keeping import STATE, SupernetAsset, has_supernet
from nas.assets.supernet.training import SupernetLog, distilled_loss, sandwich, start_supernet, train_supernet_epoch
from nas.assets.supernet.weights import Supernet, begin_with, copied, owners, widened
from nas.attacks.losses import kl_divergence
from nas.attacks.threat import ThreatModel
from nas.base.errors import CheckpointError, UsageError
from nas.base.seeding import make_generator
from nas.networks.backprop import forward_of
from nas.training.averaging import reestimate_batch_norm_
from nas.training.loop import start_training
from search_spaces import BlockSpec, Choice, Genotype, NetworkSpec, SearchSpace
from search_spaces.mlperf_tiny import ResnetTiny, Stack, resnet_tiny
from search_spaces.network import Network, build_network
from search_spaces.space import Value
from tests.builders import TINY_TRAINING, generator, tiny_blocks_space, tiny_data, tiny_space


def resnets(values: Mapping[str, Value]) -> NetworkSpec:
    """Two blocks of ResNet; at its smallest width the first one has no projection.

    From 8 channels on: with fewer, autograd on the strided projection corrupts memory without AVX-512 (oneDNN #6035).
    """
    first, second = int(values["width_1"]), int(values["width_2"])
    blocks = (
        BlockSpec("conv", 0, 1, 8, 8, 3, 1),
        BlockSpec("resnet", 1, 8, first, first, 3, 1),
        BlockSpec("resnet", 2, first, 6, second, (3, 1), 2),
    )
    return NetworkSpec((1, 8, 8), 10, blocks)


SPACE, KINDS = tiny_space(), tiny_blocks_space()
RESNETS = SearchSpace("resnets", (Choice("width_1", (8, 10)), Choice("width_2", (6, 8))), (1, 8, 8), 10, resnets)
SETTINGS = SupernetTraining(**TINY_TRAINING.model_dump(), subnets=2)
THREAT = ThreatModel(epsilon=0.05)
STACKS = resnet_tiny(
    ResnetTiny(stacks=(Stack(8), Stack(16, 2)), stem_channels=8, width_multipliers=(1.0, 1.5), depths=(1, 2)),
    (1, 8, 8),
    10,
)
GENOTYPES = [
    (space, genotype)
    for space in (SPACE, KINDS, RESNETS, STACKS)
    for genotype in (space.smallest(), space.largest(), *(space.sample(Random(seed)) for seed in range(4)))
]
each_genotype = pytest.mark.parametrize(("space", "genotype"), GENOTYPES)


def supernet(width: float = 1.0, seed: int = 0, space: SearchSpace = SPACE) -> Supernet:
    found = Supernet(space, width, generator(seed), [0.3], [0.4])
    with torch.no_grad():
        for parameter in found.parameters():  # every value different, so that no wrong slice passes for the right one
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator(seed + 1))
    return found


def images(count: int = 6, seed: int = 3) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, generator=generator(seed))


def by_hand(shared: Supernet, spec: NetworkSpec) -> dict[str, torch.Tensor]:
    """Parameters of the network of `spec`, sliced with autograd's knowledge from the shared ones."""
    network = build_network(spec, generator())
    names = {parameter: name for name, parameter in network.named_parameters()}
    found = {}
    for name, module, attribute in owners(network):
        own = getattr(module, attribute)
        found[names[own]] = shared.get_parameter(name)[tuple(slice(size) for size in own.shape)]
    return found


@each_genotype
@pytest.mark.parametrize("width", [1.0, 1.5])
def test_a_subnet_is_the_module_of_the_space_with_these_weights(
    space: SearchSpace, genotype: Genotype, width: float
) -> None:
    spec, shared = space.spec(genotype), supernet(width, space=space)
    subnet, plain = shared.subnet(spec), build_network(spec, generator(9), [0.3], [0.4])
    copied(shared, plain)
    assert subnet.state_dict().keys() == plain.state_dict().keys()
    for name, tensor in plain.named_parameters():
        assert torch.equal(subnet.get_parameter(name), tensor), name
    # Not bit for bit: a library takes another kernel for a slice than for a tensor of its own.
    assert torch.allclose(subnet(images()), plain(images()), atol=1e-6)
    assert torch.allclose(forward_of(subnet)(images())[0], forward_of(plain)(images())[0], atol=1e-6)
    assert torch.allclose(subnet.eval()(images()), plain.eval()(images()), atol=1e-6), "with statistics of all batches"


@each_genotype
def test_its_weights_are_views_and_no_copies(space: SearchSpace, genotype: Genotype) -> None:
    shared = supernet(space=space)
    subnet = shared.subnet(space.spec(genotype))
    kept = {tensor.untyped_storage().data_ptr() for tensor in shared.parameters()}
    assert {tensor.untyped_storage().data_ptr() for tensor in subnet.parameters()} <= kept
    before = subnet(images())
    with torch.no_grad():
        shared.get_parameter("classifier_bias").add_(1)
    assert torch.allclose(subnet(images()), before + 1, atol=1e-5)


@each_genotype
def test_gradients_add_up_in_the_shared_weights(space: SearchSpace, genotype: Genotype) -> None:
    """Against autograd through the slices, for a loss of one subnet after another."""
    shared, reference = supernet(space=space), supernet(space=space)
    start_supernet(shared, SETTINGS, generator(), 0)
    for one in (genotype, space.smallest()):
        spec = space.spec(one)
        subnet = shared.subnet(spec)
        loss = F.cross_entropy(subnet(images()), torch.arange(6))
        found = torch.autograd.grad(loss, list(subnet.parameters()))
        torch._foreach_add_(shared.gradients(subnet), found)
        shell = build_network(spec, generator(), [0.3], [0.4])
        F.cross_entropy(functional_call(shell, by_hand(reference, spec), images()), torch.arange(6)).backward()  # type: ignore[no-untyped-call]
    for name, parameter in shared.named_parameters():
        expected = reference.get_parameter(name).grad
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, torch.zeros(()) if expected is None else expected, atol=1e-6), name


def test_what_the_supernet_lacks_is_named() -> None:
    wide = widened(SPACE.spec(SPACE.largest()), 1.5)
    with pytest.raises(
        ValueError, match=r"no row0_0_conv3_1_kernel of \(6, 1, 3, 3\) to share \(it has \(4, 1, 3, 3\)\)"
    ):
        supernet().subnet(wide)
    assert supernet(1.5).subnet(wide).spec == wide


def test_widened_scales_all_channels_but_those_of_the_images() -> None:
    spec = SPACE.spec(SPACE.largest())
    wide = widened(spec, 1.5)
    assert wide.blocks[0].in_channels == spec.blocks[0].in_channels
    assert [block.out_channels for block in wide.blocks] == [-(-3 * block.out_channels // 2) for block in spec.blocks]
    assert widened(spec, 1) == spec


def test_the_sandwich_has_the_ends_and_random_ones_that_follow_from_seed_and_step() -> None:
    def drawn(seed: int, step: int) -> list[str]:
        return [spec.key for spec in sandwich(SPACE, 1.0, 3, 1.0, seed, step)]

    assert drawn(0, 5)[:2] == [SPACE.largest().key, SPACE.smallest().key]
    assert len(drawn(0, 5)) == 5
    assert drawn(0, 5) == drawn(0, 5)
    assert len({tuple(drawn(0, step)) for step in range(20)}) > 15
    assert drawn(0, 5) != drawn(1, 5)
    widest, smallest = sandwich(SPACE, 1.5, 0, 1.0, 0, 0)
    assert widest == widened(SPACE.spec(SPACE.largest()), 1.5)
    assert smallest.key == SPACE.smallest().key


def kinds_of(spec: NetworkSpec) -> list[tuple[int, str]]:
    return [(block.row, f"{block.kind}{block.kernel_size}") for block in spec.blocks[1:-1]]


def test_kinds_are_those_of_the_largest_at_first_and_drawn_in_all_others_at_last() -> None:
    largest = KINDS.spec(KINDS.largest())
    for freedom, different in ((0.0, range(1)), (0.3, range(5, 25)), (1.0, range(25, 31))):
        steps = [list(sandwich(KINDS, 1.0, 1, freedom, 0, step)) for step in range(30)]
        assert {step[0].key for step in steps} == {largest.key}
        for place in (1, 2):
            assert sum(kinds_of(step[place]) != kinds_of(largest) for step in steps) in different
        smallest = {(block.row, block.out_channels) for step in steps for block in step[1].blocks[1:-1]}
        assert smallest == {(1, 2), (2, 4), (3, 4)}


@pytest.mark.parametrize(
    ("progressive", "expected"), [(0.5, [0.5, 1.0, 1.0, 1.0]), (1.0, [0.25, 0.5, 0.75, 1.0]), (0.0, [1.0] * 4)]
)
def test_kinds_get_free_over_the_progressive_part(
    progressive: float, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, real = list[float](), sandwich

    def noted(
        space: SearchSpace, width: float, random: int, freedom: float, seed: int, step: int
    ) -> Iterator[NetworkSpec]:
        found.append(freedom)
        return real(space, width, random, freedom, seed, step)

    monkeypatch.setattr(one_shot, "sandwich", noted)
    settings = SETTINGS.model_copy(update={"epochs": 4, "progressive": progressive, "batch_size": 64})
    data = tiny_data().train[:64]
    state = start_supernet(supernet(space=KINDS), settings, generator(0), 0)
    for _ in range(4):
        train_supernet_epoch(state, data, settings, THREAT)
    assert found == pytest.approx(expected)


def test_a_supernet_of_kinds_builds_every_network_of_its_space() -> None:
    shared, rng = supernet(space=KINDS), Random(1)
    for _ in range(60):
        shared.subnet(KINDS.spec(KINDS.sample(rng)))


def test_the_distilled_loss_has_known_values() -> None:
    taught = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    assert distilled_loss(taught, taught, taught, 6).item() == pytest.approx(0, abs=1e-7)
    logits, t, flat = torch.zeros(2, 3), F.softmax(taught, 1), torch.full((2, 3), 1 / 3)
    kl = (t * (t / flat).log()).sum(1).mean().item()
    assert distilled_loss(logits, taught, taught, 6).item() == pytest.approx(kl, rel=1e-5)
    assert distilled_loss(taught, logits, taught, 6).item() == pytest.approx(6 * kl, rel=1e-5)
    assert kl_divergence(F.log_softmax(taught, 1), F.log_softmax(logits, 1)).mean().item() == pytest.approx(
        kl, rel=1e-5
    )


@pytest.mark.parametrize(("attacked", "attacks"), [("subnet", 4), ("largest", 1)])
def test_whom_the_images_of_a_step_are_made_against(
    attacked: str, attacks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    plain = one_shot.maximise

    def watch(view: object, *others: object) -> torch.Tensor:
        seen.append(view)
        return plain(view, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(one_shot, "maximise", watch)
    data = tiny_data()
    settings = SETTINGS.model_copy(update={"attacked": attacked, "batch_size": len(data.train)})
    train_supernet_epoch(start_supernet(supernet(), settings, generator(), 0), data.train, settings, THREAT)
    assert len(seen) == attacks


def test_the_attack_sees_the_statistics_of_the_present_images() -> None:
    state = start_supernet(supernet(), SETTINGS, generator(), 0)
    member = one_shot._member(state, SPACE.spec(SPACE.largest()), SETTINGS)
    x = images(16)
    with torch.no_grad():
        member.forward(x)
    member.view.refold_()
    plain = build_network(SPACE.spec(SPACE.largest()), generator(), [0.3], [0.4])
    copied(state.network, plain)
    reestimate_batch_norm_(plain, [x])
    assert torch.allclose(member.view.logits(x), plain.eval()(x), atol=1e-5)


@pytest.mark.parametrize("batch_norm_images", [0, 32])
def test_a_training_begins_with_statistics_of_its_images(batch_norm_images: int) -> None:
    settings = TINY_TRAINING.model_copy(update={"batch_norm_images": batch_norm_images})
    data, shared = tiny_data().train, supernet()
    network = build_network(SPACE.spec(SPACE.largest()), generator(), [0.3], [0.4])
    begin_with(shared, network, data, settings)
    expected = build_network(network.spec, generator(), [0.3], [0.4])
    copied(shared, expected)
    seen = data.images[: batch_norm_images or settings.batch_size].float() / 255
    reestimate_batch_norm_(expected, list(torch.split(seen, settings.batch_size)))
    state = start_training(network, settings, generator())
    x = images()
    assert torch.allclose(state.view.logits(x), expected.eval()(x), atol=1e-5), "what the first attack sees"


def trained(epochs: int, **changes: object) -> tuple[one_shot.SupernetState, list[SupernetLog]]:
    settings = SETTINGS.model_copy(update={"epochs": 6, "learning_rate": 0.1, **changes})
    data = tiny_data()
    state = start_supernet(
        Supernet(SPACE, settings.width, generator(), data.mean, data.std), settings, make_generator(0, "t"), 0
    )
    return state, [train_supernet_epoch(state, data.train, settings, THREAT) for _ in range(epochs)]


@pytest.mark.parametrize("distillation", [True, False])
def test_it_learns_at_both_ends(distillation: bool) -> None:
    _, logs = trained(6, distillation=distillation)
    assert logs[-1].loss_largest < logs[0].loss_largest
    if not distillation:
        assert logs[-1].loss_smallest < logs[0].loss_smallest
        assert (logs[-1].loss_random or 9) < (logs[0].loss_random or 0)


def test_seeds_reproduce_it_bit_for_bit() -> None:
    (one, _), (other, _) = trained(2), trained(2)
    for name, tensor in one.network.state_dict().items():
        assert torch.equal(tensor, other.network.state_dict()[name]), name


def keep(
    folder: Path, settings: SupernetTraining = SETTINGS, report: Callable[[SupernetLog, int], None] = lambda *_: None
) -> Supernet:
    asset = SupernetAsset(SPACE, tiny_data(), THREAT, settings, 0, torch.device("cpu"), report)
    return kept(folder, asset, settings.taken_from)


def never(*_: object) -> None:
    raise AssertionError("it was trained again")


def test_it_is_trained_once_and_kept(tmp_path: Path) -> None:
    assert not has_supernet(tmp_path)
    first = keep(tmp_path)
    assert has_supernet(tmp_path)
    again = keep(tmp_path, report=never)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert not any(parameter.requires_grad for parameter in again.parameters())
    logged = [json.loads(line)["epoch"] for line in (tmp_path / "supernet" / "log.jsonl").read_text().splitlines()]
    assert logged == [1, 2]
    assert not (tmp_path / "supernet" / STATE).exists()


def test_a_killed_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    def stop(log: SupernetLog, _: int) -> None:
        raise KeyboardInterrupt

    epochs: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        keep(tmp_path / "killed", report=stop)
    ended = keep(tmp_path / "killed", report=lambda log, _: epochs.append(log.epoch))
    assert epochs == [2], "the first epoch is not trained again"
    whole = keep(tmp_path / "whole")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, ended.state_dict()[name]), name
    logs = [(tmp_path / name / "supernet" / "log.jsonl").read_text() for name in ("killed", "whole")]
    assert logs[0] == logs[1]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run with a supernet; to be read only."""
    folder = tmp_path_factory.mktemp("supernet") / "one"
    keep(folder)
    return folder


def test_it_is_taken_from_another_run(tmp_path: Path, one: Path) -> None:
    shutil.copytree(one, tmp_path / "one")
    first = keep(tmp_path / "one", report=never)
    settings = SETTINGS.model_copy(update={"taken_from": tmp_path / "one"})
    taken = keep(tmp_path / "two", settings, never)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, taken.state_dict()[name]), name
    (tmp_path / "one" / "supernet" / "supernet.safetensors").unlink()
    keep(tmp_path / "two", settings, never)
    with pytest.raises(UsageError, match="has no supernet"):
        keep(tmp_path / "three", settings)


def test_of_one_that_is_taken_only_what_it_can_build_matters(tmp_path: Path, one: Path) -> None:
    first = keep(one, report=never)
    settings = SETTINGS.model_copy(update={"taken_from": one, "epochs": 9, "learning_rate": 0.5})
    for _ in range(2):
        taken = keep(tmp_path / "two", settings, never)
        assert all(torch.equal(taken.state_dict()[name], tensor) for name, tensor in first.state_dict().items())
    with pytest.raises(CheckpointError, match="width differ"):
        keep(tmp_path / "three", settings.model_copy(update={"width": 1.5}), never)
    assert not (tmp_path / "three").exists(), "what is refused leaves nothing"


@pytest.mark.parametrize("changes", [{"epochs": 3}, {"subnets": 1}, {"attacked": "largest"}, {"width": 1.5}])
def test_one_of_other_settings_is_refused(one: Path, changes: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match="of another supernet"):
        keep(one, SETTINGS.model_copy(update=changes))


def test_networks_of_the_supernet_survive_pickling_with_the_plan() -> None:
    import pickle

    shared = supernet().requires_grad_(False)
    twin = pickle.loads(pickle.dumps(shared))  # noqa: S301 as a worker process receives it
    spec = SPACE.spec(SPACE.largest())
    assert torch.allclose(twin.subnet(spec)(images()), shared.subnet(spec)(images()), atol=1e-6)


def test_every_parameter_of_a_network_has_a_name_of_its_own() -> None:
    for space, genotype in GENOTYPES:
        network: Network = build_network(space.spec(genotype), generator())
        names = [name for name, _, _ in owners(network)]
        assert len(set(names)) == len(names) == len(list(network.parameters()))


def test_a_log_line_is_json_even_without_random_subnets() -> None:
    _, (log,) = trained(1, subnets=0)
    assert json.loads(json.dumps(dataclasses.asdict(log), allow_nan=False))["loss_random"] is None
