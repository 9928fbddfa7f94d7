"""What a config says about quantization: one treatment, its bits in the costs, and what does not go with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from nas.base.settings import Settings
from nas.budgets import Deployment
from nas.measures.float_twin import NAMES
from nas.networks.treatments import Quantize

if TYPE_CHECKING:
    from nas.runs.config import RunConfig


def quantization_of(treatments: Sequence[Settings]) -> Quantize | None:
    """The `quantize` treatment, if there is one. Raises ValueError where there are two."""
    return only(treatments, Quantize, "a network is quantized once; leave one quantize out")


S = TypeVar("S", bound=Settings)


def only(treatments: Sequence[Settings], kind: type[S], words: str) -> S | None:
    """The one of `treatments` of `kind`, if there is one. Raises ValueError with `words` where there are two."""
    found = [one for one in treatments if isinstance(one, kind)]
    if len(found) > 1:
        raise ValueError(f"treatments: {words}")
    return found[0] if found else None


def twin_measures(treatments: Sequence[Settings]) -> tuple[str, ...]:
    """Measures of the float twin, which are taken wherever there is one."""
    return () if quantization_of(treatments) is None else NAMES


def deployed(deployment: Deployment, treatments: Sequence[Settings]) -> Deployment:
    """`deployment` with the bits of the `quantize` treatment, where it says none itself.

    Raises ValueError where it says others.
    """
    treatment = quantization_of(treatments)
    if treatment is None:
        return deployment
    bits = {
        "weight_bits": ("weights", treatment.weights, treatment.weight_bits),
        "activation_bits": ("activations", treatment.activations, treatment.activations),
    }
    for name, (field, said, own) in bits.items():
        if name in deployment.model_fields_set and getattr(deployment, name) != own:
            raise ValueError(
                f"{name} {getattr(deployment, name)} contradicts the treatment quantize, {field}: {said}; leave "
                f"deployment.{name} out, it is taken from the treatment"
            )
    return deployment.model_copy(update={name: own for name, (_, _, own) in bits.items()})


def check_quantized(config: RunConfig) -> None:
    """Raises ValueError for choices of bits that nothing rounds to, and for bounds that no rounded network has."""
    treatment = quantization_of(config.treatments)
    if treatment is None:
        if config.bits.is_chosen:
            raise ValueError(
                "bits: bits are chosen but nothing is quantized: add treatments: [{name: quantize}], or leave bits out"
            )
        asked = [name for name in (*(one.name for one in config.wanted), *config.evaluation.measures) if name in NAMES]
        if asked:
            raise ValueError(f"{asked[0]}: a network that is not quantized is its own float twin; leave it out")
        return
    if treatment.stochastic and config.bits.weights:
        raise ValueError(
            f"treatments: stochastic draws ternary weights, but every row has one of bits.weights "
            f"{list(config.bits.weights)}; leave one of the two out"
        )
    rounds_activations = set(config.bits.activations or (treatment.activations,)) != {32}
    if rounds_activations and any(one.name == "lipschitz_certified_log10" for one in config.wanted):
        raise ValueError(
            "lipschitz_certified_log10: a network of rounded activations has jumps and no Lipschitz constant; leave "
            "the measure or the treatment quantize out"
        )
    penalised = [name for name in ("training", "retrain") if getattr(config, name).lipschitz_penalty]
    if penalised:
        raise ValueError(
            f"{penalised[0]}.lipschitz_penalty: it lowers a constant of weights that are not rounded; set it to 0 or "
            "leave the treatment quantize out"
        )


def quantization_text(config: RunConfig) -> str:
    """Bits, and when robustness is trained, in a sentence; empty without quantization."""
    treatment = quantization_of(config.treatments)
    if treatment is None:
        return ""
    training = config.training
    return (
        f"{bits_text((treatment,))}; robustness is trained {treatment.stage(training.method, training.natural_until)}"
    )


def bits_text(treatments: Sequence[Settings]) -> str:
    """Bits of a network's weights and activations, in words; empty without quantization."""
    treatment = quantization_of(treatments)
    if treatment is None:
        return ""
    drawn = " (drawn in training)" if treatment.stochastic else ""
    return (
        f"quantized: weights {_bits_text(treatment.weights)}{drawn}, activations {_bits_text(treatment.activations)}, "
        "where no block has bits of its own"
    )


def _bits_text(bits: int | str) -> str:
    return bits if isinstance(bits, str) else "float" if bits == 32 else f"{bits} bits"
