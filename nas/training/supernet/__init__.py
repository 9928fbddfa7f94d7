"""One network that holds the weights of all others, trained once (TAM-NAS, Xie 2021; once-for-all, Cai 2020)."""

from nas.training.supernet.keeping import FOLDER, Report, has_supernet, kept_supernet
from nas.training.supernet.settings import SupernetTraining
from nas.training.supernet.training import SupernetLog, SupernetState, start_supernet, train_supernet_epoch
from nas.training.supernet.weights import Supernet, begin_with, copied, inherited

__all__ = [
    "FOLDER",
    "Report",
    "Supernet",
    "SupernetLog",
    "SupernetState",
    "SupernetTraining",
    "begin_with",
    "copied",
    "has_supernet",
    "inherited",
    "kept_supernet",
    "start_supernet",
    "train_supernet_epoch",
]
