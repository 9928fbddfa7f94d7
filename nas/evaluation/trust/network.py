"""Checks of the network itself: it gives each image's own logits, and gradients that lead somewhere."""

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from nas.evaluation.trust.probe import Probe, verdict
from nas.records import Check

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


@torch.no_grad()
def independence(probe: Probe) -> Check:
    """An image's logits do not depend on its batch: reversed, split and alone they stay (Carlini 2019)."""
    network, x = probe.network, probe.x
    half = max(len(x) // 2, 1)
    alone = min(len(x), 4)
    arrangements = [
        network(x.flip(0)).flip(0),
        torch.cat([network(part) for part in torch.split(x, half)]),
        torch.cat([*(network(image[None]) for image in x[:alone]), probe.logits[alone:]]),
    ]
    largest = max(_difference(found, probe.logits) for found in arrangements)
    return verdict(
        "independence", largest <= 10 * _rounding(probe),
        "the logits of an image do not depend on the other images of its batch",
        f"the logits of an image change by up to {largest:.2g} when its batch is reordered or split",
        {"largest_difference": largest},
    )  # fmt: skip


def logits(probe: Probe) -> Check:
    """The outputs are logits: rows of probabilities have vanishing gradients (Carlini 2017)."""
    z = probe.logits.double()
    sums = float((z.sum(1) - 1).abs().nan_to_num(torch.inf).max())
    are_probabilities = bool((z >= 0).all()) and sums < 1e-3
    return verdict(
        "logits", not are_probabilities,
        "the outputs are logits",
        "the outputs are probabilities (>= 0, sum 1), not logits: cross-entropy on them has vanishing gradients",
        {"largest_distance_of_sums_from_1": min(sums, 1e30)},
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
    """Weights and logits have at least 32 bits: lower precision rounds gradients away."""
    low = (torch.float16, torch.bfloat16)
    coarse = [name for name, p in probe.network.named_parameters() if p.dtype in low or p.dtype.itemsize == 1]
    passed = not coarse and probe.logits.dtype not in low
    return verdict(
        "float32", passed,
        "scored in 32-bit floating point",
        f"scored in low precision ({len(coarse)} parameters, logits {str(probe.logits.dtype).removeprefix('torch.')})",
        {"low_precision_parameters": len(coarse)},
    )  # fmt: skip


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
    """Difference that rounding may make: another batch size takes another order of summation."""
    finite = probe.logits[probe.logits.isfinite()]
    return 1e-4 * float(finite.abs().max()) if len(finite) else 0.0
