"""One network that holds the weights of all others, trained once (TAM-NAS, Xie 2021; once-for-all, Cai 2020)."""

from nas.assets.supernet.settings import SupernetTraining

__all__ = ["SupernetTraining"]
