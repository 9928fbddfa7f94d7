"""Checks of the network itself: it gives each image's own logits, and gradients that lead somewhere."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas.base.records import Check
from nas.evaluation.trust.probe import Probe, verdict

REPEATS = 5


def eval_mode(probe: Probe) -> Check:
    """No module was handed over in training mode, no batch-norm works on the statistics of the batch."""
    modules = probe.network.named_modules()
    without = [name for name, m in modules if isinstance(m, _BatchNorm) and m.running_mean is None]
    training = len(probe.in_training_mode)
    first = (*probe.in_training_mode, *without, "")[0] or "the network"
    return verdict(
        "eval_mode", not training and not without,
        "the network was in eval mode, batch-norm frozen",
        f"{training} modules were in training mode and {len(without)} batch-norms have no running statistics (first: "
        f"{first}); scored in eval mode",
        {"training_modules": training, "batch_norms_without_statistics": len(without)},
    )  # fmt: skip


@torch.no_grad()
def deterministic(probe: Probe) -> Check:
    """The same images give the same logits, five times (Croce & Hein 2020)."""
    largest = max(_difference(probe.network(probe.x), probe.logits) for _ in range(REPEATS))
    return verdict(
        "deterministic", largest <= _rounding(probe),
        "repeated, the logits are the same",
        f"repeated, the logits differ by up to {largest:.2g}: attacks need the mean over the network's chance (EOT)",
        {"largest_difference": largest},
    )  # fmt: skip


def independence(probe: Probe) -> Check:
    """An image's logits do not depend on its batch: reversed, split and alone they stay (Carlini 2019)."""
    try:
        largest = max(_difference(found, probe.logits) for found in _rearranged(probe))
    except (RuntimeError, ValueError) as error:  # batch-norm in training mode refuses a single image
        why = " ".join(str(error).split())
        return Check("independence", False, f"the network cannot take its images in other batches: {why}")
    return verdict(
        "independence", largest <= 10 * _rounding(probe),
        "the logits of an image do not depend on the other images of its batch",
        f"the logits of an image change by up to {largest:.2g} when its batch is reordered or split",
        {"largest_difference": largest},
    )  # fmt: skip


@torch.no_grad()
def _rearranged(probe: Probe) -> list[torch.Tensor]:
    """Logits of the probe's images in other batches, put back into their order."""
    network, x = probe.network, probe.x
    alone = min(len(x), 4)
    return [
        network(x.flip(0)).flip(0),
        torch.cat([network(part) for part in torch.split(x, max(len(x) // 2, 1))]),
        torch.cat([*(network(image[None]) for image in x[:alone]), probe.logits[alone:]]),
    ]


def logits(probe: Probe) -> Check:
    """The outputs are logits: rows of probabilities, also scaled, have vanishing gradients (Carlini 2017)."""
    sums = probe.logits.double().sum(1)
    spread = float((sums - sums.mean()).abs().nan_to_num(torch.inf).max())
    are_probabilities = (
        bool((probe.logits >= 0).all()) and float(sums.mean()) > 0 and spread < 1e-3 * float(sums.mean())
    )
    return verdict(
        "logits", not are_probabilities,
        "the outputs are logits",
        "the outputs are probabilities (none negative, all rows of one sum), not logits: cross-entropy on them has "
        "vanishing gradients",
        {"largest_deviation_of_sums": min(spread, 1e30)},
    )  # fmt: skip


def finite_logits(probe: Probe) -> Check:
    """Every logit is finite; argmax of NaN is class 0, which other tools count as robust."""
    count, broken = len(probe.scores.finite), int((~probe.scores.finite).sum())
    return verdict(
        "finite_logits", not broken,
        "all logits are finite",
        f"logits of {broken} of {count} images are not finite; these count as not robust",
        {"images": broken},
    )  # fmt: skip


def float32(probe: Probe) -> Check:
    """Weights and what every module gives have at least 32 bits: lower precision rounds gradients away."""
    coarse = {name for name, p in probe.network.named_parameters() if _is_low(p.dtype)}
    modules = _low_outputs(probe)
    first = (*sorted(coarse), *modules, "")[0] or "the network"
    return verdict(
        "float32", not coarse and not modules,
        "scored in 32-bit floating point",
        f"scored in low precision: {len(coarse)} parameters, outputs of {len(modules)} modules have fewer than 32 "
        f"bits (first: {first})",
        {"low_precision_parameters": len(coarse), "low_precision_modules": len(modules)},
    )  # fmt: skip


def _is_low(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point and dtype.itemsize < 4


@torch.no_grad()
def _low_outputs(probe: Probe) -> list[str]:
    """Modules whose output has low precision, the network's own autocast included."""
    found: dict[str, None] = {}

    def watch(name: str) -> Callable[[nn.Module, object, object], None]:
        def look(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, torch.Tensor) and _is_low(output.dtype):
                found[name or "the network"] = None

        return look

    handles = [
        module.register_forward_hook(watch(name))
        for name, module in probe.network.named_modules()
        if not isinstance(module, torch.jit.ScriptModule)  # these take no hooks
    ]
    try:
        probe.network(probe.x[:2])
    finally:
        for handle in handles:
            handle.remove()
    return list(found)


def gradients(probe: Probe) -> Check:
    """On no image that stands was the gradient zero everywhere or not finite."""
    count, stuck = len(probe.scores.stuck), int((probe.scores.stuck & probe.scores.robust).sum())
    return verdict(
        "gradients", not stuck,
        "the attack's gradients lead somewhere on every image",
        f"gradients of {stuck} of {count} unfooled images vanish or are not finite: the attack could not "
        f"climb there, robust accuracy may be masked",
        {"images": stuck},
    )  # fmt: skip


def _difference(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Largest difference of two tables of logits; equal where both are not finite."""
    both = found.isfinite() & wanted.isfinite()
    if (found.isfinite() != wanted.isfinite()).any():
        return 1e30
    return float((found - wanted).abs()[both].max()) if both.any() else 0.0


def _rounding(probe: Probe) -> float:
    """Difference that rounding may make: another batch size takes another order of summation.

    In proportion to the distance of the best logit from the middle one, which neither an offset of all logits nor a
    masked class (-1e9) inflates.
    """
    rows = probe.logits[probe.logits.isfinite().all(1)]
    return 1e-4 * float((rows.amax(1) - rows.median(1).values).median()) if len(rows) else 0.0
