"""Neural architecture search for robust tiny networks: how networks are found, trained and judged.

Before torch is loaded, its idle OpenMP threads (libgomp) are told to sleep after 2,000 spins, unless the environment
says how they wait (OMP_WAIT_POLICY, GOMP_SPINCOUNT). libgomp's own 300,000 keep a core busy that another process could
use: beside one busy process, training with two threads on two cores is 1.15 times as fast (docs/performance.md).
"""

import os

__version__ = "0.1.0"

SPINS = 2000
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = str(SPINS)
