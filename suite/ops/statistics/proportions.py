"""Confidence intervals of a proportion, without a dependency: the gate must start fast."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist


def wilson(hits: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927).

    Raises:
        ValueError: where nothing was counted, or more hits than counts.
    """
    if count < 1 or not 0 <= hits <= count:
        raise ValueError(f"no share of {hits} in {count}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = hits / count
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z * sqrt(p * (1 - p) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    low = 0.0 if hits == 0 else max(0.0, middle - half)
    high = 1.0 if hits == count else min(1.0, middle + half)
    return low, high
