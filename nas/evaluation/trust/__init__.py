"""May a robust accuracy be believed? Each check asks one question; a failed one is a warning with the number.

Most published claims of robustness fell to better attacks (Athalye 2018, Tramèr 2020). The checks are those of
Carlini 2019 (On evaluating adversarial robustness), Croce & Hein 2020 and Pintor 2022, as far as they can be automated.
"""

from collections.abc import Callable

from nas.base.records import Check
from nas.evaluation.trust.attack import (
    black_box,
    converged,
    large_epsilon,
    logit_scale,
    monotone,
    noise,
    reach,
    threat_model,
)
from nas.evaluation.trust.network import (
    deterministic,
    eval_mode,
    finite_logits,
    float32,
    gradients,
    independence,
    logits,
)
from nas.evaluation.trust.probe import Probe
from nas.evaluation.trust.quantized import grids, transfer

NETWORK: dict[str, Callable[[Probe], Check]] = {
    "eval_mode": eval_mode,
    "deterministic": deterministic,
    "independence": independence,
    "logits": logits,
    "float32": float32,
}
"""Of every network: a few forward passes."""

ATTACK: dict[str, Callable[[Probe], Check]] = {
    "finite_logits": finite_logits,
    "gradients": gradients,
    "threat_model": threat_model,
    "reach": reach,
}
"""Of every rung: what its attacks have seen."""

DEEP: dict[str, Callable[[Probe], Check]] = {
    "monotone": monotone,
    "converged": converged,
    "logit_scale": logit_scale,
    "large_epsilon": large_epsilon,
    "noise": noise,
    "black_box": black_box,
}
"""Of numbers that others will rest on: further attacks on the probe's images."""

QUANTIZED: dict[str, Callable[[Probe], Check]] = {"grids": grids, "transfer": transfer}
"""Of the same numbers where the network is quantized."""

SHALLOW = NETWORK | ATTACK
CHECKS = SHALLOW | DEEP
"""Of every network, on the rungs that others rest on."""

__all__ = ["ATTACK", "CHECKS", "DEEP", "NETWORK", "QUANTIZED", "SHALLOW", "Probe"]
