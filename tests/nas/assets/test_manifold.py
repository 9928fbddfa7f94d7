"""Manifolds: codes and decoders against known ones, attacks on codes against the known worst case, training, disk."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nas.assets.asset import kept
from nas.assets.manifold.codes import on_manifold
from nas.assets.manifold.keeping import ManifoldAsset, loaded, with_manifold
from nas.assets.manifold.known import known_manifold
from nas.assets.manifold.pca import Subspace, fitted_pca
from nas.assets.manifold.settings import FILE, Known, Pca, Vae
from nas.assets.manifold.vae import VaeTraining, finish_, start_vae, untrained_vae
from nas.attacks import Apgd, Pgd
from nas.attacks.balls import BALLS
from nas.attacks.threat import BOUNDS, ThreatModel
from nas.base.errors import CheckpointError, UsageError
from nas.data import Augmentation
from nas.data.datasets import SearchData, load_search_data, load_test_data
from nas.data.domain import Codes
from nas.data.settings import Digits, Simulated
from nas.data.simulated import centres, largest_code, waves
from nas.evaluation import EvaluationSettings, Ladder
from nas.evaluation.acting import Target, Targets
from nas.evaluation.evaluate import evaluate
from nas.networks.build import new_network
from nas.networks.stored import tensors_of
from nas.networks.through import Through
from nas.networks.view import view_of
from nas.testing.small import TINY_TRAINING, generator, tiny_images, tiny_space
from nas.training.batch import draw_batch
from nas.training.inner import ascended
from nas.training.loop import scored_network, start_training, train_epoch
from nas.training.methods import MixedOnManifold, Natural
from nas.training.settings import OnManifoldTraining, Training
from search_spaces.network import Network

SIMULATED = Simulated(name="simulated", images=400, test_images=100)
ETA = 0.4
ON_MANIFOLD = ThreatModel(acts_on="manifold", epsilon=ETA)
FAST_VAE = Vae(dimensions=4, channels=4, epochs=4, batch_size=50)


@pytest.fixture(scope="module")
def data() -> SearchData:
    return load_search_data(SIMULATED)


@pytest.fixture(scope="module")
def digits() -> SearchData:
    return load_search_data(Digits(name="digits"))


def test_the_map_of_the_simulation_is_orthonormal_and_stays_in_the_box(data: SearchData) -> None:
    axes = waves(SIMULATED)
    torch.testing.assert_close(axes @ axes.T, torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-12)
    assert largest_code(SIMULATED) * axes.abs().sum(0).max() == pytest.approx(0.5)
    for settings in (SIMULATED, SIMULATED.model_copy(update={"classes": 16})):
        assert len({tuple(row) for row in centres(settings).tolist()}) == settings.classes
    assert data.train.labels.bincount().tolist() == [90] * 4
    again = load_search_data(SIMULATED)
    assert torch.equal(again.train.images, data.train.images)
    assert load_search_data(SIMULATED.model_copy(update={"seed": 1})).fingerprint != data.fingerprint


def test_the_known_manifold_gives_the_images_back_but_for_their_rounding(data: SearchData) -> None:
    manifold = known_manifold(data)
    assert manifold.error(data.validation) < 1 / 255
    codes = manifold.codes(data.train.inputs(), data.train.labels)
    assert codes.shape == (360, 1, 1, 4)
    torch.testing.assert_close(codes.flatten(1).std(0), torch.ones(4), rtol=0.02, atol=0)
    torch.testing.assert_close(codes.flatten(1).mean(0), torch.zeros(4), rtol=0, atol=0.02)


def test_a_picture_has_every_image_above_its_reconstruction(data: SearchData) -> None:
    manifold, split = known_manifold(data), data.validation
    picture = manifold.reconstruction_picture(split, count=3)
    height, width = split.inputs().shape[2:]
    larger = 96 // height
    for column, index in enumerate((0, (len(split) - 1) // 2, len(split) - 1)):
        left = 2 + column * (width * larger + 2)
        shown = picture[0, 2 : 2 + 2 * height * larger : larger, left : left + width * larger : larger]
        torch.testing.assert_close(shown[:height], split.inputs()[index, 0], rtol=0, atol=0)
        torch.testing.assert_close(shown[height:], split.inputs()[index, 0], rtol=0, atol=1 / 255)


def test_codes_have_the_bounds_of_threats_on_them() -> None:
    assert (Codes().low, Codes().high) == BOUNDS["manifold"] == (ON_MANIFOLD.low, ON_MANIFOLD.high)


def test_a_map_that_is_not_known_is_refused(digits: SearchData) -> None:
    with pytest.raises(UsageError, match=r"the map behind the data set digits is not known \(allowed: simulated\)"):
        known_manifold(digits)


class Linear(nn.Module):
    """Logits x · W."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight


@pytest.mark.parametrize("attack", [Pgd(steps=20), Apgd(steps=20)], ids=["pgd", "apgd"])
@pytest.mark.parametrize("eta", [0.1, 0.4, 1.0])
def test_the_attack_reaches_the_known_worst_case(attack: Pgd | Apgd, eta: float, data: SearchData) -> None:
    """Of two classes and a linear network on a linear manifold: every coordinate moves as far as it may."""
    manifold, decoder = known_manifold(data), known_manifold(data).decoder
    assert isinstance(decoder.raw, Subspace)
    network = Linear(torch.randn(64, 2, generator=generator(3)))
    labels = data.validation.labels % 2
    split = on_manifold(dataclasses.replace(data.validation, labels=labels), manifold)
    target = Targets(Target(network, view_of(network), split)).under(ON_MANIFOLD)
    z, signs = target.split.inputs(), 1 - 2 * labels.float()
    slope = decoder.scale * (decoder.raw.axes @ (network.weight[:, 0] - network.weight[:, 1]).detach())
    logits = target.view.logits(z)
    margin = signs * (logits[:, 0] - logits[:, 1])
    flat = z.flatten(1)
    down = torch.where(signs[:, None] * slope > 0, flat - decoder.low, decoder.high - flat).clamp_max(eta)
    worst = margin - (down * slope.abs()).sum(1)
    threat = ThreatModel(acts_on="manifold", epsilon=eta)
    found = attack.run(target.view, z, labels, threat, generator())
    assert torch.equal(found.fooled, worst < 0)
    assert 0 < int(found.fooled.sum()) < len(labels)
    if isinstance(attack, Pgd):
        reached = target.view.logits(found.adversarial)
        torch.testing.assert_close(signs * (reached[:, 0] - reached[:, 1]), worst, rtol=1e-3, atol=1e-4)


def test_pca_has_the_share_of_variance_that_is_asked_for(digits: SearchData) -> None:
    errors = []
    pixels = digits.train.inputs().flatten(1).double()
    variance = pixels.var(0, correction=0).sum()
    for share in (0.5, 0.9, 0.99, 1.0):
        manifold = fitted_pca(Pca(variance=share), digits.train)
        assert isinstance(manifold.decoder.raw, Subspace)
        axes = manifold.decoder.raw.axes
        torch.testing.assert_close(axes @ axes.T, torch.eye(len(axes)), rtol=0, atol=1e-5)
        residual = pixels - pixels.mean(0) - (pixels - pixels.mean(0)) @ axes.double().T @ axes.double()
        assert 1 - residual.square().sum() / len(pixels) / variance >= share - 1e-6
        errors.append(manifold.error(digits.train))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3, "but for codes beyond 16 standard deviations"
    assert len(fitted_pca(Pca(dimensions=7), digits.train).decoder.centre) == 7


def test_codes_beyond_the_range_of_training_count_as_its_ends(digits: SearchData) -> None:
    decoder = fitted_pca(Pca(dimensions=5), digits.train).decoder
    far, end = torch.full((1, 1, 1, 5), 15.0), decoder.high.view(1, 1, 1, 5)
    assert torch.equal(decoder(far), decoder(end))
    assert torch.equal(decoder(-far), decoder(decoder.low.view(1, 1, 1, 5)))


def test_natural_accuracy_on_the_manifold_is_that_on_reconstructions(digits: SearchData) -> None:
    manifold = fitted_pca(Pca(dimensions=6), digits.train)
    network = new_network(tiny_space().spec(tiny_space().largest()), generator()).eval()
    split = on_manifold(digits.validation[:50], manifold)
    settings = EvaluationSettings(
        attack=Pgd(steps=2), threats={"manifold": ON_MANIFOLD}, ladder=Ladder(trust_images=16)
    )
    found = evaluate(network, split, ThreatModel(epsilon=0.1), settings, generator(), split_name="validation",
                     fidelity="front").by_threat["manifold"]  # fmt: skip
    x = manifold.decoder(manifold.codes(split.inputs(), split.labels))
    assert found.natural_accuracy == float((network(x).argmax(1) == split.labels).double().mean())
    assert found.robust_accuracy <= found.natural_accuracy
    assert found.threat["acts_on"] == "manifold"


def trained(network: Network, data: SearchData, settings: Training, epochs: int) -> Network:
    chosen = settings.model_copy(update={"epochs": epochs, "batch_size": 40, "learning_rate": 0.1})
    state = start_training(network, chosen, generator())
    for _ in range(epochs):
        train_epoch(state, data.train, chosen, ThreatModel(epsilon=0.05))
    return scored_network(state, data.train, chosen)


@pytest.mark.parametrize("method", ["natural", "madry", "trades"])
def test_every_method_trains_on_the_manifold_too(method: str, data: SearchData) -> None:
    own = with_manifold(data, known_manifold(data))
    spec = tiny_space(num_classes=4).spec(tiny_space(num_classes=4).largest())
    settings = TINY_TRAINING.model_copy(update={"method": method, "on_manifold": OnManifoldTraining(weight=0.5)})
    first, again = (tensors_of(trained(new_network(spec, generator()), own, settings, 1)) for _ in range(2))
    without = tensors_of(trained(new_network(spec, generator()), own, settings.model_copy(
        update={"on_manifold": OnManifoldTraining()}), 1))  # fmt: skip
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["classifier.weight"], without["classifier.weight"])


def test_training_on_the_manifold_withstands_more_on_it(data: SearchData) -> None:
    own = with_manifold(data, known_manifold(data))
    test = on_manifold(load_test_data(SIMULATED), known_manifold(data))
    spec = tiny_space(num_classes=4).spec(tiny_space(num_classes=4).largest())
    robust = []
    for weight in (0.0, 0.5):
        settings = TINY_TRAINING.model_copy(
            update={
                "method": "natural", "on_manifold": OnManifoldTraining(weight=weight, epsilon=0.6),
                "augmentation": Augmentation(crop_padding=0),
            }
        )  # fmt: skip
        network = trained(new_network(spec, generator()), own, settings, 20)
        target = Targets(Target(network, view_of(network), test)).under(ON_MANIFOLD)
        threat = ThreatModel(acts_on="manifold", epsilon=0.6)
        found = Pgd(steps=20).run(target.view, target.split.inputs(), test.labels, threat, generator())
        robust.append(1 - float(found.fooled.double().mean()))
    assert robust[1] > robust[0] + 0.05


def test_a_vae_learns_the_images_and_resumes_bit_for_bit(tmp_path: Path, digits: SearchData) -> None:
    small = dataclasses.replace(digits, train=digits.train[:300], validation=digits.validation[:50])

    def asset() -> ManifoldAsset:
        return ManifoldAsset(FAST_VAE, small, 0, torch.device("cpu"))

    whole = kept(tmp_path / "whole", asset(), None)
    half = untrained_vae(FAST_VAE, small.input_shape, 10, generator())
    assert whole.error(small.train) < half.error(small.train)
    place = tmp_path / "killed" / "manifold"
    place.mkdir(parents=True)
    calls = 0
    original = VaeTraining.train_epoch

    def killed(self: VaeTraining, split: object) -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return original(self, split)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VaeTraining, "train_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            asset().make_(place)
    resumed = kept(tmp_path / "killed", asset(), None)
    for name, tensor in tensors_of(whole).items():
        assert torch.equal(tensors_of(resumed)[name], tensor), name
    assert [json.loads(line)["epoch"] for line in (place / "log.jsonl").read_text().splitlines()] == [1, 2, 3, 4]


@pytest.mark.parametrize("classes", [2, 10, 40])
def test_a_class_is_kept_whatever_happens_to_the_code(classes: int) -> None:
    settings = FAST_VAE.model_copy(update={"conditional": True, "epochs": 1})
    split = tiny_images(80, num_classes=classes)
    split = dataclasses.replace(split, labels=torch.arange(80) % classes)
    manifold = untrained_vae(settings, (1, 8, 8), classes, generator())
    start_vae(manifold, settings, generator()).train_epoch(split)
    finish_(manifold, split, settings)
    z = manifold.codes(split.inputs(), split.labels)
    assert z.shape == (80, 1, 1, 5)
    assert manifold.most_epsilon == pytest.approx(16 / (classes - 1))
    moved = z.clone()
    for epsilon in (-0.99 * manifold.most_epsilon, 0.99 * manifold.most_epsilon):
        moved[..., -1] = z[..., -1] + epsilon
        assert torch.equal(manifold.decoder(moved), manifold.decoder(z))
    moved = manifold.codes(split.inputs(), (split.labels + 1) % classes)
    assert not torch.equal(manifold.decoder(torch.cat([z[..., :-1], moved[..., -1:]], -1)), manifold.decoder(z))


def test_on_manifold_images_are_sought_through_the_crop_and_flip_that_they_get(digits: SearchData) -> None:
    data = with_manifold(digits, fitted_pca(Pca(dimensions=8), digits.train))
    state = start_training(
        new_network(tiny_space().spec(tiny_space().largest()), generator()), TINY_TRAINING, generator()
    )
    settings = OnManifoldTraining(weight=1.0, epsilon=0.5)
    method, natural = MixedOnManifold(Natural(TINY_TRAINING), settings, 0.0), Augmentation(crop_padding=2, flip=True)
    batch = draw_batch(data.train, torch.arange(32), natural, generator(1))
    points, seen = data.train[batch.indices], list[Tensor]()
    state.forward = lambda *x: seen.extend(x) or tuple(torch.zeros(len(one), 10) for one in x)  # type: ignore[assignment, func-returns-value]
    state.generator = generator(2)
    state.view.chunk_size = 16  # type: ignore[misc]
    method.loss(state, batch, ThreatModel(epsilon=0.1))
    decoder = points.origins["manifold"].front_end()
    z = points.at_origin("manifold").inputs()
    ball = BALLS["linf"](0.5, *BOUNDS["manifold"])
    start = ball.start(z, generator(2))
    state.view.chunk_size = 1000  # type: ignore[misc]  # one chunk; the training step had two
    through = Through(state.view, lambda codes: batch.crop_flip.apply(decoder(codes)))
    wanted = batch.crop_flip.apply(decoder(ascended(through, z, batch.y, start, ball, settings.attack)))
    torch.testing.assert_close(seen[-1], wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("settings", [Pca(dimensions=3), Known(), FAST_VAE.model_copy(update={"epochs": 1})],
                         ids=["pca", "known", "vae"])  # fmt: skip
def test_a_manifold_comes_back_from_disk_and_is_of_its_data(
    settings: Pca | Known | Vae, tmp_path: Path, data: SearchData
) -> None:
    made = kept(tmp_path, ManifoldAsset(settings, data, 0, torch.device("cpu")), None)
    back = loaded(tmp_path / "manifold" / FILE)
    x, labels = data.validation.inputs(), data.validation.labels
    assert torch.equal(back.codes(x, labels), made.codes(x, labels))
    assert torch.equal(back.decoder(back.codes(x, labels)), made.decoder(made.codes(x, labels)))
    other = load_search_data(SIMULATED.model_copy(update={"seed": 5}))
    with pytest.raises(CheckpointError, match="is of other data or settings"):
        kept(tmp_path, ManifoldAsset(settings, other, 0, torch.device("cpu")), None)
    (tmp_path / "manifold" / FILE).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="damaged"):
        loaded(tmp_path / "manifold" / FILE)


def test_a_threat_on_no_manifold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    network = new_network(tiny_space().spec(tiny_space().largest()), generator())
    monkeypatch.setattr(Pgd, "run", lambda *_: pytest.fail("an attack was made before the threats were looked at"))
    settings = EvaluationSettings(attack=Pgd(steps=1), threats={"codes": ON_MANIFOLD})
    with pytest.raises(UsageError, match=r"evaluation\.threats\.codes\.acts_on: these images have no codes"):
        evaluate(network, tiny_images(10), ThreatModel(epsilon=0.1), settings, generator(), split_name="validation")
    with pytest.raises(UsageError, match="have no codes on a manifold"):
        Targets(Target(network, view_of(network), tiny_images(10))).under(ON_MANIFOLD)
