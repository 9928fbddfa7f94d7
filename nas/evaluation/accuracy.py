"""How sure an accuracy is."""

import math
from statistics import NormalDist

from nas.base.records import Interval


def wilson_interval(successes: int, count: int) -> Interval:
    """95 % score interval of a proportion (Wilson 1927), as fractions.

    (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n) with z = 1.96.
    """
    z, share = NormalDist().inv_cdf(0.975), successes / count
    centre = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    scale = 1 + z * z / count
    return Interval(max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale))
