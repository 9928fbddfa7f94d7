"""What is done to a network besides training its weights: one file and one line in TREATMENTS each."""

from nas.networks.treatments.settings import TREATMENTS, Quantize, TreatmentSettings

__all__ = ["TREATMENTS", "Quantize", "TreatmentSettings"]
