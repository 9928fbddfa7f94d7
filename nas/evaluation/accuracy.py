"""How sure an accuracy is."""

from scipy.stats import binomtest

from nas.records import Interval


def wilson_interval(successes: int, count: int) -> Interval:
    """95 % Wilson score interval of a proportion, as fractions."""
    low, high = binomtest(successes, count).proportion_ci(0.95, method="wilson")
    return Interval(float(low), float(high))
