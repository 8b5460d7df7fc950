"""Student's t distribution for integer degrees of freedom, in closed form."""

from collections.abc import Callable
from functools import lru_cache
from math import atan, cos, pi, sin, sqrt
from statistics import NormalDist

_NORMAL_ABOVE = 1000
"""The degrees of freedom from which the normal distribution has the same quantiles to three digits."""


def probability(t: float, degrees: int) -> float:
    """Return the probability that Student's t is at most `t`.

    >>> round(probability(2.015, degrees=5), 4)
    0.95

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    if degrees > _NORMAL_ABOVE:
        return NormalDist().cdf(t)
    angle = atan(t / sqrt(degrees))
    if degrees % 2:
        return 0.5 + (angle + sin(angle) * _series(cos(angle), 1, degrees)) / pi
    return 0.5 + sin(angle) * _series(cos(angle), 0, degrees) / 2


def _series(cosine: float, first: int, degrees: int) -> float:
    """Return the sum of the powers of a cosine below the degrees of freedom, each times (power + 1) / (power + 2)."""
    total, term = 0.0, cosine if first else 1.0
    for power in range(first, degrees - 1, 2):
        total += term
        term *= cosine * cosine * (power + 1) / (power + 2)
    return total


@lru_cache
def quantile(share: float, degrees: int) -> float:
    """Return the quantile of Student's t for the probability `share`.

    >>> round(quantile(0.975, degrees=4), 3)
    2.776

    Source: the inverse of `probability`, by bisection.
    """
    if degrees > _NORMAL_ABOVE:
        return NormalDist().inv_cdf(share)
    return bisected(lambda t: probability(t, degrees) - share, -1e6, 1e6)


def bisected(function: Callable[[float], float], low: float, high: float) -> float:
    """Return the zero of an increasing function, by bisection.

    >>> round(bisected(lambda x: x * x - 2, 0, 2), 6)
    1.414214
    """
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if function(middle) > 0 else (middle, high)
    return (low + high) / 2
