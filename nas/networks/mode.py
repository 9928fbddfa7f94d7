"""Eval mode for the length of an attack, or of a penalty."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """Network in eval mode; every module's mode comes back after. Parameters keep their gradients."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Network in eval mode without parameter gradients; every module's mode and flags come back after."""
    flags = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    with eval_mode(network):
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter, flag in flags:
                parameter.requires_grad_(flag)
