"""The pass by hand beside the network's own: a step with each, and whether all that they leave is equal."""

import copy

import torch
from torch import Tensor, nn

from nas.networks.backprop import Forward, _Pass, forward_of
from search_spaces.network import Network
from tests.builders import generator


def plain(network: nn.Module) -> Forward:
    return lambda *batches: tuple(network(batch) for batch in batches)


def batches_for(network: Network, count: int, images: int = 6) -> list[Tensor]:
    dtype, shape = network.classifier.weight.dtype, network.spec.input_shape
    return [torch.rand(images, *shape, generator=generator(7 + g), dtype=torch.float64).to(dtype) for g in range(count)]


def loss_of(logits: tuple[Tensor, ...]) -> Tensor:
    """A scalar that treats every batch, image and class differently, and ties the batches together."""
    total = torch.zeros((), dtype=logits[0].dtype)
    for index, z in enumerate(logits):
        weights = torch.randn(z.shape, generator=generator(40 + index), dtype=torch.float64).to(z.dtype)
        total = total + (z.log_softmax(1) * weights).sum() + (z * logits[0]).mean()
    return total


def step(forward: Forward, network: Network, batches: list[Tensor]) -> dict[str, Tensor]:
    """Everything a step leaves behind. Gradients are added to those that are there."""
    logits = forward(*batches)
    loss_of(logits).backward()  # type: ignore[no-untyped-call]
    found = {f"logits {index}": z.detach() for index, z in enumerate(logits)}
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        found[f"gradient of {name}"] = parameter.grad
    return found | {name: buffer.clone() for name, buffer in network.named_buffers()}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-9) -> None:
    assert found.keys() == expected.keys()
    for name, wanted in expected.items():
        atol = tolerance * max(1.0, float(wanted.double().abs().max()))
        torch.testing.assert_close(found[name], wanted, rtol=0, atol=atol, msg=lambda m, name=name: f"{name}: {m}")  # type: ignore[misc]


def assert_same(network: Network, count: int = 2, images: int = 6) -> None:
    other = copy.deepcopy(network)
    batches = batches_for(network, count, images)
    assert_equal(step(forward_of(network), network, batches), step(plain(other), other, batches))


def walked(network: Network) -> bool:
    """Whether the pass is the one by hand."""
    with torch.enable_grad():
        logits = forward_of(copy.deepcopy(network))(*batches_for(network, 1))
    node = logits[0].grad_fn
    names = {node.name()} | {parent.name() for parent, _ in node.next_functions if parent is not None}  # type: ignore[union-attr]
    return f"{_Pass.__name__}Backward" in names
