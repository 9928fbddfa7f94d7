"""The comparison of float and quantized steps runs; nothing here judges the time."""

from nas.networks.treatments.settings import Quantize
from search_spaces.mobilenet_tiny import preset
from tests.benchmarks.quantized_step import paired


def test_steps_take_turns() -> None:
    plain, quantized, ratio = paired(preset("mousavi_w0.35_e6", (1, 8, 8)), 8, Quantize(), 1)
    assert min(plain, quantized, ratio) > 0
