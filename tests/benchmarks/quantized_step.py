"""What a training step of a quantized network takes, over the float one's: paired, on one thread.

    python -m tests.benchmarks.quantized_step [PAIRS]

TRADES with five attack steps, on the digits network (dense windows, 64 images) and on the
smallest of the paper's networks for images of 32×32 (32 images). A step is everything: attack, loss, optimiser,
average, treatment, refolding. The two networks take turns, so that what else the machine does meets both.
"""

import sys
import time
from collections.abc import Callable
from statistics import median

import torch

from nas.networks.treatments.settings import Quantize
from nas.networks.treatments.treatment import prepare_
from nas.training.loop import start_training, train_epoch
from search_spaces import NetworkSpec
from search_spaces.mobilenet_tiny import preset
from search_spaces.network import build_network
from tests.benchmarks.equal_accuracy import GENOTYPE, digits_config, spec_of
from tests.builders import generator, tiny_images, torch_threads

MIXES: dict[str, Quantize] = {
    "W8A8": Quantize(),
    "W4A4": Quantize(weights=4, activations=4),
    "stochastic ternary, A4": Quantize(weights="ternary", activations=4, stochastic=True),
}


def step_of(spec: NetworkSpec, images: int, treatments: tuple[Quantize, ...]) -> Callable[[], object]:
    """A training step on as many images."""
    config = digits_config()
    settings = config.training.model_copy(update={"learning_rate": 1e-6, "batch_size": images})
    network = build_network(spec, generator())
    prepare_(network, treatments, generator())
    state = start_training(network, settings, generator())
    split = tiny_images(images, channels=spec.input_shape[0], size=spec.input_shape[1])
    return lambda: train_epoch(state, split, settings, config.threat)


def paired(spec: NetworkSpec, images: int, treatment: Quantize, pairs: int) -> tuple[float, float, float]:
    """Median seconds of the float step and of the quantized one, and the median of their ratios."""
    plain, quantized = step_of(spec, images, ()), step_of(spec, images, (treatment,))
    times: list[tuple[float, float]] = []
    for _ in range(pairs + 2):
        begun = time.perf_counter()
        plain()
        between = time.perf_counter()
        quantized()
        times.append((between - begun, time.perf_counter() - between))
    floats, others = zip(*times[2:], strict=True)
    return median(floats), median(others), median(b / a for a, b in times[2:])


def main(pairs: int) -> None:
    """Prints a line for each network and mix of bits."""
    networks = {"digits": (spec_of(digits_config(), GENOTYPE), 64), "32×32": (preset("mousavi_w0.35_e6"), 32)}
    with torch_threads(1):
        for name, (spec, images) in networks.items():
            for mix, treatment in MIXES.items():
                float_, quantized, ratio = paired(spec, images, treatment, pairs)
                print(f"{name:7} {mix:24} {1e3 * float_:8.1f} ms {1e3 * quantized:8.1f} ms   ratio {ratio:.2f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
