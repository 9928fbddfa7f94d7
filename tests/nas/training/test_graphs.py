"""A replayed training is the plain one. On the CPU, the graph is one that runs the recorded work again."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nas.attacks.threat import ThreatModel
from nas.data.split import Split
from nas.networks.quantized import LEAST_ROOT, RunningRange
from nas.networks.treatments import Quantize
from nas.networks.treatments.treatment import prepare_
from nas.training import Training
from nas.training.graphs import WARM_UP, Replayed, Work
from nas.training.loop import TrainingState, _Steps, start_training, train_epoch
from nas.training.settings import METHODS
from tests.builders import TINY_TRAINING, generator, tiny_images, tiny_network

THREAT = ThreatModel(epsilon=0.05)


class _Again:
    """Stands for a CUDA graph: recording does nothing, a replay works on the very tensors of the recording."""

    def __init__(self, work: Work, inputs: list[Tensor]) -> None:
        self.work, self.inputs, self.replays = work, inputs, 0

    def replay(self) -> None:
        self.replays += 1
        self.work(*self.inputs)


class _Kernels(TorchDispatchMode):
    """Keeps every operation with its tensors; refuses to wait for the device, as a capture does."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError(f"not permitted while a stream is captured: {func}")
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out


class _OnTheSameMemory:
    """What a CUDA graph does: the recorded operations again, on the recorded tensors, without any Python between."""

    def __init__(self, work: Work, inputs: list[Tensor]) -> None:
        with _Kernels() as kernels:
            work(*inputs)  # here a recording does the work, too: the first replay is left out
        self.calls, self.is_done = kernels.calls, True

    @torch.no_grad()
    def replay(self) -> None:
        if self.is_done:
            self.is_done = False
            return
        for func, args, kwargs, out in self.calls:
            for kept, new in zip(tree_leaves(out), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(kept, Tensor) and kept.data_ptr() != new.data_ptr():
                    kept.copy_(new)


class _Recorder:
    def __init__(self) -> None:
        self.graphs: list[_Again] = []

    def __call__(self, work: Work, inputs: list[Tensor]) -> _Again:
        self.graphs.append(_Again(work, inputs))
        return self.graphs[-1]


def _everything(state: TrainingState) -> dict[str, Tensor]:
    networks = {"network": state.network, "average": state.average}
    found = {f"{part}.{name}": tensor.cpu() for part, network in networks.items() if network is not None
             for name, tensor in network.state_dict().items()}  # fmt: skip
    momenta = {str(i): s["momentum_buffer"].cpu() for i, s in enumerate(state.optimizer.state.values())}
    return {**found, **momenta, "generator": state.generator.get_state()}


def _trained(
    images: Split, chosen: Training, record: Callable[[Work, list[Tensor]], _Again] | None = None
) -> tuple[TrainingState, list[object]]:
    state = start_training(tiny_network(), chosen, generator())
    if record is not None:
        state.steps = _Steps(state, images, chosen, THREAT)
        state.steps._step = Replayed(state.steps._work, record)
    return state, [train_epoch(state, images, chosen, THREAT) for _ in range(chosen.epochs)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize(("count", "whole", "steps"), [(32, 2, 2), (40, 2, 3), (56, 3, 4), (8, 1, 1)])
def test_a_replayed_training_is_the_plain_one_bit_for_bit(
    method: str, ema_decay: float, count: int, whole: int, steps: int
) -> None:
    # 16 images a step; epochs without a smaller batch, with one as the third and as the fourth step, of one step.
    chosen = TINY_TRAINING.model_copy(update={"method": method, "ema_decay": ema_decay, "epochs": 5})
    images, record = tiny_images(count), _Recorder()
    plain, logs = _trained(images, chosen)
    replayed, seen = _trained(images, chosen, record)
    assert seen == logs
    assert replayed.step == plain.step == 5 * steps
    found = _everything(replayed)
    for name, tensor in _everything(plain).items():
        assert torch.equal(tensor, found[name]), name
    assert len(record.graphs) == 1, "recorded once"
    assert record.graphs[0].inputs[0].shape == (min(16, count),), "the many whole batches are what is worth replaying"
    assert record.graphs[0].replays == 5 * whole - WARM_UP


@pytest.mark.parametrize("bits", [None, (4, 4), (4, 32), (32, 4), ("ternary", 8)])
@pytest.mark.parametrize("method", ["madry", "trades"])
def test_a_graph_of_operations_attacks_the_network_as_it_is_now(
    bits: tuple[Any, int] | None, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(self: RunningRange) -> Tensor:  # as on a GPU
        return self.mean_square.sqrt().clamp_min(LEAST_ROOT) * self.factor

    monkeypatch.setattr(RunningRange, "step", property(step))
    chosen = TINY_TRAINING.model_copy(update={"method": method, "epochs": 3, "ema_decay": 0.0})
    images, found = tiny_images(64), []
    for replays in (False, True):
        network = tiny_network()
        if bits:
            prepare_(network, (Quantize(weights=bits[0], activations=bits[1]),), generator(9))
        state = start_training(network, chosen, generator())
        state.steps = _Steps(state, images, chosen, THREAT)
        if replays:
            state.steps._step = Replayed(state.steps._work, _OnTheSameMemory)
        logs = [train_epoch(state, images, chosen, THREAT) for _ in range(3)]
        found.append((logs, state.network.state_dict()))
    (plain_logs, plain), (logs, replayed) = found
    assert logs == plain_logs
    for name, tensor in plain.items():
        assert torch.equal(tensor, replayed[name]), name


def test_a_step_that_begins_to_round_is_not_replayed() -> None:
    assert [Quantize(start=start).make().can_capture for start in (0, 0.5, 1)] == [True, False, False]


def test_work_is_done_once_a_call_from_the_first_one_on() -> None:
    total, record = torch.zeros(()), _Recorder()
    step = Replayed(lambda x, y: total.add_((x * y).sum()), record)  # type: ignore[arg-type, return-value]
    expected = 0.0
    for call in range(1, 9):
        x, y = torch.full((2,), float(call)), torch.full((2,), 10.0)
        step(x, y)
        expected += 20.0 * call
        assert total.item() == expected, f"call {call}"
        assert x.tolist() == [call, call], "inputs are left alone"
    step(torch.ones(3), torch.ones(3))
    assert total.item() == expected + 3
    assert record.graphs[0].replays == 8 - WARM_UP


def test_the_graph_sees_new_values_even_if_the_caller_reuses_its_tensor() -> None:
    seen: list[list[float]] = []
    step = Replayed(lambda x: seen.append(x.tolist()), _Recorder())
    x = torch.zeros(2)
    for _ in range(6):
        step(x)
        x += 1
    assert seen == [[float(n), float(n)] for n in range(6)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", METHODS)
def test_a_training_of_cuda_graphs_is_the_plain_one_bit_for_bit(method: str) -> None:
    device = torch.device("cuda")
    images = tiny_images(40).to(device)
    found = []
    for graphs in (False, True):
        chosen = TINY_TRAINING.model_copy(update={"method": method, "epochs": 5, "cuda_graphs": graphs})
        network = tiny_network().to(device)
        state = start_training(network, chosen, torch.Generator(device).manual_seed(0))
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, benchmark=False):
            logs = [train_epoch(state, images, chosen, THREAT) for _ in range(5)]
        assert state.steps is not None
        assert isinstance(state.steps._step, Replayed) == graphs
        found.append((logs, _everything(state)))
    (plain_logs, plain), (logs, replayed) = found
    assert logs == plain_logs
    for name, tensor in plain.items():
        assert torch.equal(tensor, replayed[name]), name
