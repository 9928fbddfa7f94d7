"""Searches on a table of finished trainings: samplers and halting rules compared in seconds, without training."""

from nas.studies.replay.compare import Summary, Variant, compare, variants

__all__ = ["Summary", "Variant", "compare", "variants"]
