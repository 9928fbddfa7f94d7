"""A network as a list of layers, and their arithmetic by hand.

The attack (`nas.networks.view`) and the training step (`nas.networks.backprop`) walk the layers themselves: no graph
is built, and what is a matrix product is computed as one. There are two arithmetics with the same functions:
`images` for maps of any size, `maps` for small ones.
"""

from nas.networks.arithmetic import Arithmetic, arithmetic_of, relu6_back_
from nas.networks.layer import Layer, folded_weight, layers_of

__all__ = ["Arithmetic", "Layer", "arithmetic_of", "folded_weight", "layers_of", "relu6_back_"]
