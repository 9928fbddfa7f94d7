"""Neural architecture search for robust tiny networks: how networks are found, trained and judged."""

__version__ = "0.1.0"
