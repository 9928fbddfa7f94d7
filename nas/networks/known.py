"""Whether modules do what their type says and nothing else: the whitelist of what may be walked by hand."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from nas.networks.quantized import ROUNDED_PARTS, QuantConv2d, RunningRange
from search_spaces.blocks import Resnet, Shortcut
from search_spaces.network import Network, Normalization

PARAMETERS: dict[type[nn.Module], tuple[str, ...]] = {
    Network: (),
    Normalization: (),
    nn.Sequential: (),
    Shortcut: (),
    Resnet: (),
    nn.Conv2d: ("weight",),
    nn.BatchNorm2d: ("weight", "bias"),
    nn.ReLU6: (),
    nn.Linear: ("weight", "bias"),
}
PARAMETERS |= {rounding: PARAMETERS[plain] for rounding, plain in ROUNDED_PARTS.items()}
"""Types that are known, exactly these, with the parameters that each must have."""
BUFFERS: dict[type[nn.Module], tuple[str, ...]] = {
    Normalization: ("mean", "std"),
    nn.BatchNorm2d: ("running_mean", "running_var", "num_batches_tracked"),
}
BUFFERS |= {
    rounding: (*BUFFERS.get(plain, ()), *(("mean_square", "seen") if issubclass(rounding, RunningRange) else ()))
    for rounding, plain in ROUNDED_PARTS.items()
}
OPTIONAL: dict[type[nn.Module], tuple[str, ...]] = {QuantConv2d: ("input_scale", "noise")}
"""Buffers that may be None."""
COMPUTED = ("kernel", "levels", "step", "rounded", "observed", "observe_")
"""What the walks ask of modules that round."""
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""What torch calls around a module's forward and backward pass; hooks of state_dict change neither."""


def are_known(network: nn.Module) -> bool:
    """Whether all modules in `network` are plain, and none, nor a tensor, has two places in it."""
    modules = [module for _, module in _untreated(network)]
    tensors = [tensor for module in modules for tensor in (*_own(module._parameters), *_own(module._buffers))]
    distinct = all(len({id(thing) for thing in things}) == len(things) for things in (modules, tensors))
    has_global_hooks = any(getattr(torch_module, f"_global{name}") for name in HOOKS)
    return distinct and not has_global_hooks and all(map(_is_plain, modules))


def first_unknown(network: nn.Module) -> str:
    """Name and type of the first module in `network` that is not plain, for a message; empty where all are."""
    found = (f"{name or 'it'} ({type(part).__name__})" for name, part in _untreated(network) if not _is_plain(part))
    return next(found, "")


def _untreated(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """All modules by name, twice where they have two places, but for those of treatments."""
    aside = set(network.treatments.modules()) if isinstance(network, Network) else set()
    return [(name, module) for name, module in network.named_modules(remove_duplicate=False) if module not in aside]


def _is_plain(module: nn.Module) -> bool:
    """Whether `module` is of a known type, without hooks, its tensors its own and its methods those of its type.

    A parametrization changes the type; pruning and the old normalisations of weights leave hooks, other names among
    the parameters, and a computed tensor in the parameter's place.
    """
    kind = type(module)
    if kind not in PARAMETERS or any(getattr(module, name) for name in HOOKS):
        return False
    parameters, buffers = PARAMETERS[kind], BUFFERS.get(kind, ())
    buffers += tuple(name for name in OPTIONAL.get(kind, ()) if module._buffers.get(name) is not None)
    overrides = {"forward", *COMPUTED, *parameters, *buffers} & vars(module).keys()
    return (
        not overrides
        and {name for name, value in module._parameters.items() if value is not None} == set(parameters)
        and {name for name, value in module._buffers.items() if value is not None} == set(buffers)
        and all(type(value) is nn.Parameter for value in _own(module._parameters))
        and all(type(value) is Tensor for value in _own(module._buffers))
    )


def _own(named: Mapping[str, Tensor | None]) -> list[Tensor]:
    return [value for value in named.values() if value is not None]
