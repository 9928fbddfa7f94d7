"""AutoAttack is the authors' evaluation, and leaves no trace in the process."""

import logging
import random
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from nas.attacks import AutoAttack
from nas.attacks.autoattack import _their_tiles_fit
from nas.attacks.threat import ThreatModel
from nas.base.errors import UsageError
from nas.networks.view import AutogradView, FoldedView, view_of
from tests.builders import Broken, generator, tiny_network
from tests.nas.attacks.test_apgd import NORMS, THREATS, Exact, images

reference = pytest.importorskip("pyautoattack")


def standard_evaluation(network: torch.nn.Module, x: Tensor, labels: Tensor, norm: str, seed: int) -> Tensor:
    """Images that the authors' own driver fools, with fewer steps and queries as in the tests below."""
    theirs = reference.AutoAttack(network, eps=THREATS[norm].epsilon, norm=NORMS[norm], seed=seed)
    theirs.apgd = type(theirs.apgd)(network, n_iter=10, norm=NORMS[norm], eps=theirs.epsilon, device="cpu", rho=0.75)
    theirs.apgd_targeted = type(theirs.apgd_targeted)(
        network, n_iter=10, norm=NORMS[norm], eps=theirs.epsilon, device="cpu"
    )
    theirs.fab.n_iter, theirs.square.n_queries = 10, 50
    with torch.random.fork_rng(), torch.no_grad():
        adversarial, _ = theirs.run_standard_evaluation(x, labels)
    fooled: Tensor = network(adversarial).argmax(1) != labels
    return fooled


def seed_of(used: torch.Generator) -> int:
    """The seed that a run draws from `used`."""
    return int(torch.randint(2**31 - 1, (1,), generator=used))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_one_seed_fools_the_images_of_the_authors_evaluation(norm: str) -> None:
    network = Exact()
    x, labels = images(network, 24)
    labels[::8] = (labels[::8] + 1) % 10  # some are misclassified from the start
    ours = AutoAttack(steps=10, queries=50).run(network, x, labels, THREATS[norm], generator(3)).fooled
    theirs = standard_evaluation(Broken(network, Tensor.float), x, labels, norm, seed_of(generator(3)))
    assert 6 < theirs.sum() < 22
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_folded_view_and_the_module_lose_the_same_images(norm: str) -> None:
    network = tiny_network().double().eval()  # in float32, rounding may decide over an image
    x, labels = images(network, 16)
    threat = THREATS[norm].model_copy(update={"epsilon": THREATS[norm].epsilon * 4})
    view = view_of(network)
    assert isinstance(view, FoldedView)
    attack = AutoAttack(steps=10, queries=50)
    folded = attack.run(view, x, labels, threat, generator()).fooled
    plain = attack.run(AutogradView(network), x, labels, threat, generator()).fooled
    assert 2 < folded.sum() < 14
    assert torch.equal(folded, plain)


def test_global_random_states_and_counters_are_as_before() -> None:
    from pyautoattack import checks

    network = Exact()
    x, labels = images(network)
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state(), dict(checks.funcs)  # noqa: NPY002
    AutoAttack(steps=3, queries=5).run(network, x, labels, THREATS["linf"], generator())
    assert before[0] == random.getstate()
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    assert torch.equal(before[2], torch.get_rng_state())
    assert before[3] == checks.funcs


def test_global_random_states_are_as_before_when_the_network_raises() -> None:
    calls = [0]

    def fail_later(logits: Tensor) -> Tensor:
        calls[0] += 1
        if calls[0] > 5:
            raise RuntimeError("later")
        return logits

    network = Broken(Exact(), fail_later)
    x, labels = images(Exact())
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="later"):
        AutoAttack(steps=3, queries=5).run(network, x, labels, THREATS["linf"], generator())
    assert torch.equal(before, torch.get_rng_state())


def test_zero_gradients_are_reported_by_the_result_and_by_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    network = Broken(tiny_network(), lambda logits: logits * 0 + torch.eye(10)[3])
    x = torch.rand(4, 1, 8, 8, generator=generator())
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG):
        warnings.simplefilter("error")
        result = AutoAttack(steps=2, queries=2).run(network, x, torch.full((4,), 3), THREATS["linf"], generator())
    assert result.stuck.all()
    assert not caplog.records


def test_fewer_classes_than_targets_are_no_problem_and_fewer_than_four_are_refused() -> None:
    attack = AutoAttack(steps=2, queries=2)
    for classes in (4, 6):
        network = Exact(classes)
        x, labels = images(network)
        assert attack.run(network, x, labels, THREATS["linf"], generator()).fooled.any()
    network = Exact(3)
    x, labels = images(network)
    with pytest.raises(UsageError, match="the network has 3; use the attacks apgd"):
        attack.run(network, x, labels, THREATS["linf"], generator())


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    network = Exact()
    x, labels = images(network, 4)
    with pytest.raises(UsageError, match=r"pip install '\.\[autoattack\]'"):
        AutoAttack().run(network, x, labels, THREATS["linf"], generator())


def test_sizes_that_the_authors_square_cannot_tile_are_known() -> None:
    square = reference.autoattack.SquareAttack
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())
    for size in range(1, 40):
        x = torch.rand(1, 1, size, size, generator=generator())
        theirs = square(network, norm="L2", n_queries=1, eps=1e-3, seed=0)
        with torch.random.fork_rng():
            try:
                theirs.perturb(x, network(x).argmax(1))
                fits = True
            except (ZeroDivisionError, RuntimeError):
                fits = False
        assert fits == _their_tiles_fit(size, size), size


def test_an_image_that_the_authors_square_cannot_tile_is_attacked_all_the_same() -> None:
    network = tiny_network(input_shape=(1, 14, 14)).eval()
    x = torch.rand(4, 1, 14, 14, generator=generator())
    threat = ThreatModel(norm="l2", epsilon=1e-4)
    assert not AutoAttack(steps=2, queries=5).run(network, x, network(x).argmax(1), threat, generator()).fooled.any()
