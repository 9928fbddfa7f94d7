"""Published networks by name, whatever their space."""

from search_spaces.mlperf_tiny import REFERENCES, reference_values
from search_spaces.mobilenet_tiny import PRESETS, preset_values
from search_spaces.space import SearchSpace, Value

KNOWN = (*PRESETS, *REFERENCES)
"""Networks of Mousavi 2023, then those of MLPerf Tiny."""


def values_of(name: str, space: SearchSpace) -> dict[str, Value]:
    """Values of the choices of `space` that make the published network `name`. Raises ValueError where there are none.

    Whether they are options is for `space.genotype` to say.
    """
    return reference_values(name, space) if name in REFERENCES else preset_values(name, space)
