"""What is done to a network besides training its weights: one file and one line in TREATMENTS each."""

from nas.networks.treatments.settings import TREATMENTS, Prune, Quantize, TreatmentSettings

__all__ = ["TREATMENTS", "Prune", "Quantize", "TreatmentSettings"]
