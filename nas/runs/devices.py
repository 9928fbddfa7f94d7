"""Boards that `nas init --device` knows: memory, speed, and the budget that follows."""

from dataclasses import dataclass

from nas.base.settings import amount


@dataclass(frozen=True)
class Board:
    """Memory and clock of a typical board with this processor, from its data sheet."""

    board: str
    flash: str
    ram: str
    clock: str
    """Cycles per second."""

    @property
    def limits(self) -> dict[str, str]:
        """Limits of the budget: half of the flash, half of the RAM, as many MACs as a tenth of a second allows.

        The other halves are for the program, its stack and the camera. A MAC is taken as two cycles on every board: the
        authors of CMSIS-NN report about 0.6 MACs a cycle with int8 weights on a Cortex-M7 (Lai 2018, "CMSIS-NN", 249
        million operations per second at 216 MHz).
        """
        macs = amount(self.clock) / 2 / 10
        return {
            "macs": f"{float(macs / 10**6):g}M",
            "weight_bytes": _half(self.flash),
            "peak_activation_bytes": _half(self.ram),
        }


def _half(memory: str) -> str:
    return f"{int(amount(memory, in_bytes=True) / 2 / 1024)} KiB"


DEVICES: dict[str, Board] = {
    "cortex-m4": Board("ST NUCLEO-F446RE (STM32F446RE)", "512 KiB", "128 KiB", "180M"),
    "cortex-m4-64mhz": Board("Arduino Nano 33 BLE (nRF52840)", "1 MiB", "256 KiB", "64M"),
    "cortex-m7": Board("ST STM32F746G-DISCO (STM32F746NG)", "1 MiB", "320 KiB", "216M"),
    "cortex-m7-480mhz": Board("ST NUCLEO-H743ZI2 (STM32H743ZI)", "2 MiB", "512 KiB", "480M"),
    "esp32-s3": Board("Espressif ESP32-S3-DevKitC-1-N8 (ESP32-S3)", "8 MiB", "512 KiB", "240M"),
}
"""Starting points, not measurements: data-sheet values of one typical board each. RAM is that on the chip, of the
STM32H743 (1 MB in several blocks) its largest block. What fits is for the user's own firmware to say."""
